"""Effective weights: a loss's pulls on some rows in one gauge, sorted into what is summed alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_NO_TOTAL_PULL, FLAG_REVERSED
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents, exponents_of, renamed
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, Pulls, total_pull

_ZERO = 1e-14
"""A total pull below this share of the pulls' sizes counts as zero, as for declared pulls in `decompose`."""

_NEUTRAL = 1e-12
"""A total pull this near to 1 leaves the model no share, as in the natural gauge."""


@dataclass(frozen=True)
class Parts:
    """The directions of a loss, by what they take to sum up.

    Args:
        pulls: the declared pulls.
        sources: direction name -> the powers its distribution is a product of; not the label, not the model.
        selfs: names of directions whose distribution is the model itself.
        without_label: names of directions to the model without the label.
        lost: names of directions that go nowhere.
        rest: names of all others; their rows are computed by the direction.
    """

    pulls: Pulls
    sources: dict[str, Exponents]
    selfs: tuple[str, ...]
    without_label: tuple[str, ...]
    lost: tuple[str, ...]
    rest: tuple[str, ...]

    @property
    def constant_weights(self) -> dict[str, float] | None:
        """The weights by direction name where all are constants, else None."""
        terms = self.pulls.terms
        if any(term.weight.number is None for term in terms):
            return None
        found: dict[str, float] = {}
        for term in terms:
            assert term.weight.number is not None
            found[term.direction.name] = found.get(term.direction.name, 0.0) + term.weight.number
        return found

    @property
    def rows_needed(self) -> bool:
        """Whether anything but the label and p itself is pulled to."""
        return bool(self.sources or self.rest)

    def direction(self, name: str) -> Direction:
        """The direction of that name."""
        return self.pulls.directions[name]


def parts_of(pulls: Pulls, alias: Mapping[str, str]) -> Parts:
    """Sort the directions of a loss; those whose weight is the constant 0 are left out.

    Args:
        pulls: declared pulls.
        alias: model -> the name of an earlier one with the same logits.

    Returns:
        The parts.
    """
    live = {term.direction.name: term.direction for term in pulls if term.weight.number != 0}
    sources: dict[str, Exponents] = {}
    selfs, without_label, lost, rest = [], [], [], []
    for name, direction in live.items():
        found = exponents_of(direction)
        powers = None if found is None else renamed(found, alias)
        if name == LABEL:
            continue
        if direction.kind == "nowhere":
            lost.append(name)
        elif powers == SELF:
            selfs.append(name)
        elif powers is not None:
            sources[name] = powers
        elif direction == directions.others():
            without_label.append(name)
        else:
            rest.append(name)
    return Parts(pulls, sources, tuple(selfs), tuple(without_label), tuple(lost), tuple(rest))


@dataclass(frozen=True)
class Effective:
    """Q = share p + gamma onehot(y) + sum_j w_j b_j + v p without y - tilts, all [n] float64; NaN without a gauge.

    Args:
        gamma: the label's weight.
        share: the model's own.
        sources: w_j by source; equal sources are added.
        without_label: v over 1 - p_y, so that v' p_k is what an other token gets.
        rest: by direction name, what is left to the direction's own rows.
        flags: where the gauge is undefined or reversed -> [n] mask.
    """

    gamma: Tensor
    share: Tensor
    sources: dict[Exponents, Tensor]
    without_label: Tensor | None
    rest: dict[str, Tensor]
    flags: dict[str, Tensor]

    @cached_property
    def is_one_source(self) -> bool:
        """Whether off the label Q is one scaled source and nothing else, on all of these rows."""
        return len(self.sources) == 1 and not self.rest and not bool((self.others_share != 0).any())

    @cached_property
    def others_share(self) -> Tensor:
        """[n] what the others get of p."""
        return self.share if self.without_label is None else self.share + self.without_label

    @cached_property
    def is_small(self) -> bool:
        """Whether no entry of Q or of its residual can exceed 1 in size: weights of either sign sum to at most 1."""
        free = 1 - self.gamma
        if self.rest or bool(((free != 0) & (free.abs() < 1)).any()):
            return False
        parts = [self.others_share, *self.sources.values()]
        up = sum((part.clamp(min=0) for part in parts), torch.zeros(1).to(free))
        down = sum((part.clamp(max=0) for part in parts), torch.zeros(1).to(free))
        return bool((torch.maximum(up, -down) <= 1).all())

    @property
    def undefined(self) -> Tensor:
        """[n] rows that have no Q in this gauge."""
        return torch.isnan(self.gamma)


def effective(
    parts: Parts, weights: Mapping[str, Tensor], gauge: PullGauge, rest_mass: Tensor | None, dtype: torch.dtype
) -> Effective:
    """The weights in a gauge.

    Args:
        parts: the loss's directions.
        weights: name -> [n] weights in the unit gauge, float64.
        gauge: "unit" or "normalized".
        rest_mass: [n] 1 - p_y; None where no direction asks for it.
        dtype: the type that rows are read in: a total pull that underflows in it counts as 0.

    Returns:
        The effective weights.
    """
    total = total_pull(parts.pulls.directions, weights)
    flags: dict[str, Tensor] = {}
    if gauge == "normalized":
        size = torch.stack([weight.abs() for weight in weights.values()]).sum(0)
        zero = total.abs() <= torch.clamp(_ZERO * size, min=torch.finfo(dtype).tiny)
        masks = {FLAG_NO_TOTAL_PULL: zero, FLAG_REVERSED: (total < 0) & ~zero}
        flags = {name: mask for name, mask in masks.items() if bool(mask.any())}
        scale = torch.where(zero | (total < 0), torch.nan, total)
        weights = {name: weight / scale for name, weight in weights.items()}
        share = torch.zeros_like(total) / scale
    else:
        share = 1 - total
        share = torch.where(share.abs() <= _NEUTRAL, 0.0, share)
    for name in parts.selfs:
        share = share + weights[name]
    for name in parts.lost:
        share = share - weights[name]
    sources: dict[Exponents, Tensor] = {}
    for name, key in parts.sources.items():
        sources[key] = sources[key] + weights[name] if key in sources else weights[name]
    without_label = None
    for name in parts.without_label:
        assert rest_mass is not None
        without_label = weights[name] / rest_mass
    gamma = weights[LABEL] if LABEL in weights else torch.zeros_like(total) * share
    rest = {name: weights[name] for name in parts.rest}
    return Effective(gamma, share, sources, without_label, rest, flags)
