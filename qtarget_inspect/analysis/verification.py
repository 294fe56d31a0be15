"""Verification: a paper's claim about a loss, held against the target that differentiating the loss gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import Decomposition, decompose
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants.variant import Variant

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest difference of Q at which a claim holds."""

GAUGES = ("unit", "normalized")


@dataclass(frozen=True)
class GaugeCheck:
    """One claim in one gauge.

    Args:
        gauge: "unit" or "normalized".
        max_error: largest |Q_claim - Q| over the tokens where the gauge is defined; NaN where it is on none.
        informative: number of those tokens on which the claim about the residual can fail at all.
        defined: number of tokens on which the gauge is defined.
        holds: the error is rounding, and there were tokens on which it need not have been.
    """

    gauge: str
    max_error: float
    informative: int
    defined: int
    holds: bool

    @property
    def vacuous(self) -> bool:
        """Whether the claim agrees only because it says nothing on any token."""
        return self.defined > 0 and self.informative == 0


@dataclass(frozen=True, eq=False)
class Verification:
    """What became of a claim.

    Args:
        variant: the variant whose loss was differentiated.
        target: its induced target.
        checks: gauge -> what became of the claim there.
        readings: gauge -> the decomposition there.
        tolerance: the error up to which a claim holds.
    """

    variant: Variant
    target: InducedTarget
    checks: dict[str, GaugeCheck]
    readings: dict[str, Decomposition]
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the claim holds in one gauge at least."""
        return any(check.holds for check in self.checks.values())

    @property
    def gauge(self) -> str:
        """Where it holds: "both", "unit", "normalized"; where it holds nowhere, the gauge in which it is meant."""
        where = [name for name in GAUGES if self.checks[name].holds]
        if len(where) == 2:
            return "both"
        if where:
            return where[0]
        claim = self.variant.claim
        return claim.gauge if claim is not None and claim.gauge != "both" else "unit"

    @property
    def check(self) -> GaugeCheck:
        """The check in the gauge of the row; in "both", the worse of the two."""
        if self.gauge == "both":
            return max(self.checks.values(), key=lambda check: check.max_error)
        return self.checks[self.gauge]

    @property
    def reading(self) -> Decomposition:
        """The decomposition in the gauge of the row; unit where both hold."""
        return self.readings["unit" if self.gauge == "both" else self.gauge]


def verify(variant: Variant, batch: TokenBatch, dtype: torch.dtype = torch.float64) -> Verification:
    """Differentiate a variant's loss and hold its claim against the induced target, in both gauges.

    max |Q_claim - Q| is compared, not gamma: it stays exact at p_y -> 1. The loss is always differentiated; its
    declared pulls give only S, for the normalized gauge.

    Args:
        variant: a variant with a claim and declared pulls.
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
    readings = {gauge: decompose(target, gauge=gauge) for gauge in GAUGES}  # type: ignore[arg-type]
    tolerance = TOLERANCE[dtype]
    checks = {}
    for gauge, reading in readings.items():
        defined = torch.isfinite(reading.gamma)
        q = torch.where(defined.unsqueeze(-1), reading.q, state.p)  # placeholder rows, masked out below
        error = (claim.target(state, q) - q).abs().amax(-1)
        checks[gauge] = _check(gauge, error, defined, claim.says_something(state, q), tolerance)
    return Verification(variant, target, checks, readings, tolerance)


def _check(gauge: str, error: Tensor, defined: Tensor, says: Tensor, tolerance: float) -> GaugeCheck:
    informative = int((says & defined).sum())
    if not bool(defined.any()):
        return GaugeCheck(gauge, float("nan"), 0, 0, False)
    # a claim may be undefined where it says nothing (0/0); where it says something, NaN counts as a failure
    counted = error[defined & (says | ~torch.isnan(error))]
    worst = float("inf") if bool(torch.isnan(counted).any()) else float(counted.max()) if counted.numel() else 0.0
    return GaugeCheck(gauge, worst, informative, int(defined.sum()), worst <= tolerance and informative > 0)
