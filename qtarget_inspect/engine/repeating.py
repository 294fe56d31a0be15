"""Repeating: a loss that was recognised once, differentiated on further batches without being studied again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.engine.gradients import own_random_numbers
from qtarget_inspect.engine.inversion import adapted
from qtarget_inspect.engine.plan import make_plan
from qtarget_inspect.engine.running import run


def repeated_gradient(
    resolved: Any, batch: TokenBatch, *, reduction: str | float = "auto", method: str = "auto"
) -> Callable[[TokenBatch], Tensor] | None:
    """How to differentiate a loss again and again: what calling it on a few tokens showed is kept.

    Args:
        resolved: a callable or a variant.
        batch: tokens to recognise it on; later batches hold the same context.
        reduction: as in `invert`.
        method: as in `invert`, but for "closed-form".

    Returns:
        batch -> [N, V] gradient of the per-token loss, float64; None where tokens are coupled, calls differ, or the
        loss takes the whole batch only: then every batch has to be studied, by `invert`.

    Raises:
        QTargetError: as `invert`.

    Examples:
        >>> import qtarget_inspect as qt
        >>> again = repeated_gradient(qt.get("dft"), qt.probe_batch(8))
        >>> again(qt.probe_batch(4, seed=1)).shape
        torch.Size([4, 64])
    """
    plan, carrying = make_plan(adapted(resolved), batch, reduction, method, torch.float64, None, False)
    if plan.law is None or plan.coupled is not None or plan.found.random or carrying is not batch:
        return None
    settled = replace(plan, settled=True)

    def gradient(tokens: TokenBatch) -> Tensor:
        out = torch.empty(tokens.logits.shape, dtype=torch.float64, device=tokens.logits.device)
        with torch.inference_mode(False), own_random_numbers(tokens.logits.device):
            run(settled, tokens, out, "g")
        return out

    return gradient
