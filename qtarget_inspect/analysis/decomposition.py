"""Decomposition: an induced target read as label trust gamma and a residual, in a named gauge and reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from qtarget_inspect.analysis.fitting import Fit, choose_attractors, fit_pulls
from qtarget_inspect.core.chunks import rows_per_chunk
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, natural_gauge, total_pull

Gauge = Literal["unit", "normalized", "natural"]
Reading = Literal["attractor", "self", "label-free"]

EXPLAINED = 1e-4
"""Share of the largest gradient that a reading may leave and still count as an explanation."""

FLAG_NO_TOTAL_PULL = "total pull is 0: no normalized gauge"
FLAG_REVERSED = "total pull is negative: the normalized gauge is reversed"
FLAG_FULL_TRUST = "gamma is 1: no residual"
FLAG_DEPENDENT = "directions are not independent: the smallest weights of many"
FLAG_SATURATED = "as many directions as dimensions: they would explain any loss"
FLAG_TWINS = "as well explained by"
FLAG_UNEXPLAINED = "the pulls of the fit leave part of the gradient: gamma means nothing"
FLAG_CERTAIN = "p_y is 1 to rounding: gamma is undetermined"

_FIT_ZERO = 1e-9  # a fitted total pull below this share of the pulls' sizes counts as zero
_DECLARED_ZERO = 1e-14


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """Q = gamma onehot(y) + remainder, residual = remainder / (1 - gamma), in one gauge and reading.

    Args:
        target: the induced target (unit gauge) that was read.
        gauge: "unit" (Q = p - g) or "normalized" (Q = p - g / S).
        reading: "attractor" (gamma is the pull to the label), "self" (the residual is p) or "label-free" (gamma is
            Q_y).
        gamma: [N] label trust, float64; NaN where it is undefined, with a flag.
        pulls: direction name -> [N] pull weights in the unit gauge.
        total_pull: [N] S, the sum of the pulls toward distributions.
        unexplained: [N] largest entry of Q that the reading does not explain.
        source: where the pulls come from: "declared", "fit", or "none".
        flags: what is special -> [N] mask; only flags that are raised somewhere.
    """

    target: InducedTarget
    gauge: PullGauge
    reading: Reading
    gamma: Tensor
    pulls: dict[str, Tensor]
    total_pull: Tensor
    unexplained: Tensor
    source: str
    flags: dict[str, Tensor]

    def __repr__(self) -> str:
        """Gauge and reading stand beside every gamma."""
        finite = self.gamma[torch.isfinite(self.gamma)]
        low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (torch.nan, torch.nan)
        span = "undefined" if not finite.numel() else f"{low:.4g}" if high - low < 1e-9 else f"{low:.4g} to {high:.4g}"
        return (
            f"Decomposition({self.target.loss}, gamma {span}, {self.gauge} gauge, {self.reading} reading, "
            f"pulls {self.source}, unexplained up to {float(self.unexplained.max()):.1e})"
        )

    @cached_property
    def q(self) -> Tensor:
        """[N, V] Q in this gauge."""
        if self.gauge == "unit":
            return self.target.q
        scale = torch.where(self._undefined, torch.nan, self.total_pull).to(self.target.q.dtype)
        return self.target.p - self.target.g / scale.unsqueeze(-1)

    @cached_property
    def remainder(self) -> Tensor:
        """[N, V] Q - gamma onehot(y); always defined where gamma is."""
        remainder = self.q.clone()
        labels = self.target.batch.labels.unsqueeze(-1)
        at_label = self.q.gather(-1, labels).squeeze(-1).to(self.gamma.dtype) - self.gamma
        return remainder.scatter_(-1, labels, at_label.to(remainder.dtype).unsqueeze(-1))

    @cached_property
    def residual(self) -> Tensor:
        """[N, V] remainder / (1 - gamma); NaN where gamma is 1."""
        full = self.flags.get(FLAG_FULL_TRUST, torch.zeros_like(self.gamma, dtype=torch.bool))
        free = torch.where(full, torch.nan, 1 - self.gamma)
        return (self.remainder.to(free.dtype) / free.unsqueeze(-1)).to(self.q.dtype)

    @property
    def _undefined(self) -> Tensor:
        none = torch.zeros_like(self.gamma, dtype=torch.bool)
        return self.flags.get(FLAG_NO_TOTAL_PULL, none) | self.flags.get(FLAG_REVERSED, none)


def decompose(
    target: InducedTarget,
    *,
    gauge: Gauge = "unit",
    reading: Reading = "attractor",
    attractors: Sequence[str | Direction] | None = None,
) -> Decomposition:
    """Read an induced target as label trust and residual.

        unit:        Q = p - g,      gamma = a_label
        normalized:  Q = p - g / S,  gamma = a_label / S

    Q alone does not fix gamma: any gamma <= Q_y works. "attractor" takes gamma as the pull to the label, from the
    loss's declared pulls or, where it has none, from a least-squares fit over label, uniform and the distributions that
    the batch holds. "self" takes the model as residual. "label-free" takes gamma = Q_y, so that the residual has
    nothing on the label.

    Args:
        target: what `invert` returned.
        gauge: "unit", "normalized", or "natural" (unit where only the label pulls or the total pull is 0 or 1, else
            normalized).
        reading: "attractor", "self" or "label-free".
        attractors: directions to fit over instead of the declared pulls or the default ones; must include "label".

    Returns:
        gamma, remainder, residual, pulls and flags.

    Raises:
        QTargetError: gauge, reading or attractors are none of the above.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> batch = qt.TokenBatch(torch.zeros(1, 4), torch.tensor([2]))
        >>> target = qt.invert("dft", batch)
        >>> [round(float(qt.decompose(target, reading=r).gamma), 4) for r in ("attractor", "self", "label-free")]
        [0.25, 0.25, 0.4375]
    """
    if not isinstance(target, InducedTarget):
        raise QTargetError(
            f"decompose takes what qt.invert returns, not {type(target).__name__}: qt.invert(loss, batch)."
        )
    if gauge not in get_args(Gauge):
        raise QTargetError(f"gauge must be one of {', '.join(get_args(Gauge))}, not {gauge!r}.")
    if reading not in get_args(Reading):
        raise QTargetError(f"reading must be one of {', '.join(get_args(Reading))}, not {reading!r}.")
    if reading == "self" and gauge == "unit":
        return _self_reading(target, "unit", None, {})
    if reading == "label-free" and gauge == "unit" and attractors is None:
        q_label = target.q_label.to(torch.float64)
        unknown = torch.full_like(q_label, torch.nan)
        return _build(target, "unit", reading, q_label, {}, unknown, torch.zeros_like(q_label), "none", {})
    weights, known, unexplained, source, flags = _pulls(target, attractors)
    total = total_pull(known, weights)
    resolved = _natural(known, weights, unexplained, source, flags) if gauge == "natural" else gauge
    if resolved == "normalized":
        flags |= _gauge_flags(total, weights, _FIT_ZERO if source == "fit" else _DECLARED_ZERO, target.q.dtype)
    scale = _scale(total, flags) if resolved == "normalized" else torch.ones_like(total)
    if reading == "self":
        return _self_reading(target, resolved, total, flags)
    gamma = weights[LABEL] / scale if LABEL in weights else torch.zeros_like(total) / scale
    if reading == "label-free":
        g_label = target.g.gather(-1, target.batch.labels.unsqueeze(-1)).squeeze(-1).to(total.dtype)
        gamma = target.p_label.to(total.dtype) - g_label / scale
        unexplained = torch.zeros_like(gamma)
    return _build(target, resolved, reading, gamma, weights, total, unexplained, source, flags)


def _pulls(
    target: InducedTarget, attractors: Sequence[str | Direction] | None
) -> tuple[dict[str, Tensor], dict[str, Direction], Tensor, str, dict[str, Tensor]]:
    """Declared pulls where the loss has them, otherwise a fit; with what they leave unexplained."""
    declared = target.variant.pulls if target.variant is not None and attractors is None else None
    if declared is not None:
        weights = declared.weights(State(target.batch, torch.float64))
        return weights, declared.directions, _declared_error(target), "declared", {}
    chosen = choose_attractors(attractors, target.batch, attractors is None and _loses_mass(target))
    fit: Fit = fit_pulls(target.g, target.batch, chosen)
    flags = {FLAG_DEPENDENT: fit.dependent} if bool(fit.dependent.any()) else {}
    left = fit.unexplained > may_leave(target.g)
    if bool(left.any()):
        flags[FLAG_UNEXPLAINED] = left
    if fit.saturated:
        flags[FLAG_SATURATED] = torch.ones_like(fit.dependent)
    for twin in fit.twins:
        flags[f"{FLAG_TWINS} {', '.join(twin)}"] = torch.ones_like(fit.dependent)
    return fit.weights, {d.name: d for d in chosen}, fit.unexplained, "fit", flags


def may_leave(gradient: Tensor) -> float:
    """How much of a gradient a reading may leave and still explain it: 1e-4 of its largest entry.

    Args:
        gradient: [N, V] g.

    Returns:
        A bound on the largest entry left.
    """
    low, high = torch.aminmax(gradient)  # no copy of it
    return EXPLAINED * max(-float(low), float(high), 1e-12)


def _loses_mass(target: InducedTarget) -> bool:
    """Whether Q does not sum to 1 on some token; float32 rounding, inside the loss or out, is no loss of mass."""
    lost = (target.mass - 1).abs()
    rows = (lost > rounding(torch.float32)).nonzero().flatten()  # sizes are 1 at least, and seldom needed
    size = rows_per_chunk(target.q.shape[1], target.q.dtype, target.q.device)
    return any(
        bool((lost[some] > rounding(torch.float32) * row_size(target.q[some])).any()) for some in rows.split(size)
    )


def _natural(
    known: dict[str, Direction],
    weights: dict[str, Tensor],
    unexplained: Tensor,
    source: str,
    flags: dict[str, Tensor],
) -> PullGauge:
    """The natural gauge; for a fit, judged where its weights are unique, and unit where it does not explain Q."""
    if source == "declared":
        return natural_gauge(known, weights, 1e-12)
    noise = float(unexplained.max())
    if noise > 1e-4:
        return "unit"
    unique = ~flags[FLAG_DEPENDENT] if FLAG_DEPENDENT in flags else torch.ones_like(unexplained, dtype=torch.bool)
    if not bool(unique.any()):
        unique = ~unique
    weights = {name: weight[unique] for name, weight in weights.items()}
    total = total_pull(known, weights)
    # where p_y -> 1 a fitted weight has lost digits: the nearest 95 % of the tokens decide
    near = (total - total.median()).abs()
    kept = near <= near.quantile(0.95)
    return natural_gauge(known, {name: weight[kept] for name, weight in weights.items()}, max(1e-6, 1e3 * noise))


def _declared_error(target: InducedTarget) -> Tensor:
    """[N] how far the differentiated Q lies from that of the declared pulls; 0 by construction for a closed form."""
    if target.method == "closed-form":
        return torch.zeros(len(target.batch), dtype=torch.float64, device=target.q.device)
    from qtarget_inspect.engine.inversion import invert

    closed = invert(target.variant, target.batch, method="closed-form", dtype=target.q.dtype)
    return (closed.q - target.q).abs().amax(-1).to(torch.float64)


def _self_reading(
    target: InducedTarget, gauge: PullGauge, total: Tensor | None, flags: dict[str, Tensor]
) -> Decomposition:
    """gamma for which gamma onehot(y) + (1 - gamma) p fits Q best: off the label, g_k = gamma p_k."""
    state = State(target.batch, torch.float64)
    labels = target.batch.labels.unsqueeze(-1)
    g_others = target.g.scatter(-1, labels, 0.0).sum(-1, dtype=torch.float64)
    certain = state.one_minus_p_label == 0
    pull = g_others / torch.where(certain, torch.nan, state.one_minus_p_label)
    expected = directions.label().gradient(state) * pull.unsqueeze(-1)
    unexplained = (target.g - expected).abs().amax(-1)
    if bool(certain.any()):
        flags = {**flags, FLAG_CERTAIN: certain}
    gamma = pull / _scale(total, flags) if gauge == "normalized" and total is not None else pull
    return _build(
        target, gauge, "self", gamma, {LABEL: pull}, pull if total is None else total, unexplained, "none", flags
    )


def _gauge_flags(total: Tensor, weights: dict[str, Tensor], tolerance: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """Where the normalized gauge is undefined or reversed; a total pull that underflows in Q's type counts as 0."""
    size = torch.stack([weight.abs() for weight in weights.values()]).sum(0)
    zero = total.abs() <= torch.clamp(tolerance * size, min=torch.finfo(dtype).tiny)
    reversed_ = (total < 0) & ~zero
    masks = {FLAG_NO_TOTAL_PULL: zero, FLAG_REVERSED: reversed_}
    return {name: mask for name, mask in masks.items() if bool(mask.any())}


def _scale(total: Tensor, flags: dict[str, Tensor]) -> Tensor:
    """S where the normalized gauge is defined, else NaN."""
    for name in (FLAG_NO_TOTAL_PULL, FLAG_REVERSED):
        if name in flags:
            total = torch.where(flags[name], torch.nan, total)
    return total


def _build(
    target: InducedTarget,
    gauge: PullGauge,
    reading: Reading,
    gamma: Tensor,
    weights: dict[str, Tensor],
    total: Tensor,
    unexplained: Tensor,
    source: str,
    flags: dict[str, Tensor],
) -> Decomposition:
    rounding = 1e-12 if target.q.dtype == torch.float64 else 1e-6
    full = (1 - gamma).abs() <= rounding
    if bool(full.any()):
        flags = {**flags, FLAG_FULL_TRUST: full}
    return Decomposition(target, gauge, reading, gamma, weights, total, unexplained, source, flags)
