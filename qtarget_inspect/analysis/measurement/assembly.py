"""Assembly: the numbers of one loss on all tokens, from what was collected."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_FULL_TRUST
from qtarget_inspect.analysis.measurement.collected import Collected
from qtarget_inspect.analysis.measurement.effective import Effective, Parts, effective
from qtarget_inspect.analysis.measurement.exceptional import exceptional_values
from qtarget_inspect.analysis.measurement.law_state import ONE_MINUS_LABEL, label_key
from qtarget_inspect.analysis.measurement.movement import movement_of
from qtarget_inspect.analysis.measurement.numbers import FULL_TRUST, Sums, numbers_of
from qtarget_inspect.analysis.measurement.others import WRITTEN
from qtarget_inspect.analysis.measurement.records import LossMeasurement
from qtarget_inspect.analysis.measurement.sources import SELF
from qtarget_inspect.core.state import MODEL
from qtarget_inspect.engine.closed_form import PER_TOKEN
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge

OF_THE_MODEL = ("p_label", "model_entropy")
"""Numbers that do not depend on the loss."""


def record_of(
    place: int,
    variant: Variant,
    parts: Parts,
    gauge: PullGauge,
    weights: dict[str, Tensor],
    collected: Collected,
    top: int | None,
) -> LossMeasurement:
    """The record of one loss.

    Args:
        place: where it stands in the list.
        variant: the loss.
        parts: its directions, sorted.
        gauge: the gauge.
        weights: name -> [N] weights in the unit gauge.
        collected: what was read, its moments worked out.
        top: how many tokens that gain and lose most are wanted; None for none.

    Returns:
        The record.

    Raises:
        LossError: the target is not finite somewhere.
    """
    stream, rest = collected.stream, collected.get(ONE_MINUS_LABEL)
    log_p_label = collected.get(label_key(MODEL))
    p_label = torch.where(rest < 0.5, 1 - rest, log_p_label.exp())
    found = effective(parts, weights, gauge, rest, stream.dtype)
    sums = _sums(place, parts, found, collected, p_label, rest)
    values = numbers_of(sums, found.gamma, p_label, log_p_label, stream.dtype)
    spoiled = values.pop("spoiled") & ~found.undefined
    own = torch.where(p_label > 0, p_label * log_p_label, 0.0)
    values |= {"gamma": found.gamma, "p_label": p_label, "model_entropy": -(collected.get((SELF, "logs")) + own)}
    for name in values:
        if name not in OF_THE_MODEL:
            values[name] = values[name].masked_fill(found.undefined, torch.nan)
    if bool(spoiled.any()):
        exceptional_values(values, spoiled, variant, weights, gauge, found, stream)
    flags, full = dict(found.flags), (1 - found.gamma).abs() <= FULL_TRUST[stream.dtype]
    if bool(full.any()):
        flags[FLAG_FULL_TRUST] = full
    moved = movement_of(place, parts, found, sums.gain, collected, top) if top is not None else (None, None)
    return LossMeasurement(
        variant.label,
        gauge,
        values,
        flags,
        torch.zeros_like(rest),
        "closed-form",
        PER_TOKEN.text,
        variant.coupling,
        *moved,
    )


def _sums(place: int, parts: Parts, weights: Effective, collected: Collected, p_label: Tensor, rest: Tensor) -> Sums:
    """Sums over the others, from p or a source where Q is a multiple of it there, else as they were written out."""
    remainder = weights.share * p_label
    for key, weight in weights.sources.items():
        remainder = remainder + weight * collected.get((key, "label"))
    at_label = collected.get((place, "at label"))
    written = ~torch.isnan(at_label)
    remainder = torch.where(written, remainder + at_label, remainder)
    gain = weights.gamma * rest + (remainder - (1 - weights.gamma) * p_label)
    if not parts.rows_needed:
        scale, logs = weights.others_share, collected.get((SELF, "logs"))
        return _scaled(scale, rest, logs, logs, (scale - 1).abs() * rest, rest, gain, remainder)
    positive, negative, *others = (collected.get((place, name)) for name in WRITTEN)
    sums = Sums(gain, remainder, positive, negative, collected.get((place, "distance")), *others)
    if len(weights.sources) != 1 or parts.rest:
        return sums
    ((key, scale),) = weights.sources.items()
    mass, logs, cross, largest = (collected.get((key, name)) for name in ("mass", "logs", "cross", "largest"))
    largest = torch.where(torch.isnan(largest), mass, largest)
    distance = collected.get((place, "source distance"))
    return sums.where(written, _scaled(scale, mass, logs, cross, distance, largest, gain, remainder))


def _scaled(
    scale: Tensor,
    mass: Tensor,
    logs: Tensor,
    cross: Tensor,
    distance: Tensor,
    largest: Tensor,
    gain: Tensor,
    remainder: Tensor,
) -> Sums:
    """Sums of Q_k = scale b_k from those of b: its mass, sum b log b, sum b log p and max b (or a bound on it)."""
    size = scale.abs()
    whole = torch.special.xlogy(size, size) * mass + torch.where(size > 0, size * logs, 0.0)
    up, down = scale > 0, scale < 0
    return Sums(
        gain,
        remainder,
        torch.where(up, scale * mass, 0.0),
        torch.where(down, size * mass, 0.0),
        distance,
        size * largest,
        torch.where(up, whole, 0.0),
        torch.where(down, whole, 0.0),
        torch.where(up, scale * cross, 0.0),
    )
