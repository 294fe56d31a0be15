"""Category: what inversion says a loss sets, from its pulls; the paper's category of a method may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, total_pull

UNKNOWN = "unknown"
NOTHING = "nothing"

STEADY = 1e-9
"""gamma that varies by less is the same for every token."""


def category_of(
    directions: Mapping[str, Direction],
    weights: Mapping[str, Tensor],
    gauge: PullGauge,
    requires: Sequence[str] = (),
    paired: bool = False,
    tolerance: float = STEADY,
) -> str:
    """The category that inversion gives a loss.

    policy gradient: a weight has the advantages in it. preference: they say which of two sequences is chosen.
    regulariser: mass is lost, or nothing but tilts by the model's own log p.
    divergence: tilts by another model, and no pull to the label.
    one-hot: nothing but the label, with weight 1. label trust: nothing but the label, with another weight.
    residual distribution: other pulls as well (or instead), gamma the same for every token. both: gamma varies too.

    Args:
        directions: by name; those whose weight is 0 on every token do not count.
        weights: direction name -> [N] weights.
        gauge: the gauge in which gamma is read.
        requires: context that the weights need.
        paired: whether a weight compares a chosen and a rejected sequence.
        tolerance: how far gamma may vary and count as constant.

    Returns:
        One of the categories above; "nothing" where there is no pull at all.

    Examples:
        >>> from qtarget_inspect.vocabulary import directions
        >>> label, one = directions.label(), torch.ones(2)
        >>> (
        ...     category_of({"label": label}, {"label": one}, "unit"),
        ...     category_of({"label": label}, {"label": one / 2}, "unit"),
        ... )
        ('one-hot', 'label trust')
    """
    live = {name: directions[name] for name, weight in weights.items() if bool((weight.abs() > tolerance).any())}
    if not live:
        return NOTHING
    if "advantages" in requires:
        return "preference" if paired else "policy gradient"
    kinds = {direction.kind for direction in live.values()}
    if "nowhere" in kinds:
        return "regulariser"
    if LABEL not in live and "tilt" in kinds:
        own = all(not direction.requires for direction in live.values())
        return "regulariser" if own else "divergence"
    gamma = weights[LABEL] if LABEL in live else torch.zeros_like(next(iter(weights.values())))
    if gauge == "normalized":
        total = total_pull(live, {name: weights[name] for name in live})
        gamma = gamma / total
    gamma = gamma[torch.isfinite(gamma)]
    steady = gamma.numel() == 0 or float(gamma.max() - gamma.min()) <= tolerance * max(1.0, float(gamma.abs().max()))
    if set(live) == {LABEL}:
        return "one-hot" if steady and abs(float(gamma.mean()) - 1) <= tolerance else "label trust"
    return "residual distribution" if steady else "both"
