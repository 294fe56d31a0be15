"""Neighbours: registered variants by the distance between their gradients and a black box's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.observation import BlackBox, Observation
from qtarget_inspect.analysis.identification.result import PROPORTIONAL, SAME_GRADIENT, Neighbour
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.variants import Variant, variants

SHOWN = 5

TOKENS, FEWEST, MOST_LOGITS = 64, 12, 400_000
"""Tokens that are compared at first, and how few where the vocabulary is large."""

SAME = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Gradients that differ by less, per unit of a row's size, are the same."""


def nearest_variants(
    box: BlackBox,
    observations: Sequence[Observation],
    numbers: Mapping[str, Mapping[str, Any]],
    support_numbers: Mapping[str, float],
) -> tuple[Neighbour, ...]:
    """Registered variants whose gradient comes nearest, nearest first.

    Parameters of a variant are tried at their defaults and at the numbers that were found, so that p_y^0.5 is
    recognised as beyond-log at alpha = 0.5; on large vocabularies at their defaults only. A variant needs no other
    context than the loss sees.

    Args:
        box: the loss.
        observations: its gradient on some states; the first ones choose, and what is called the same is so on all.
        numbers: numbers of the laws that were found.
        support_numbers: numbers of the directions.

    Returns:
        At most five; an exact one first, whatever its name.
    """
    tokens = max(FEWEST, min(TOKENS, MOST_LOGITS // observations[0].batch.vocabulary))
    rows = _whole_sequences(observations[0].batch, tokens)
    few = observations[0].rows(torch.arange(len(observations[0].batch))[rows])
    if float(few.gradient.abs().max()) == 0:
        return ()
    found = []
    large = observations[0].batch.vocabulary * TOKENS > 10 * MOST_LOGITS
    candidates = () if large else _candidate_numbers(numbers, support_numbers)
    for variant in variants().values():
        if not set(variant.context) <= set(box.context):
            continue
        best = _best_member(variant, candidates, few, observations, SAME[box.precision])
        if best is not None:
            found.append(best)
    return tuple(sorted(found, key=lambda one: (*_rank(one), one.name != box.name))[:SHOWN])


def _rank(near: Neighbour) -> tuple[int, float]:
    """Exact ones first and alike, then those that are proportional, then by distance."""
    order = (SAME_GRADIENT, PROPORTIONAL, "").index(near.relation)
    return (order, near.distance if near.relation == "" else 0.0)


def _whole_sequences(batch: TokenBatch, tokens: int) -> slice:
    """The first tokens of a batch, an even number of whole sequences where there are any."""
    if batch.sequence_ids is None or len(batch) <= tokens:
        return slice(0, min(len(batch), tokens))
    starts = (torch.diff(batch.sequence_ids) != 0).nonzero().flatten() + 1  # [sequences - 1]
    inside = starts[1::2]  # after the second, the fourth ... sequence
    chosen = inside[inside <= tokens]
    return slice(0, int(chosen[-1]) if len(chosen) else len(batch))


def _candidate_numbers(
    numbers: Mapping[str, Mapping[str, Any]], support_numbers: Mapping[str, float]
) -> tuple[float, ...]:
    """Numbers that a parameter may have: those found, and what is simply made of them."""
    found = [value for own in numbers.values() for value in own.values()]
    plain = [value if isinstance(value, float) else 0.5 * sum(value) for value in found]  # the middle of an interval
    plain += list(support_numbers.values())
    made = []
    for value in plain:
        made += [value, 1 - value, value - 1, value / 2]
        made += [1 / value, 1 - 1 / value] if value else []
    rounded = [float(f"{value:.12g}") for value in made if value == value]
    return tuple(dict.fromkeys(value for value in rounded if abs(value) < 1e4))


def _best_member(
    variant: Variant,
    candidates: tuple[float, ...],
    few: Observation,
    observations: Sequence[Observation],
    tolerance: float,
) -> Neighbour | None:
    """A variant at its defaults, then parameter by parameter at the number that was found and brings it nearest."""

    def near(member: Variant) -> Neighbour | None:
        found = _compare(member, [few], tolerance)
        return found if found is None or not found.relation else _compare(member, observations, tolerance)

    best, chosen = near(variant), variant
    for _ in range(min(2, len(variant.parameters))):
        before = chosen
        for name in variant.parameters:
            if best is not None and best.relation == SAME_GRADIENT:
                return best
            for member in _with_numbers(chosen, name, candidates):
                other = near(member)
                if other is not None and (best is None or _rank(other) < _rank(best)):
                    best, chosen = other, member
        if chosen is before:
            break
    return best


def _with_numbers(variant: Variant, name: str, candidates: tuple[float, ...]) -> Iterator[Variant]:
    """A variant with one parameter at each of the numbers that its range allows."""
    for value in candidates:
        number: float | int = int(value) if float(value).is_integer() else value
        if number != variant.parameters[name]:
            try:
                yield variant.with_parameters(**{name: number})
            except QTargetError:  # outside its range
                continue


def _gradient(variant: Variant, state: State) -> Tensor | None:
    """[n, V] gradient by the variant's pulls, or by differentiation where it has none."""
    try:
        if variant.pulls is not None:
            return variant.pulls.gradient(state, variant.pulls.weights(state))
        return invert(variant, state.batch, dtype=torch.float64).g
    except QTargetError:  # it cannot be had on these states
        return None


def _compare(variant: Variant, observations: Sequence[Observation], tolerance: float) -> Neighbour | None:
    """How a variant's gradient relates to the loss's on all of some states; None where it cannot be had."""
    pairs = []
    for one in observations:
        other = _gradient(variant, one.state)
        if other is None:
            return None
        pairs.append((one.gradient, other))
    size = max(float(gradient.abs().max()) for gradient, _ in pairs)
    apart = _largest(pairs, 1.0)
    if _within(pairs, 1.0, tolerance):
        return Neighbour(variant.label, SAME_GRADIENT, apart / size)
    squares = sum(float(other.square().sum()) for _, other in pairs)
    factor = sum(float((gradient * other).sum()) for gradient, other in pairs) / squares if squares else 0.0
    if factor > 0 and _within(pairs, factor, tolerance):
        return Neighbour(variant.label, PROPORTIONAL, _largest(pairs, factor) / size, factor)
    return Neighbour(variant.label, "", apart / size)


def _largest(pairs: Sequence[tuple[Tensor, Tensor]], factor: float) -> float:
    return max(float((gradient - factor * other).abs().max()) for gradient, other in pairs)


def _within(pairs: Sequence[tuple[Tensor, Tensor]], factor: float, tolerance: float) -> bool:
    """Whether a factor takes one gradient to the other on every row, up to rounding."""
    for gradient, other in pairs:
        rows = torch.maximum(gradient.abs().amax(-1), factor * other.abs().amax(-1)).clamp(min=1.0)
        if bool(((gradient - factor * other).abs().amax(-1) > tolerance * rows).any()):
            return False
    return True
