"""Wording: residual and warnings of an identification, said from what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.forms import FoundLaw
from qtarget_inspect.analysis.identification.result import Formula
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.analysis.identification.support import Support
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, Pulls


def residual_formula(pulls: Pulls, gauge: PullGauge, total: Tensor) -> Formula:
    """Where the mass goes that the label does not get.

    Args:
        pulls: what was found.
        gauge: the gauge it is read in.
        total: [N] total pull on the states.

    Returns:
        The phrase of the table, and the attractors as a sum in LaTeX.
    """
    text = pulls.residual_text(gauge, total)
    others = [term for term in pulls if term.direction.name != LABEL]
    if not others:
        return Formula(text, "p")
    if len(others) == 1 and others[0].direction.kind == "toward" and others[0].direction.text == text:
        return Formula(text, others[0].direction.latex)
    latex = " + ".join(rf"({term.weight.latex})\,{term.direction.latex}" for term in others)
    return Formula(text, latex)


def warnings_of(
    target: InducedTarget,
    support: Support,
    unknown: Sequence[str],
    samples: Mapping[str, Samples],
    found: Mapping[str, FoundLaw | None],
    half: torch.dtype | None,
    random: bool,
    asked: bool,
    same: Sequence[str],
) -> tuple[str, ...]:
    """What to know before trusting an identification.

    Args:
        target: the induced target on the first states.
        support: the directions.
        unknown: directions without a law.
        samples: their weights.
        found: the laws.
        half: the half precision that the loss casts to.
        random: whether two calls of the loss differ.
        asked: whether the loss could be asked again.
        same: models that are the student itself on every token.

    Returns:
        Sentences.
    """
    said = []
    if random:
        said.append("two calls of the loss differ (random numbers?): no law can be held against it")
    elif half is not None:
        said.append(
            f"the loss casts to {str(half).removeprefix('torch.')} inside, and rounding of 1e-3 leaves no law to be "
            "told from another"
        )
    elif not support.explained:
        said.append(
            f"no known directions explain the gradient: up to {100 * support.share:.2g} % of a token's is left. The "
            "loss is no sum of pulls (a logit-norm penalty is none), or pulls in directions outside the vocabulary"
        )
    for name in unknown:
        if not random and half is None:
            said.append(_unknown_weight(name, samples[name]))
    for twin in support.twins:
        said.append(f"as well explained by pulls to {', '.join(twin)}")
    for one in found.values():
        for key, value in one.numbers.items() if one is not None else ():
            if isinstance(value, tuple):
                said.append(
                    f"{key} lies between {value[0]:.6g} and {value[1]:.6g}, two tokens of your batch; without a batch "
                    "it is bisected to rounding"
                )
    if target.coupled:
        said.append(f"tokens of a batch are coupled: {target.coupled}")
    for name in same:
        said.append(f"{name} are the model's own on every token: a pull to them cannot be seen")
    if not asked:
        said.append("held against your batch only: what its states do not show is not known")
    return tuple(said)


def _unknown_weight(name: str, samples: Samples) -> str:
    use = samples.use
    if not samples.enough:
        return (
            f"the pull to {name} is determined on {int(use.sum())} tokens only, too few to fit a law and bear it out: "
            "pass more tokens"
        )
    low, high = np.min(samples.values[use]), np.max(samples.values[use])
    return f"no known law predicts the pull to {name} ({low:.3g} to {high:.3g} on these states); .table() shows it"
