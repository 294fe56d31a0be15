"""Summary: what a loss makes of one population, in words; the models that such examples are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.forms import in_words
from qtarget_inspect.analysis.population.setting import check_distribution
from qtarget_inspect.analysis.population.view import FixedPoints, explore

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
    """

    found: FixedPoints
    words: str

    @property
    def text(self) -> str:
        """Verdict and learned distribution in one line."""
        verdict = self.found.verdict
        if verdict == "proper":
            return f"{self.words}: proper"
        return f"{self.words} ({verdict}): not proper" if self.words != "-" else f"{verdict}: {self.found.reason}"


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
    return Learned(found, in_words(found.stable[0], population) if found.stable else "-")
