"""Precision: whether a loss casts to float32 inside, whatever comes in."""

from __future__ import annotations

from typing import Any

import torch

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert

NUDGE = 1e-11
"""Relative change of the logits that float64 sees and float32 does not."""

SHOVE = 1e-2
"""Relative change that every type sees: a gradient that ignores this too is constant there (a hinge), not cast."""


def working_dtype(loss: Any, batch: TokenBatch) -> torch.dtype:
    """The type that a loss really computes in.

    Most public losses cast to float32 first. Then a nudge of the logits below float32's resolution leaves every bit of
    the gradient as it was.

    Args:
        loss: any loss that `invert` takes.
        batch: the tokens; four of middling p_y are looked at.

    Returns:
        float32 where the gradient ignores the nudge or the batch itself is not in float64, else float64.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> def casts(logits, labels):
        ...     return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        >>> working_dtype(casts, qt.probe_batch(32)), working_dtype("sft", qt.probe_batch(32))
        (torch.float32, torch.float64)
    """
    if batch.logits.dtype != torch.float64:
        return torch.float32
    middling = (State(batch).p_label - 0.5).abs().argsort()[:4]
    few = batch.select(middling)
    changed = [few.with_logits(few.logits * (1 + change)) for change in (NUDGE, SHOVE)]
    try:
        with torch.random.fork_rng(devices=[]):
            gradients = []
            for tokens in (few, *changed):
                torch.manual_seed(0)
                gradients.append(invert(loss, tokens, method="autograd", reduction="sum").g)
    except QTargetError:  # it cannot be run on four tokens; nothing is known then
        return torch.float64
    plain, nudged, shoved = gradients
    return torch.float32 if torch.equal(plain, nudged) and not torch.equal(plain, shoved) else torch.float64
