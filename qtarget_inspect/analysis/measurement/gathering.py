"""Gathering: all rows read once, and what each loss needs of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from qtarget_inspect.analysis.measurement import moments
from qtarget_inspect.analysis.measurement.collected import Collected, PieceQuantities
from qtarget_inspect.analysis.measurement.declared_loss import DeclaredLoss
from qtarget_inspect.analysis.measurement.effective import Effective, effective
from qtarget_inspect.analysis.measurement.fused_pass import FusedPass
from qtarget_inspect.analysis.measurement.law_state import LawState
from qtarget_inspect.analysis.measurement.movement import collect_model_top, collect_movement
from qtarget_inspect.analysis.measurement.others import less_source, sums_of_rows, write_others
from qtarget_inspect.analysis.measurement.reading import Reading, Scratch
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.tolerances import rounding
from qtarget_inspect.vocabulary.pulls import PullGauge, natural_gauge

_WORK = 4
"""Arrays [rows, V] that a piece needs besides p and the sources that are kept: a source, its work, Q, its logits."""

_MANY = 0.05
"""Share of a piece's rows from which logarithms are summed for all rows: taken apart they cost twenty times as much."""

Group: TypeAlias = tuple[tuple[Exponents, ...], list[DeclaredLoss]]
"""Sources, and the losses that pull to just these."""


@dataclass
class Gathering:
    """One reading of all rows.

    Args:
        losses: what it is for.
        collected: where numbers go.
        top: how many tokens that gain and lose most are wanted; None for none.
        careful: whether logits are centred and -inf is looked after.
        compile: whether sums of all pieces but the first come from one compiled pass.
        gauges: place of a loss -> the gauge its rows are read in.
    """

    losses: Sequence[DeclaredLoss]
    collected: Collected
    top: int | None
    careful: bool
    compile: bool = False
    gauges: dict[int, PullGauge] = field(default_factory=dict)
    _one_source: dict[int, bool] = field(default_factory=dict, repr=False)
    _constant: dict[int, Effective] = field(default_factory=dict, repr=False)
    _with_means: set[Exponents] = field(default_factory=set, repr=False)
    _fused: FusedPass | None = field(default=None, repr=False)

    def run(self) -> None:
        """Read all rows."""
        stream, losses = self.collected.stream, self.losses
        several = [loss for loss in losses if len(loss.parts.sources) > 1]
        together = losses if self.compile else several
        kept = frozenset(key for loss in together for key in loss.parts.sources.values())
        size = stream.rows(1 + len(kept) + (1 if self.compile else _WORK), shared=self.compile)
        scratch = Scratch(size, stream.tokens.vocabulary, stream.dtype, stream.device)
        self.gauges |= {loss.place: loss.gauge for loss in losses if loss.gauge is not None}
        order, labels = _in_order(losses), labels_wanted(losses, self.collected)
        for rows, piece in stream.pieces(size):
            self._read(rows, Reading(piece, scratch, kept, self.careful), order, labels)
            if self.compile and rows.start == 0 and rows.stop < len(stream):
                self._fused = FusedPass.of(
                    losses, self._one_source, self._with_means, self._with_logs(rows), stream, size
                )
            del piece  # so that no two chunks of hidden states' logits are held at once

    def _read(self, rows: slice, reading: Reading, order: Sequence[Group], labels: Sequence[Exponents]) -> None:
        """Read one piece."""
        collected = self.collected
        quantities = PieceQuantities(reading, collected.stream.alias)
        state = LawState(reading.batch, quantities)
        fused = self._fused if self._fused is not None and len(reading) == self._fused.rows else None
        moments.collect(reading, SELF, rows, collected, with_means=fused is None)
        if self.top is not None:
            collect_model_top(reading, rows, collected, self.top)
        done: set[int] = set()
        if fused is not None:
            weights = {loss.place: self._weights(loss, rows, state) for loss in fused.losses}
            done = fused.collect(reading, rows, collected, weights)
        for keys, group in order:
            for loss in group:
                if loss.place not in done:
                    self._collect(loss, self._weights(loss, rows, state), reading, rows)
            for key in keys:
                if key in labels:
                    moments.collect_label(reading, key, rows, collected)
                if fused is None or key not in fused.sums.sources:
                    moments.collect(reading, key, rows, collected, with_means=key in self._with_means)
        for key in labels:
            moments.collect_label(reading, key, rows, collected)
        if rows.start == 0:
            for loss in self.losses:
                if not loss.parts.rows_needed and loss.fixed is None and loss.pulls.row_local:
                    loss.pulls.weights(state)  # which numbers of a token it wants
        for wanted, compute in collected.wanted.items():
            quantities.quantity(wanted, compute)
        for wanted, (values, compute) in quantities.found.items():
            if compute is not None:
                collected.wanted[wanted] = compute
                collected.store(wanted, rows, values)

    def _with_logs(self, rows: slice) -> set[int]:
        """Places of losses whose Q, written out, needed logarithms on many rows of a piece."""
        needed = ((loss.place, self.collected.at((loss.place, "positive_log"), rows)) for loss in self.losses)
        return {place for place, logs in needed if logs is not None and int(logs.isfinite().sum()) > _MANY * len(logs)}

    def _weights(self, loss: DeclaredLoss, rows: slice, state: LawState) -> Effective:
        """A loss's weights on the rows of a piece, in its gauge."""
        if loss.place in self._constant:
            return self._constant[loss.place]
        dtype, weights = self.collected.stream.dtype, loss.weights_of(rows, state)
        if loss.place not in self.gauges:
            self.gauges[loss.place] = natural_gauge(loss.pulls.directions, weights, rounding(dtype))
        rest = state.one_minus_p_label if loss.parts.without_label else None
        found = effective(loss.parts, weights, self.gauges[loss.place], rest, dtype)
        if loss.is_constant:
            self._constant[loss.place] = found
        return found

    def _collect(self, loss: DeclaredLoss, weights: Effective, reading: Reading, rows: slice) -> None:
        """What one loss needs of the rows."""
        collected = self.collected
        self._one_source[loss.place] = weights.is_one_source
        if weights.is_one_source:
            ((key, weight),) = weights.sources.items()
            self._with_means.add(key)
            less, name = less_source(reading, key, weight), "source distance"
            if bool((weight.abs() > 1).any()):
                collected.store((key, "largest"), rows, reading.source(key).others.amax(-1))
        else:
            q, at_label = write_others(reading, loss.parts, weights)
            collected.store((loss.place, "at label"), rows, at_label.expand(len(reading)))
            for number, values in sums_of_rows(reading, q, weights).items():
                collected.store((loss.place, number), rows, values)
            less, name = torch.sub(reading.source(SELF).others, q, out=reading.work()), "distance"
        if self.top is not None:
            collect_movement(loss.place, less, rows, collected, self.top)
        collected.store((loss.place, name), rows, less.abs_().sum(-1))


def labels_wanted(losses: Sequence[DeclaredLoss], collected: Collected) -> list[Exponents]:
    """Models whose probability of the label the weights of label pulls may ask for.

    Args:
        losses: the losses.
        collected: whose stream says which models are the same.

    Returns:
        The models as sources, p itself left out.
    """
    names = {name for loss in losses if loss.fixed is None for name in loss.pulls.requires if name in LOGIT_CONTEXT}
    alias = collected.stream.alias
    return sorted({((alias.get(name, name), 1.0),) for name in names} - {SELF})


def _in_order(losses: Sequence[DeclaredLoss]) -> list[Group]:
    """Losses that need rows by what they pull to, so that a source is read once and then done with."""
    groups: dict[frozenset[Exponents], list[DeclaredLoss]] = {}
    for loss in losses:
        if loss.parts.rows_needed:
            groups.setdefault(frozenset(loss.parts.sources.values()), []).append(loss)
    return [(tuple(sorted(keys)), group) for keys, group in groups.items()]
