"""Assembly: the numbers of one loss on all tokens, from what was collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from qtarget_inspect.analysis.measurement.records import LossMeasurement, TopTokens
from qtarget_inspect.analysis.measurement.sources import SELF
from qtarget_inspect.core.state import MODEL
from qtarget_inspect.engine.closed_form import PER_TOKEN
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge


@dataclass(frozen=True)
class Read:
    """One loss whose rows have been read.

    Args:
        place: its key in what was collected.
        variant: the loss.
        parts: its directions, sorted.
        gauge: the gauge.
        weights: name -> [N] weights in the unit gauge.
        collected: what was read, its moments worked out.
    """

    place: int
    variant: Variant
    parts: Parts
    gauge: PullGauge
    weights: dict[str, Tensor]
    collected: Collected


def records_of(losses: Sequence[Read], top: int | None) -> list[LossMeasurement]:
    """The records of losses that were read in one run; their numbers are worked out together.

    Args:
        losses: the losses, all on the same tokens.
        top: how many tokens that gain and lose most are wanted; None for none.

    Returns:
        The records.

    Raises:
        LossError: a target is not finite somewhere.
    """
    collected = losses[0].collected
    dtype, rest = collected.stream.dtype, collected.get(ONE_MINUS_LABEL)
    log_p_label = collected.get(label_key(MODEL))
    p_label = torch.where(rest < 0.5, 1 - rest, log_p_label.exp())
    surprise = torch.where(p_label > 0, p_label * log_p_label, 0.0)
    of_the_model = {"p_label": p_label, "model_entropy": -(collected.get((SELF, "logs")) + surprise)}
    found = [effective(loss.parts, loss.weights, loss.gauge, rest, dtype) for loss in losses]
    sums = [_sums(loss, one, p_label, rest) for loss, one in zip(losses, found, strict=True)]
    gamma = torch.stack([one.gamma for one in found])
    numbers = numbers_of(Sums.stacked(sums), gamma, p_label, log_p_label, dtype)
    undefined, spoiled = torch.isnan(gamma), numbers.pop("spoiled")
    spoiled = (spoiled & ~undefined) | torch.isnan(of_the_model["model_entropy"])
    full = (1 - gamma).abs() <= FULL_TRUST[dtype]
    numbers = {name: value.masked_fill(undefined, torch.nan) for name, value in numbers.items()} | {"gamma": gamma}
    some_spoiled, some_full = spoiled.any(-1).tolist(), full.any(-1).tolist()
    records = []
    for i, (loss, one) in enumerate(zip(losses, found, strict=True)):
        values = {name: value[i] for name, value in numbers.items()} | of_the_model
        if some_spoiled[i]:
            values = {name: value.clone() for name, value in values.items()}
            exceptional_values(values, spoiled[i], loss.variant, loss.weights, loss.gauge, one, loss.collected.stream)
        flags = one.flags | ({FLAG_FULL_TRUST: full[i]} if some_full[i] else {})
        moved: tuple[TopTokens | None, TopTokens | None] = (None, None)
        if top is not None:
            moved = movement_of(loss.place, loss.parts, one, sums[i].gain, loss.collected, top)
        zero, name = torch.zeros_like(rest), loss.variant.label
        coupled = loss.variant.coupling
        records.append(
            LossMeasurement(name, loss.gauge, values, flags, zero, "closed-form", PER_TOKEN.text, coupled, *moved)
        )
    return records


def _sums(loss: Read, weights: Effective, p_label: Tensor, rest: Tensor) -> Sums:
    """Sums over the others, from p or a source where Q is a multiple of it there, else as they were written out."""
    place, parts, collected = loss.place, loss.parts, loss.collected
    remainder = weights.share * p_label
    for key, weight in weights.sources.items():
        remainder = remainder + weight * collected.get((key, "label"))
    written = None
    if collected.has((place, "at label")):
        at_label = collected.get((place, "at label"))
        written = ~torch.isnan(at_label)
        remainder = torch.where(written, remainder + at_label, remainder)
    gain = weights.gamma * rest + (remainder - (1 - weights.gamma) * p_label)
    if not parts.rows_needed:
        scale, logs = weights.others_share, collected.get((SELF, "logs"))
        return _scaled(scale, rest, logs, logs, (scale - 1).abs() * rest, rest, gain, remainder)
    if written is not None:
        positive, negative, *others = (collected.get((place, name)) for name in WRITTEN)
        sums = Sums(gain, remainder, positive, negative, collected.get((place, "distance")), *others)
        if len(weights.sources) != 1 or parts.rest or bool(written.all()):
            return sums
    ((key, scale),) = weights.sources.items()
    mass, logs, cross, largest = (collected.get((key, name)) for name in ("mass", "logs", "cross", "largest"))
    largest = torch.where(torch.isnan(largest), mass, largest)
    distance = collected.get((place, "source distance"))
    scaled = _scaled(scale, mass, logs, cross, distance, largest, gain, remainder)
    return scaled if written is None else sums.where(written, scaled)


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
