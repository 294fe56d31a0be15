"""Declared: losses whose pulls are declared, all measured in one reading of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import Gauge
from qtarget_inspect.analysis.measurement import moments
from qtarget_inspect.analysis.measurement.assembly import Read, records_of
from qtarget_inspect.analysis.measurement.collected import Collected
from qtarget_inspect.analysis.measurement.declared_loss import DeclaredLoss
from qtarget_inspect.analysis.measurement.effective import parts_of
from qtarget_inspect.analysis.measurement.gathering import Gathering, labels_wanted
from qtarget_inspect.analysis.measurement.law_state import LawState
from qtarget_inspect.analysis.measurement.records import LossMeasurement
from qtarget_inspect.analysis.measurement.stream import Stream
from qtarget_inspect.core.tolerances import rounding
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge, Pulls, natural_gauge

_TOLERANCE = 1e-12
"""How far from 0 or 1 a total pull may lie in the natural gauge, as for declared pulls in `decompose`."""

_TOGETHER = 2**14
"""Numbers [losses, N] that are worked out at once: enough to save calls at small N, few enough for little memory."""


def measure_declared(
    variants: Sequence[Variant], stream: Stream, gauge: Gauge, top: int | None = None, compile_: bool = False
) -> list[LossMeasurement]:
    """The numbers of losses with declared pulls.

    Args:
        variants: the losses.
        stream: the tokens.
        gauge: "natural", "unit" or "normalized".
        top: how many tokens that gain and lose most are wanted; None for none.
        compile_: whether sums come from one compiled pass where that can be.

    Returns:
        A record a loss.

    Raises:
        LossError: a target is not finite somewhere.
    """
    collected = Collected(stream)
    losses = [_prepared(place, variant, collected, gauge) for place, variant in enumerate(variants)]
    read_as = _read_finished(losses, collected, top, compile_)
    found = []
    for loss in losses:
        weights, own_collected, place = loss.pulls.weights(LawState(stream.tokens, collected)), collected, loss.place
        own: PullGauge = _natural(loss.pulls, weights, stream) if gauge == "natural" else gauge
        if loss.parts.rows_needed and read_as[loss.place] != own:  # the first piece looked otherwise than the whole
            own_collected, place = Collected(stream), 0
            _read_finished([replace(loss, gauge=own, place=0)], own_collected, top)
        found.append(Read(place, loss.variant, loss.parts, own, weights, own_collected))
    several = max(1, _TOGETHER // len(stream))
    groups = [found[start : start + several] for start in range(0, len(found), several)]
    return [record for group in groups for record in records_of(group, top)]


def _prepared(place: int, variant: Variant, collected: Collected, gauge: Gauge) -> DeclaredLoss:
    pulls = variant.pulls
    assert pulls is not None
    parts, fixed = parts_of(pulls, collected.stream.alias), None
    constant = parts.constant_weights
    if constant is not None:
        fixed = {name: torch.tensor([number], dtype=torch.float64) for name, number in constant.items()}
        fixed = {name: weight.to(collected.stream.device) for name, weight in fixed.items()}
    elif parts.rows_needed and not pulls.row_local:
        fixed = pulls.weights(LawState(collected.stream.tokens, Collected(collected.stream)))
    return DeclaredLoss(place, variant, parts, None if gauge == "natural" else gauge, fixed)


def _natural(pulls: Pulls, weights: dict[str, Tensor], stream: Stream) -> PullGauge:
    """The natural gauge, judged in float64 where float32 leaves open whether the total pull is 0 or 1."""
    gauge = natural_gauge(pulls.directions, weights, _TOLERANCE)
    if gauge == "unit" or natural_gauge(pulls.directions, weights, rounding(stream.dtype)) != "unit":
        return gauge
    if stream.dtype == torch.float64:
        return gauge
    exact = Collected(replace(stream, dtype=torch.float64))
    return natural_gauge(pulls.directions, pulls.weights(LawState(stream.tokens, exact)), _TOLERANCE)


def _read_finished(
    losses: Sequence[DeclaredLoss], collected: Collected, top: int | None, compile_: bool = False
) -> dict[int, PullGauge]:
    """Read all rows and work out the moments, once more with care where the logits ask for it; returns the gauges."""
    keys = {key for loss in losses for key in loss.parts.sources.values()} | set(labels_wanted(losses, collected))
    gathering = Gathering(losses, collected, top, careful=False, compile=compile_ and top is None)
    gathering.run()
    if not moments.finish(collected, keys):
        collected.forget()
        gathering = Gathering(losses, collected, top, careful=True)
        gathering.run()
        moments.finish(collected, keys)
    return gathering.gauges
