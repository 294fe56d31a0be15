"""Precision: whether a loss casts to float32 inside, whatever comes in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert

NUDGE = 1e-11
"""Relative change of the logits that float64 sees and float32 does not."""

SHOVE = 1e-2
"""Relative change that every type sees: a gradient that ignores this too is constant there (a hinge), not cast."""

FEW = 16
"""How many tokens are looked at, about."""


def working_dtype(loss: Any, batch: TokenBatch) -> torch.dtype:
    """The type that a loss really computes in.

    Most public losses cast to float32 first. Then a nudge of the logits below float32's resolution leaves every bit of
    the gradient as it was.

    Args:
        loss: any loss that `invert` takes.
        batch: the tokens; a few are looked at, of middling p_y and spread over all.

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
    few = batch.select(_few(batch))
    changed = [few.with_logits(few.logits * (1 + change)) for change in (NUDGE, SHOVE)]
    try:
        with torch.random.fork_rng(devices=[]):
            gradients = []
            for tokens in (few, *changed):
                torch.manual_seed(0)
                gradients.append(invert(loss, tokens, method="autograd", reduction="sum").g)
    except QTargetError:  # it cannot be run on a few tokens; nothing is known then
        return torch.float64
    plain, nudged, shoved = gradients
    return torch.float32 if torch.equal(plain, nudged) and not torch.equal(plain, shoved) else torch.float64


def _few(batch: TokenBatch) -> Tensor:
    """Rows of a few tokens: middling and spread in p_y, or the first sequences whole, an even number of them."""
    if batch.sequence_ids is not None and len(batch.sequence_ids.unique()) > 1:
        ids = batch.sequence_ids[: FEW + 8].unique()
        ids = ids[: max(1, len(ids) - len(ids) % 2)]
        return torch.isin(batch.sequence_ids, ids).nonzero().flatten()[: 16 * FEW]
    p_label = State(batch).p_label
    spread = p_label.argsort()[torch.linspace(0, len(batch) - 1, min(FEW, len(batch))).long()]
    return torch.cat([(p_label - 0.5).abs().argsort()[:4], spread]).unique()
