"""Subject: a loss under audit, called once to learn how it is called, with a few tokens on which to try things."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError, ReductionError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.gradients import loss_and_gradient, own_random_numbers
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.plan import make_plan
from qtarget_inspect.engine.recognition import Recognised
from qtarget_inspect.engine.reduction import LEAK, Study, leaks, study_rows
from qtarget_inspect.engine.target import InducedTarget


@dataclass(frozen=True, eq=False)
class Subject:
    """A loss under audit.

    Args:
        loss: the loss, its layout settled.
        found: what the engine saw when it called it on a few tokens; `found.sample` are those tokens.
        batch: all tokens, in float64, with what the loss holds by row.
        target: its induced target, None where there is none on all tokens: the reduction cannot be told, or NaN.
        trouble: why not.
        study: the sample's gradient rows in company and alone; None where tokens cannot be had alone.
        repeatable: whether two calls with the same seed give the same value and gradient.
        dtype: the type that it computes in: float32 where it casts inside.
    """

    loss: TokenLoss
    found: Recognised
    batch: TokenBatch
    target: InducedTarget | None
    trouble: QTargetError | None
    study: Study | None
    repeatable: bool
    dtype: torch.dtype

    @property
    def sample(self) -> TokenBatch:
        """A few tokens in float64, p_y from 2 % to 97 %."""
        return self.found.sample

    @property
    def divisors(self) -> Tensor:
        """[m, 1] what the gradient of each token of the sample was divided by; 1 where that is not known."""
        ones = torch.ones(len(self.sample), 1, dtype=self.sample.logits.dtype, device=self.sample.logits.device)
        if not self.found.scalar or self.study is None or self.study.ratios.numel() == 0:
            return ones
        ratio = torch.where(self.study.usable, self.study.ratio, self.study.surest)
        return 1 / ratio.unsqueeze(-1)

    @cached_property
    def leaking(self) -> bool:
        """Whether a token's logits are trained by the losses of others."""
        return self.target.coupled == LEAK if self.target is not None else leaks(self.loss, self.sample)

    @property
    def rounding(self) -> float:
        """Relative error that is rounding: 1e-9, or 1e-4 where the loss casts to float32 inside."""
        return 1e-4 if self.dtype == torch.float32 else 1e-9


def make_subject(loss: TokenLoss, batch: TokenBatch) -> Subject:
    """Call a loss for the first time.

    Args:
        loss: the adapted loss.
        batch: the tokens.

    Returns:
        The subject.

    Raises:
        QTargetError: the loss cannot be called, is constant in the logits, or is not finite even on a few plain tokens.
        MissingContextError: the batch has not what it asks for.
    """
    double = batch.to(torch.float64)
    plan, carrying = make_plan(loss, double, "sum", "auto", torch.float64, None, False)
    target: InducedTarget | None = None
    trouble: QTargetError | None = None
    try:
        target = invert(loss, double, dtype=torch.float64)
    except QTargetError as error:
        usable = bool(torch.isfinite(plan.found.together).all()) and largest(plan.found.together) > 0
        if not usable and not isinstance(error, ReductionError):
            raise
        trouble = error
    found = plan.found
    study = None
    if not found.whole_only and not found.random:
        rows = torch.arange(len(found.sample), device=found.sample.labels.device)
        with own_random_numbers(rows.device, seed=0):
            study = study_rows(found.loss, found.sample, found.together, rows, "autograd", found.sample.logits.dtype)
    first, second = (differentiate(found.loss, found.sample) for _ in range(2))
    repeatable = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True))
    return Subject(found.loss, found, carrying, target, trouble, study, repeatable, working_dtype(loss, double))


def differentiate(loss: TokenLoss, tokens: TokenBatch, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Value and gradient of a loss on some tokens, by plain autograd and from a seed.

    Args:
        loss: the loss, its layout settled.
        tokens: the tokens, in any floating type.
        seed: of the random numbers.

    Returns:
        The value as it was returned, and d(sum L)/dz [n, V].

    Raises:
        LossError: the loss raised.
    """
    with own_random_numbers(tokens.logits.device, seed), warnings.catch_warnings(action="ignore"):
        return loss_and_gradient(loss, tokens.logits.clone(), tokens, "autograd")


def row_sizes(gradient: Tensor) -> Tensor:
    """[n] largest absolute entry of each row."""
    return gradient.abs().amax(-1)


def largest(values: Tensor) -> float:
    """The largest absolute value, as a number."""
    return float(values.detach().abs().max()) if values.numel() else 0.0
