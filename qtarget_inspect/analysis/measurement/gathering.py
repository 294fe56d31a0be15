"""Gathering: all rows read once, and what each loss needs of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement import moments
from qtarget_inspect.analysis.measurement.collected import Collected, PieceQuantities
from qtarget_inspect.analysis.measurement.effective import Effective, Parts, effective
from qtarget_inspect.analysis.measurement.law_state import LawState
from qtarget_inspect.analysis.measurement.movement import collect_model_top, collect_movement
from qtarget_inspect.analysis.measurement.others import less_source, sums_of_rows, write_others
from qtarget_inspect.analysis.measurement.reading import Reading, Scratch
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.tolerances import rounding
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge, Pulls, natural_gauge

_WORK = 4
"""Arrays [rows, V] that a piece needs besides p and the sources that are kept: a source, its work, Q, its logits."""

Group: TypeAlias = "tuple[tuple[Exponents, ...], list[DeclaredLoss]]"
"""Sources, and the losses that pull to just these."""


@dataclass(frozen=True)
class DeclaredLoss:
    """One loss of the run.

    Args:
        place: where it stands in the list.
        variant: the variant.
        parts: its directions, sorted.
        gauge: the gauge that it is to be read in; None where the first piece decides.
        fixed: name -> [N] weights that are known before rows are read, or [1] constant ones; None where they follow
            from the rows.
    """

    place: int
    variant: Variant
    parts: Parts
    gauge: PullGauge | None
    fixed: dict[str, Tensor] | None

    @property
    def pulls(self) -> Pulls:
        """Its pulls."""
        return self.parts.pulls

    @property
    def is_constant(self) -> bool:
        """Whether all tokens have the same effective weights."""
        return (
            self.fixed is not None
            and not self.parts.without_label
            and all(w.shape[0] == 1 for w in self.fixed.values())
        )

    def weights_of(self, rows: slice, state: LawState) -> dict[str, Tensor]:
        """[n] or [1] weights of some rows."""
        if self.fixed is None:
            return self.pulls.weights(state)
        return {name: weight if weight.shape[0] == 1 else weight[rows] for name, weight in self.fixed.items()}


@dataclass
class Gathering:
    """One reading of all rows.

    Args:
        losses: what it is for.
        collected: where numbers go.
        top: how many tokens that gain and lose most are wanted; None for none.
        careful: whether logits are centred and -inf is looked after.
        gauges: place of a loss -> the gauge its rows are read in.
    """

    losses: Sequence[DeclaredLoss]
    collected: Collected
    top: int | None
    careful: bool
    gauges: dict[int, PullGauge] = field(default_factory=dict)
    _constant: dict[int, Effective] = field(default_factory=dict, repr=False)
    _with_means: set[Exponents] = field(default_factory=set, repr=False)

    def run(self) -> None:
        """Read all rows."""
        stream, losses = self.collected.stream, self.losses
        several = [loss for loss in losses if len(loss.parts.sources) > 1]
        kept = frozenset(key for loss in several for key in loss.parts.sources.values())
        size = stream.rows(1 + len(kept) + _WORK)
        scratch = Scratch(size, stream.tokens.vocabulary, stream.dtype, stream.device)
        self.gauges |= {loss.place: loss.gauge for loss in losses if loss.gauge is not None}
        order, labels = _in_order(losses), labels_wanted(losses, self.collected)
        for rows, piece in stream.pieces(size):
            self._read(rows, Reading(piece, scratch, kept, self.careful), order, labels)
            del piece  # so that no two chunks of hidden states' logits are held at once

    def _read(self, rows: slice, reading: Reading, order: Sequence[Group], labels: Sequence[Exponents]) -> None:
        """Read one piece."""
        collected = self.collected
        quantities = PieceQuantities(reading, collected.stream.alias)
        state = LawState(reading.batch, quantities)
        moments.collect(reading, SELF, rows, collected, with_means=True)
        if self.top is not None:
            collect_model_top(reading, rows, collected, self.top)
        for keys, group in order:
            for loss in group:
                self._collect(loss, self._weights(loss, rows, state), reading, rows)
            for key in keys:
                if key in labels:
                    moments.collect_label(reading, key, rows, collected)
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
