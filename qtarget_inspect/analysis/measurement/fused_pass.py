"""Fused pass: what several losses need of a piece, from the one compiled pass over it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement import moments
from qtarget_inspect.analysis.measurement.collected import Collected
from qtarget_inspect.analysis.measurement.declared_loss import DeclaredLoss
from qtarget_inspect.analysis.measurement.effective import Effective
from qtarget_inspect.analysis.measurement.fused import Step, Sums, compiled_step, sources_of, weights_of
from qtarget_inspect.analysis.measurement.others import less_log_partition, with_logs
from qtarget_inspect.analysis.measurement.reading import Reading
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.analysis.measurement.stream import Stream
from qtarget_inspect.core.state import MODEL


@dataclass(frozen=True)
class FusedPass:
    """The sums that a first piece showed to be wanted, for all pieces as long as it.

    Args:
        sums: which.
        step: the compiled pass.
        rows: n, rows a piece.
        scaled: losses whose Q is one scaled source off the label.
        mixed: losses whose Q is a mixture of p and sources there.
    """

    sums: Sums
    step: Step
    rows: int
    scaled: tuple[DeclaredLoss, ...]
    mixed: tuple[DeclaredLoss, ...]

    @classmethod
    def of(
        cls,
        losses: Sequence[DeclaredLoss],
        one_source: Mapping[int, bool],
        with_means: Collection[Exponents],
        with_logs: Collection[int],
        stream: Stream,
        rows: int,
    ) -> FusedPass | None:
        """The pass for losses as their first piece showed them.

        Args:
            losses: all losses.
            one_source: place of a loss -> whether it was one scaled source.
            with_means: sources of which means of logits are wanted.
            with_logs: places of mixtures that are no signed targets on many rows, so that logarithms are wanted.
            stream: the tokens.
            rows: rows a piece.

        Returns:
            The pass, compiled at its first call; None where no loss has a use for it.
        """
        needed = [loss for loss in losses if loss.parts.rows_needed]
        scaled = tuple(loss for loss in needed if one_source[loss.place])
        mixed = tuple(loss for loss in needed if not one_source[loss.place] and _is_mixture(loss))
        if not scaled and not mixed:
            return None
        sources = sources_of([key for loss in (*scaled, *mixed) for key in loss.parts.sources.values()])
        wanted = [key for key in sources if key == SELF or key in with_means]
        logits = tuple(dict.fromkeys((MODEL, *(name for key in wanted for name, _ in key))))
        means = [(key, name) for key in wanted for name in dict.fromkeys((MODEL, *(name for name, _ in key)))]
        sums = Sums(
            stream.tokens.vocabulary,
            sources,
            logits,
            tuple((sources.index(key), logits.index(name)) for key, name in means),
            tuple(sources.index(key) if key else None for key in map(_only_source, scaled)),
            tuple(tuple(sources.index(key) for key in _sources(loss)) for loss in mixed),
            tuple(loss.place in with_logs for loss in mixed),
        )
        return cls(sums, compiled_step(sums, stream.dtype, stream.device), rows, scaled, mixed)

    @property
    def losses(self) -> tuple[DeclaredLoss, ...]:
        """All losses of the pass."""
        return self.scaled + self.mixed

    def collect(
        self, reading: Reading, rows: slice, collected: Collected, weights: Mapping[int, Effective]
    ) -> set[int]:
        """Keep what the pass gives.

        Args:
            reading: the piece; all sources must be kept.
            rows: where it stands.
            collected: where numbers go.
            weights: place of a loss -> its effective weights on the piece.

        Returns:
            Places of the losses that need nothing more; one that is not as the first piece showed it does.
        """
        sums, n = self.sums, len(reading)
        b = [reading.source(key).others for key in sums.sources]
        z = [reading.logits(name) for name in sums.logits]
        as_seen = [loss for loss in self.scaled if weights[loss.place].is_one_source]
        scales = [
            weights[loss.place].sources[_only_source(loss)]
            if loss in as_seen
            else torch.zeros(1, dtype=torch.float64, device=b[0].device)
            for loss in self.scaled
        ]
        w = weights_of(sums, scales, [weights[loss.place] for loss in self.mixed], n, reading.scratch.dtype)
        found = iter(self.step(b, z, w).unbind())
        for key in sums.sources:
            moments.collect(reading, key, rows, collected, with_means=False)
        for source, name in sums.means:
            collected.store((sums.sources[source], "mean", sums.logits[name]), rows, next(found))
        for loss, scale in zip(self.scaled, scales, strict=True):
            self._collect_scaled(loss, scale, next(found), reading, rows, collected)
        for loss, mixture, logs in zip(self.mixed, sums.mixtures, sums.with_logs, strict=True):
            own = [next(found) for _ in range(6 if logs else 4)]
            self._collect_mixed(loss.place, weights[loss.place], mixture, own, reading, rows, collected)
        return {loss.place for loss in (*as_seen, *self.mixed)}

    def _collect_scaled(
        self, loss: DeclaredLoss, scale: Tensor, distance: Tensor, reading: Reading, rows: slice, collected: Collected
    ) -> None:
        key = _only_source(loss)
        if not key:  # the uniform stands at the label too
            distance = distance - (scale / self.sums.vocabulary).abs().to(distance.dtype)
        elif bool((scale.abs() > 1).any()):
            collected.store((key, "largest"), rows, reading.source(key).others.amax(-1))
        collected.store((loss.place, "source distance"), rows, distance)

    def _collect_mixed(
        self,
        place: int,
        weights: Effective,
        mixture: tuple[int, ...],
        own: Sequence[Tensor],
        reading: Reading,
        rows: slice,
        collected: Collected,
    ) -> None:
        distance, total, below, largest, *logs = own
        negative, positive = -below, total - below
        summed = None
        if logs:
            summed = logs[0], less_log_partition(reading, logs[1], positive)

        def q_of(picked: Tensor) -> Tensor:
            q = reading.source(SELF).others[picked] * _column(weights.others_share, picked, total.dtype)
            for source in mixture:
                key = self.sums.sources[source]
                q.addcmul_(reading.source(key).others[picked], _column(weights.sources[key], picked, total.dtype))
            return q

        collected.store((place, "at label"), rows, torch.zeros_like(total))
        collected.store((place, "distance"), rows, distance)
        for number, values in with_logs(reading, q_of, positive, negative, largest, weights, summed).items():
            collected.store((place, number), rows, values)


def _column(weight: Tensor, picked: Tensor, dtype: torch.dtype) -> Tensor:
    """[m, 1] weights of some rows."""
    return (weight if weight.shape[0] == 1 else weight[picked]).to(dtype).unsqueeze(-1)


def _sources(loss: DeclaredLoss) -> tuple[Exponents, ...]:
    return tuple(dict.fromkeys(loss.parts.sources.values()))


def _only_source(loss: DeclaredLoss) -> Exponents:
    return _sources(loss)[0]


def _is_mixture(loss: DeclaredLoss) -> bool:
    """Whether all that a loss pulls to is a source of its own: no tilt, no top k, no uniform."""
    return not loss.parts.rest and all(loss.parts.sources.values())
