"""Summary: what a loss makes of one population, in words; the models that such examples are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.forms import ONLY_THIS_ONE, in_words
from qtarget_inspect.analysis.population.points import short
from qtarget_inspect.analysis.population.setting import check_distribution
from qtarget_inspect.analysis.population.view import FixedPoints, explore
from qtarget_inspect.engine.calling import parameters_of

Q_STAR = (0.5, 0.3, 0.2)
"""The labels' distribution where none is given."""

STARTS = 16
"""Starts a loss: enough to see that there are several ends; `fixed_points` takes more."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What a loss makes of labels that are drawn from a q*.

    Args:
        found: the fixed points and the verdict.
        words: the stable point that most starts reach: a closed form only where it holds for other q* as well; "-"
            where there is none.
        models: the other models that were given and that the loss sees, name -> [V] logits.
    """

    found: FixedPoints
    words: str
    models: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Learned distribution and verdict in one line; digits with the q* and the models that they belong to."""
        verdict = self.found.verdict
        if self.words == "-":
            return f"{verdict}: {self.found.reason}"
        words = self.words
        if "[" in words:
            given = {
                "q*": self.found.q_star,
                **{k.removesuffix("_logits"): v.softmax(-1) for k, v in self.models.items()},
            }
            words += f" where {', '.join(f'{name} is {short(p)}' for name, p in given.items())}"
        if verdict == "proper":
            return "q*, for this q* and not for every one: not proper" if words == ONLY_THIS_ONE else f"{words}: proper"
        return f"{words} ({verdict}): not proper"


def example_models(size: int) -> dict[str, Tensor]:
    """A reference proportional to 2, 3, ..., V + 1 and a teacher proportional to 2, V + 1, V, ..., 3, as logits [V].

    Args:
        size: V.

    Returns:
        `reference_logits` and `teacher_logits`, normalised to nothing.
    """
    rising = torch.arange(2, size + 2, dtype=torch.float64)
    return {
        "reference_logits": rising.log(),
        "teacher_logits": torch.cat([rising[:1], rising[1:].flip(0)]).log(),
    }


def learned_by(loss: Any, q_star: Any = Q_STAR, context: Mapping[str, Any] | None = None) -> Learned:
    """What a loss makes of a population, with example models where it wants some.

    Args:
        loss: as `fixed_points` takes it.
        q_star: [V] distribution of the labels.
        context: as `fixed_points` takes it; by default `example_models`.

    Returns:
        Fixed points, verdict, and the learned distribution in words.

    Raises:
        QTargetError: the loss has no view at one context.

    Examples:
        >>> learned_by("beyond-log(alpha=0.5)").text
        'q*^2 / Z (sharpening): not proper'
    """
    probabilities = check_distribution("q_star", q_star)
    given = {**example_models(probabilities.numel()), **(context or {})}
    found, population = explore(loss, probabilities, STARTS, context=given)
    words = in_words(found.stable[0], population) if found.stable else "-"
    seen = parameters_of(population.setting.loss.function)
    return Learned(found, words, {name: torch.as_tensor(value) for name, value in given.items() if name in seen})
