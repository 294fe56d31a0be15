"""Running: carry out a plan, chunk by chunk where tokens are apart, on the whole batch where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks
from qtarget_inspect.core.errors import LossError, ReductionError
from qtarget_inspect.engine.chunk import Kind, differentiate_safely, eager_chunk
from qtarget_inspect.engine.company import coupling_in_company
from qtarget_inspect.engine.compiled import CompiledLoss, compiled_chunk
from qtarget_inspect.engine.failures import refuse_not_finite
from qtarget_inspect.engine.plan import Plan
from qtarget_inspect.engine.recognition import holds_rows
from qtarget_inspect.engine.reduction import UNKNOWN, Reduction, coupling_of, own_weights, study_rows, undo
from qtarget_inspect.engine.samples import sample_rows

STUDIED_ROWS = 48
"""How many rows of a whole batch are compared with their tokens alone."""

STUDIED_WHOLLY = 256
"""Batches up to this size have all rows compared, where weights that sum to one have to be told from others."""


@dataclass(frozen=True)
class Outcome:
    """What a run brought besides Q or g.

    Args:
        plan: the plan as it turned out: what was undone, how tokens are coupled.
        silent: whether every gradient was zero.
    """

    plan: Plan
    silent: bool


@dataclass(frozen=True)
class _Pass:
    """What a pass over the chunks left: p_y, and whether every gradient was zero."""

    p_label: Tensor
    silent: bool


class StalePlanError(Exception):
    """A plan from an earlier call does not fit: the loss, or what it makes of these tokens, has changed."""


def run(plan: Plan, batch: TokenBatch, out: Tensor, kind: Kind, compiled: CompiledLoss | None = None) -> Outcome:
    """Fill `out` with Q = p - g or with g.

    Args:
        plan: how.
        batch: the whole batch.
        out: [N, V] where to write.
        kind: "q" or "g".
        compiled: the compiled loss, for Q; None for plain calls.

    Returns:
        What was found on the way.

    Raises:
        LossError: the loss raised, or has values or gradients that are not finite.
        StalePlanError: the plan comes from an earlier call, and does not fit the loss any more.
    """
    if plan.law is None:
        return _run_whole(plan, batch, out, kind)
    passed = _run_chunks(plan, batch, out, kind, compiled)
    if passed is not None:
        coupled, note = None, ""
        if not plan.settled:
            with warnings.catch_warnings(action="ignore"):
                coupled, note = coupling_in_company(plan, batch, passed.p_label, out)
        if coupled is None:
            found = replace(plan.found, reason="; ".join(filter(None, (plan.found.reason, note))))
            return Outcome(replace(plan, settled=True, found=found), passed.silent)
        plan = replace(plan, coupled=coupled)
    if plan.seen_before:
        raise StalePlanError
    return _run_whole(replace(plan, law=None), batch, out, kind)


def _run_chunks(plan: Plan, batch: TokenBatch, out: Tensor, kind: Kind, compiled: CompiledLoss | None) -> _Pass | None:
    """Chunk by chunk into `out`; None where a guarded row shows that chunks would change the answer."""
    rows, chunk = len(batch), min(plan.chunk, len(batch))
    device = batch.logits.device
    workspace = torch.empty(chunk, batch.vocabulary, dtype=plan.dtype, device=device)
    p_label = torch.empty(rows, dtype=plan.dtype, device=device)
    slices = list(row_chunks(rows, chunk))
    if compiled is not None and kind == "q":
        run_chunk = compiled_chunk(plan, compiled, workspace)
        if slices[-1].stop - slices[-1].start < chunk:
            slices[-1] = slice(rows - chunk, rows)  # some rows twice, rather than a second shape to compile
    else:
        run_chunk = eager_chunk(plan, workspace, kind)
    guarded = _guarded(plan, len(slices))
    silent = True
    for number, part in enumerate(slices):
        sub = batch.select(part)
        target = out[part]
        done = run_chunk(sub, target, plan.factor(len(sub), rows))
        p_label[part] = done.p_label
        silent = silent and not bool((done.sizes > 0).any())
        row_sums = target.sum(-1)
        if len(guarded) < len(slices) and not (plan.settled or bool(torch.isfinite(row_sums.sum()))):
            # tokens that hang together may be NaN in some company only: look at every chunk before this is called NaN
            return _run_chunks(replace(plan, guards=len(slices)), batch, out, kind, compiled)
        if plan.seen_before and not plan.settled and len(sub) > 1 and plan.found.scalar != (done.value.numel() == 1):
            return None
        refuse_not_finite(plan.loss, done.value, row_sums, sub, part.start, plan.dtype)
        if number in guarded and not _agrees_alone(plan, done.row, sub, int(done.sizes.argmax())):
            return None
    return _Pass(p_label, silent)


def _guarded(plan: Plan, chunks: int) -> set[int]:
    """Numbers of the chunks in which one row is compared with its token alone: all, or some spread over the batch."""
    if plan.settled:
        return set()
    return {round(number) for number in torch.linspace(0, chunks - 1, min(chunks, plan.guards)).tolist()}


def _agrees_alone(plan: Plan, row_gradient: Callable[[int], Tensor], sub: TokenBatch, row: int) -> bool:
    """Whether a row is what its token has alone, up to the law that was found on the sample."""
    gradient, where = row_gradient(row), torch.tensor([row], device=sub.labels.device)
    study = study_rows(plan.loss, sub, gradient, where, plan.chunk_method, plan.dtype, plan.scale)
    expected = 1 / len(sub) if plan.law == "mean" else 1.0
    if not bool(study.usable.any()) and float(gradient.abs().amax()) <= 1e-3 * plan.scale:
        return True  # nothing here but rounding
    return coupling_of(study, expected) is None


def _run_whole(plan: Plan, batch: TokenBatch, out: Tensor, kind: Kind) -> Outcome:
    """All rows in one call, for losses whose tokens hang together; the reduction is measured in that very batch."""
    z = batch.logits.to(plan.dtype, copy=True)
    value, gradient = differentiate_safely(plan, z, batch, plan.found.method)
    refuse_not_finite(plan.loss, value, gradient.sum(-1), batch, 0, plan.dtype)
    if not plan.settled:
        reduction, coupled = _measure(plan, batch, gradient)
        plan = replace(plan, reduction=reduction, coupled=coupled, settled=True)
    silent = not bool((gradient != 0).any())
    divisor = plan.reduction.divisor
    gradient = gradient * (divisor.unsqueeze(-1) if isinstance(divisor, Tensor) else divisor)
    if kind == "q":
        torch.softmax(batch.logits.to(plan.dtype), -1, out=out)
        out.sub_(gradient)
    else:
        out.copy_(gradient)
    return Outcome(plan, silent)


def _measure(plan: Plan, batch: TokenBatch, gradient: Tensor) -> tuple[Reduction, str | None]:
    """The reduction of a scalar loss and the coupling of any, from the whole batch's rows and their tokens alone."""
    given = not plan.found.scalar or plan.declared != "auto"
    if given and plan.coupled is not None:
        return plan.reduction, plan.coupled
    if plan.found.whole_only and holds_rows(plan.loss, batch):
        if given:
            return plan.reduction, UNKNOWN
        raise ReductionError(
            f"{plan.loss.name} returns a scalar and holds something of {len(batch)} rows (a mask, weights, a teacher), "
            "so no token can be tried alone and the reduction cannot be read off. Declare it: reduction='sum', "
            f"reduction='mean' (divides by {len(batch)}) or the divisor; or let the loss take what it holds as a "
            "parameter named weights, critical or teacher_logits, and put that into the TokenBatch."
        )
    rows = _rows_to_study(batch, gradient)
    study = study_rows(plan.loss, batch, gradient[rows], rows, plan.found.method, plan.dtype, plan.scale)
    if given:
        return plan.reduction, coupling_of(study, study.surest if plan.found.scalar else 1.0)
    if study.ratios.numel() == 0 and bool(study.lost.any()):
        raise ReductionError(
            f"{plan.loss.name}: a token alone has no gradient (it is weighted relative to its batch), so the reduction "
            "cannot be read off. Declare it: reduction='sum', 'mean' or the divisor; or return one value a token."
        )
    if study.ratios.numel() == 0 and not bool(study.failed.any()) and bool((gradient != 0).any()):
        raise ReductionError(
            f"{plan.loss.name}: every gradient in this batch is rounding noise, so its reduction cannot be read off. "
            "Declare it (reduction='sum', 'mean' or the divisor), or use dtype=torch.float64."
        )
    normalised = bool((study.ratios > 0).all()) and not bool(study.bent.any()) and len(rows) < len(batch)
    if normalised and _weights_sum_to_one_on_sample(plan):
        return own_weights(len(batch))
    reduction, coupled = undo(study, plan.loss, batch)
    return reduction, coupled or plan.coupled


def _weights_sum_to_one_on_sample(plan: Plan) -> bool:
    """Whether the sample, small enough to see all of it, shows weights of the loss's own that sum to one."""
    sample = plan.found.sample
    rows = torch.arange(len(sample), device=sample.labels.device)
    study = study_rows(plan.loss, sample, plan.found.together, rows, plan.found.method, sample.logits.dtype)
    try:
        return undo(study, plan.loss, sample) == own_weights(len(sample))
    except LossError:
        return False


def _rows_to_study(batch: TokenBatch, gradient: Tensor) -> Tensor:
    """All rows of a small batch; of a larger one a spread, the largest gradients, firsts of some sequences."""
    if len(batch) <= STUDIED_WHOLLY:
        return torch.arange(len(batch), device=gradient.device)
    size = torch.linalg.vector_norm(gradient, torch.inf, dim=-1)
    picked = [sample_rows(batch), sample_rows(batch, STUDIED_ROWS // 3), size.topk(STUDIED_ROWS // 3).indices]
    if batch.sequence_ids is not None:
        _, index = torch.unique(batch.sequence_ids, return_inverse=True)
        starts = torch.full((int(index.max()) + 1,), len(batch), dtype=torch.long, device=index.device)
        starts = starts.scatter_reduce(0, index, torch.arange(len(batch), device=index.device), "amin")
        picked.append(starts[: STUDIED_ROWS // 3])
    return torch.cat(picked).unique()
