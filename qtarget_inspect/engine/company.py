"""Company: whether having all tokens together changes a token's gradient; tried with a small vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.engine.gradients import loss_and_gradient
from qtarget_inspect.engine.plan import Plan
from qtarget_inspect.engine.reduction import SELECTION, compare_rows, coupling_of
from qtarget_inspect.engine.samples import narrow_batch

COLUMNS = 32
"""Vocabulary of the narrow batch: room for a top 20."""

FEWEST_COLUMNS = 8
FEWEST_PIECES = 4
ROWS_SEEN_BEFORE = 6
NARROW_ENTRIES = 2**21
"""Size of a narrow batch that is not exceeded while it has more than the fewest columns."""


def coupling_in_company(plan: Plan, batch: TokenBatch, p_label: Tensor, out: Tensor) -> tuple[str | None, str]:
    """How tokens are coupled when all are together, though a few tokens did not show it.

    The whole batch is run with a small vocabulary and about its own p_y, once whole and once in two halves that are cut
    wherever chunks end. A loss that cannot do with a small vocabulary is run on rows from all over the batch, against
    what those rows have just got.

    Args:
        plan: the plan, with a law.
        batch: the whole batch.
        p_label: [N] p_y.
        out: [N, V] Q as the chunks gave it.

    Returns:
        The coupling, None where there is none to be seen; and a note where less was tried.
    """
    if len(batch) == 1:
        return None, ""
    columns = max(FEWEST_COLUMNS, min(COLUMNS, NARROW_ENTRIES // len(batch)))
    dtype = plan.found.sample.logits.dtype
    narrow = narrow_batch(batch, p_label, min(columns, batch.vocabulary), dtype)
    try:
        whole = loss_and_gradient(plan.loss, narrow.logits.clone(), narrow, plan.chunk_method)[1]
        apart = _in_two_halves(plan, narrow)
    except QTargetError:
        return _coupling_across_chunks(plan, batch, p_label, out)
    if plan.law == "mean":
        whole = whole * len(narrow)
    rows = torch.arange(len(batch), device=whole.device)
    coupled = coupling_of(compare_rows(apart, whole, rows))
    if coupled is not None or len(batch) <= plan.chunk:
        return coupled, ""
    # rules on token ids, or on p_y very near 1, do not survive the narrowing
    return _coupling_across_chunks(plan, batch, p_label, out)[0], ""


def _in_two_halves(plan: Plan, narrow: TokenBatch) -> Tensor:
    """Gradient of every other piece, then of the rest, a mean undone. Pieces end where chunks do, four at least."""
    # At every end of a chunk a token has another neighbour than in the whole batch, a cut sequence lies in both
    # halves, and whatever is taken over all tokens is taken over half of them.
    size = max(1, min(plan.chunk, -(-len(narrow) // FEWEST_PIECES)))
    number = torch.arange(len(narrow), device=narrow.labels.device) // size
    gradient = torch.empty_like(narrow.logits)
    for half in (number % 2 == 0, number % 2 == 1):
        if bool(half.any()):
            sub = narrow.select(half)
            piece = loss_and_gradient(plan.loss, sub.logits.clone(), sub, plan.chunk_method)[1]
            gradient[half] = piece * len(sub) if plan.law == "mean" else piece
    return gradient


def _telling_rows(batch: TokenBatch, p_label: Tensor, size: int) -> Tensor:
    """Rows from all over the batch, as many as a chunk: spread, of rare and common labels, surest and unsurest."""
    spread = torch.linspace(0, len(batch) - 1, max(1, size // 2), dtype=torch.float64).long().to(p_label.device)
    _, index, counts = torch.unique(batch.labels, return_inverse=True, return_counts=True)
    by_rarity, by_p = counts[index].argsort(), p_label.argsort()
    few = max(1, size // 8)
    extremes = [by_rarity[:few], by_rarity[-few:], by_p[:few], by_p[-few:]]
    return torch.cat([spread, *extremes]).unique()


def _coupling_across_chunks(plan: Plan, batch: TokenBatch, p_label: Tensor, out: Tensor) -> tuple[str | None, str]:
    """Telling rows from all over the batch, together, against Q of the same rows as their chunks gave it."""
    # a third of a chunk: the rows, their context and Q are copied here, and all of it fits the memory of one chunk
    most = ROWS_SEEN_BEFORE if plan.seen_before else plan.chunk // 3
    rows = _telling_rows(batch, p_label, min(max(6, most), len(batch)))
    size = len(rows)
    picked = batch.select(rows)
    z = picked.logits.to(plan.dtype)
    p = z.softmax(-1)
    try:
        gradient = loss_and_gradient(plan.loss, z.clone(), picked, plan.chunk_method)[1]
    except LossError:
        return SELECTION, ""
    difference = (p - gradient * plan.factor(size, len(batch)) - out[rows]).abs().amax()
    if bool(difference > 1e-4 * (p - out[rows]).abs().amax() + 1e-5):
        return SELECTION, ""
    note = f"coupling was looked for in {size} tokens at a time" if size < len(batch) else ""
    return None, note
