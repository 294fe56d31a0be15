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

HALF = (torch.bfloat16, torch.float16)

FEW, MOST_LOGITS = 16, 1_000_000
"""How many tokens are looked at, about; fewer where the vocabulary is large."""


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
    try:
        plain, nudged, shoved = (_gradient(loss, few, change) for change in (0.0, NUDGE, SHOVE))
    except QTargetError:  # it cannot be run on a few tokens; nothing is known then
        return torch.float64
    return torch.float32 if torch.equal(plain, nudged) and not torch.equal(plain, shoved) else torch.float64


def half_precision(loss: Any, batch: TokenBatch) -> torch.dtype | None:
    """Whether a loss that casts inside casts to half precision, whose rounding of 1e-3 leaves no law to be seen.

    Rounding the logits to the type that the loss casts to anyway leaves every bit of the gradient as it was.

    Args:
        loss: any loss that `invert` takes.
        batch: the tokens, float64; a few are looked at.

    Returns:
        torch.bfloat16 or torch.float16; None where it rounds more finely, or cannot be run on a few tokens.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> def rounds(logits, labels):
        ...     return torch.nn.functional.cross_entropy(logits.bfloat16(), labels, reduction="none")
        >>> half_precision(rounds, qt.probe_batch(32)), half_precision("sft", qt.probe_batch(32))
        (torch.bfloat16, None)
    """
    few = batch.select(_few(batch))
    try:
        plain = _gradient(loss, few)
        same = [torch.equal(plain, _gradient(loss, few, dtype=dtype)) for dtype in HALF]
    except QTargetError:
        return None
    if all(same):
        return None  # a gradient that no rounding moves is constant there (a hinge), not cast
    return next((dtype for dtype, unmoved in zip(HALF, same, strict=True) if unmoved), None)


def _gradient(loss: Any, few: TokenBatch, change: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """[n, V] gradient with the logits changed by a share, and rounded to a type."""
    logits = (few.logits * (1 + change)).to(dtype).to(few.logits.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return invert(loss, few.with_logits(logits), method="autograd", reduction="sum").g


def _few(batch: TokenBatch) -> Tensor:
    """Rows of a few tokens: middling and spread in p_y, or the first sequences whole, an even number of them."""
    few = max(4, min(FEW, MOST_LOGITS // batch.vocabulary))
    if batch.sequence_ids is not None and len(batch.sequence_ids.unique()) > 1:
        ids = batch.sequence_ids[: few + 8].unique()
        ids = ids[: max(1, len(ids) - len(ids) % 2)]
        return torch.isin(batch.sequence_ids, ids).nonzero().flatten()[: 16 * few]
    p_label = State(batch).p_label
    spread = p_label.argsort()[torch.linspace(0, len(batch) - 1, min(few, len(batch))).long()]
    return torch.cat([(p_label - 0.5).abs().argsort()[:4], spread]).unique()
