"""Failures: NaN in a loss or its gradient, a loss that is constant; which tokens, and what to do."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.checks import describe_tokens
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.gradients import GradientMethod, constant_message, loss_and_gradient

TOKENS_LOOKED_AT = 1024
"""How many tokens are called alone to find those on which a scalar loss is NaN."""


def refuse_not_finite(
    loss: TokenLoss, value: Tensor, row_sums: Tensor, tokens: TokenBatch, start: int, dtype: torch.dtype
) -> None:
    """Stop at NaN in the loss or a gradient that is not finite, and say for which tokens.

    One sum over a row sums up whether it is finite; nothing else is looked at on good input.

    Args:
        loss: the loss.
        value: what it returned.
        row_sums: [n] sums over the vocabulary of Q or g.
        tokens: the n tokens.
        start: number of the first of them in the batch.
        dtype: compute type.

    Raises:
        LossError: something is not finite.
    """
    if bool(torch.isfinite(value.sum() + row_sums.sum())):
        return
    bad_value = bool(torch.isnan(value).any())
    bad_rows = ~torch.isfinite(row_sums)
    if bad_value:
        mask = _nan_tokens(loss, value, tokens, dtype)
        what = "returned NaN"
    elif bool(bad_rows.any()):
        mask, what = bad_rows, "has a gradient that is not finite"
    else:
        return  # an infinite loss with a finite gradient: log p_y of an impossible label
    if not bool(mask.any()):
        raise LossError(
            f"{loss.name} {what} on {len(tokens)} tokens together, though on none of them alone: look for 0/0 in its "
            "reduction (all tokens masked or dropped?)."
        )
    where = describe_tokens(torch.cat([mask.new_zeros(start), mask]))
    raise LossError(
        f"{loss.name} {what} for {where} of the batch. Usual causes: log(0) or 0 * inf where p underflows, 0/0 where "
        "every token is dropped or masked; use log_softmax and torch.where."
    )


def _nan_tokens(loss: TokenLoss, value: Tensor, tokens: TokenBatch, dtype: torch.dtype) -> Tensor:
    """[n] bool: tokens on which the loss is NaN; a scalar's tokens are called alone."""
    if value.numel() >= len(tokens) > 1 or value.ndim:
        return torch.isnan(value.flatten()[: len(tokens)])
    looked_at = min(len(tokens), TOKENS_LOOKED_AT)
    alone = [_is_nan_alone(loss, tokens.select(slice(i, i + 1)), dtype) for i in range(looked_at)]
    return torch.tensor(alone, device=tokens.labels.device)


def _is_nan_alone(loss: TokenLoss, token: TokenBatch, dtype: torch.dtype) -> bool:
    try:
        with torch.no_grad():
            return bool(torch.isnan(loss(token.logits.to(dtype, copy=True), token).sum()))
    except Exception:  # it may not be callable on one token; then this token is not to blame
        return False


def refuse_constant(loss: TokenLoss, batch: TokenBatch, method: GradientMethod, dtype: torch.dtype) -> None:
    """Refuse a loss whose gradient is zero on spread-out states too; zero on one batch alone may be a threshold.

    Args:
        loss: the loss.
        batch: the batch on which its gradient is zero.
        method: how to differentiate.
        dtype: compute type.

    Raises:
        LossError: it is constant.
    """
    probes = probe_batch(64, max(2, min(batch.vocabulary, 64)), dtype=dtype, device=batch.logits.device)
    missing = batch.vocabulary - probes.vocabulary
    if missing > 0:
        padding = probes.logits.new_full((len(probes), missing), -30.0)
        wide = {name: torch.cat([getattr(probes, name), padding], -1) for name in LOGIT_CONTEXT}
        probes = probes.with_logits(torch.cat([probes.logits, padding], -1), **wide)
    try:
        _, gradient = loss_and_gradient(loss, probes.logits.clone(), probes, method)
    except QTargetError:
        return
    if not bool((gradient != 0).any()):
        raise LossError(constant_message(loss))
