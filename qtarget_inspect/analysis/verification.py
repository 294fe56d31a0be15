"""Verification: a paper's claim about a loss, held against the target that differentiating the loss gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_DEPENDENT, Decomposition, decompose
from qtarget_inspect.analysis.fitting import default_attractors
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge

GAUGES: tuple[PullGauge, ...] = get_args(PullGauge)

TELLING = 100
"""A token is informative where a wrong residual would be off by this many times the tolerance."""


@dataclass(frozen=True)
class GaugeCheck:
    """One claim in one gauge.

    Args:
        gauge: "unit" or "normalized".
        holds: True; False; None where no token could have told a right claim from a wrong one.
        max_error: largest |Q_claim - Q| over the tokens where the gauge is defined; NaN where it is on none.
        informative: number of tokens on which a wrong residual would have been noticed.
        defined: number of tokens on which the gauge is defined.
    """

    gauge: str
    holds: bool | None
    max_error: float
    informative: int
    defined: int

    @property
    def vacuous(self) -> bool:
        """Whether the claim agrees, but only because it says nothing on any token."""
        return self.holds is None and self.defined > 0


@dataclass(frozen=True, eq=False)
class Verification:
    """What became of a claim.

    Args:
        variant: the variant whose loss was differentiated.
        claim: its claim.
        target: its induced target.
        checks: gauge -> what became of the claim there.
        readings: gauge -> the decomposition there.
        pulls_error: how far the declared pulls are off Q, in units of its size; 0 where none are declared.
    """

    variant: Variant
    claim: Claim
    target: InducedTarget
    checks: dict[str, GaugeCheck]
    readings: dict[str, Decomposition]
    pulls_error: float

    @property
    def meant(self) -> tuple[str, ...]:
        """The gauges in which the claim is meant."""
        return GAUGES if self.claim.gauge == "both" else (self.claim.gauge,)

    @property
    def holds(self) -> bool | None:
        """Whether the claim holds in every gauge in which it is meant; None where it cannot be told on these states."""
        verdicts = [self.checks[gauge].holds for gauge in self.meant]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    @property
    def gauge(self) -> str:
        """Where it holds: "both", "unit", "normalized"; where it holds nowhere, where it is meant."""
        where = tuple(gauge for gauge in GAUGES if self.checks[gauge].holds) or self.meant
        return where[0] if len(where) == 1 else "both"

    @property
    def check(self) -> GaugeCheck:
        """The check that counts: the worst of those in the gauges in which the claim is meant."""
        return max((self.checks[gauge] for gauge in self.meant), key=lambda check: check.max_error)

    @property
    def reading(self) -> Decomposition:
        """The decomposition in the gauge of the row; unit where both hold."""
        return self.readings["normalized" if self.gauge == "normalized" else "unit"]


def verify(variant: Variant, batch: TokenBatch, dtype: torch.dtype = torch.float64) -> Verification:
    """Differentiate a variant's loss and hold its claim against the induced target, in both gauges.

    max |Q_claim - Q| is compared, not gamma: it stays exact at p_y -> 1. It is measured against the size of Q, at least
    1. The loss is always differentiated. Its declared pulls give only S, for the normalized gauge, and are themselves
    held against Q; where they are wrong, or none are declared, S is fitted.

    Args:
        variant: a variant with a claim.
        batch: the states.
        dtype: type to compute in.

    Returns:
        The checks.

    Raises:
        QTargetError: the variant has no claim.

    Examples:
        >>> import qtarget_inspect as qt
        >>> found = verify(qt.get("asft"), qt.probe_batch(64))
        >>> found.gauge, found.holds
        ('normalized', True)
    """
    claim = variant.claim
    if claim is None:
        raise QTargetError(f"{variant.name} has no claim to verify.")
    batch = batch.to(dtype)
    target = invert(variant, batch, method="torch.func", dtype=dtype)
    state = State(batch, dtype)
    readings: dict[str, Decomposition] = {gauge: decompose(target, gauge=gauge) for gauge in GAUGES}
    pulls_error = 0.0
    if readings["unit"].source == "declared":
        pulls_error = float((readings["unit"].unexplained / row_size(target.q)).max())
    if pulls_error > rounding(dtype):
        attractors = default_attractors(batch)
        readings = {gauge: decompose(target, gauge=gauge, attractors=attractors) for gauge in GAUGES}
    checks = {gauge: _check(claim, state, reading, rounding(dtype)) for gauge, reading in readings.items()}
    return Verification(variant, claim, target, checks, readings, pulls_error)


def _check(claim: Claim, state: State, reading: Decomposition, tolerance: float) -> GaugeCheck:
    """Hold a claim against Q in one gauge, on the tokens where that gauge is defined."""
    defined = torch.isfinite(reading.gamma)
    if reading.gauge == "normalized" and FLAG_DEPENDENT in reading.flags:
        defined &= ~reading.flags[FLAG_DEPENDENT]  # there a fitted S is one of many
    if not bool(defined.any()):
        return GaugeCheck(reading.gauge, None, float("nan"), 0, 0)
    q = torch.where(defined.unsqueeze(-1), reading.q, state.p)  # placeholder rows, masked out below
    size = row_size(q)
    error = (claim.target(state, q) - q).abs().amax(-1)
    informative = defined & (_telling(claim, state, q) > TELLING * tolerance * size)
    # a claim may be undefined where it says nothing (0/0); where it says something, NaN is a failure
    counted = defined & (informative | ~torch.isnan(error))
    relative = torch.nan_to_num(error / size, nan=torch.inf)[counted]
    wrong = bool((relative > tolerance).any())
    holds = False if wrong else True if bool(informative.any()) else None
    worst = float(torch.nan_to_num(error, nan=torch.inf)[counted].max()) if bool(counted.any()) else float("nan")
    return GaugeCheck(reading.gauge, holds, worst, int(informative.sum()), int(defined.sum()))


def _telling(claim: Claim, state: State, q: Tensor) -> Tensor:
    """[N] by how much the claimed Q would be off if the residual were another: the model, or the uniform.

    It is 0 where gamma is 1, and where the reference, teacher or old policy is the model. A claim without residual says
    something everywhere: that there is none.

    Returns:
        [N] changes of Q.
    """
    if claim.residual is None:
        return claim.remainder(state).abs().amax(-1) if claim.remainder is not None else torch.ones_like(q[:, 0])
    residual = claim.residual(state)
    others = [state.p, torch.full_like(state.p, 1 / state.p.shape[-1])]
    if claim.differs_from is None:  # the model or the uniform may be what is claimed; then only the other one differs
        others = [other for other in others if not torch.allclose(other, residual, rtol=0, atol=1e-7)]
    if not others:
        return torch.zeros_like(q[:, 0])
    claimed = claim.target(state, q)
    return torch.stack([_change(claim, other, claimed, state, q) for other in others]).amin(0)


def _change(claim: Claim, residual: Tensor, claimed: Tensor, state: State, q: Tensor) -> Tensor:
    other = replace(claim, residual=lambda _: residual)
    return torch.nan_to_num(other.target(state, q) - claimed).abs().amax(-1)
