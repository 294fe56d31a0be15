"""Inversion: from any loss and a batch to the induced target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError, LossError
from qtarget_inspect.core.fast_paths import fast_paths_enabled
from qtarget_inspect.core.memory import KEPT_BYTES, empty, keep_freed_memory
from qtarget_inspect.core.state import compute_dtype
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.adapter import TokenLoss, adapt, name_of
from qtarget_inspect.engine.closed_form import closed_form
from qtarget_inspect.engine.compiled import CompiledLoss, compile_loss, compiled_before, keep_compiled
from qtarget_inspect.engine.failures import refuse_constant
from qtarget_inspect.engine.gradients import own_random_numbers
from qtarget_inspect.engine.plan import GUARDS_SEEN_BEFORE, Plan, calls_with_one_item, make_plan
from qtarget_inspect.engine.reduction import LEAK
from qtarget_inspect.engine.running import Outcome, StalePlanError, run
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants import PACKAGE_SOURCES, Variant, resolve

Method = Literal["auto", "closed-form", "torch.func", "autograd", "vmap"]

METHODS = ("auto", "closed-form", "torch.func", "autograd", "vmap")


def invert(
    loss: Any,
    batch: TokenBatch,
    *,
    reduction: str | float = "auto",
    method: Method = "auto",
    dtype: torch.dtype | None = None,
    chunk_size: int | None = None,
    compile: bool = False,
    out: Tensor | None = None,
) -> InducedTarget:
    """Recover the target that a loss drives the model to: Q = p - dL/dz of the unreduced per-token loss.

    A loss is first tried on a few tokens made from the batch: how it wants to be called, whether labels train their
    own rows, what it does to its arguments, and how a token's gradient in company compares with that of the token
    alone. Then it runs in row chunks, and whole where its tokens are coupled. A number that the loss multiplies itself
    with (a hard-coded 0.5, or / 8) cannot be told from a weight and stays, unless it is declared.

    Args:
        loss: a callable, a registered name ("asft(kl_weight=0.1)"), a `Variant`, FILE.py:NAME, or what `adapt` returns.
        batch: the tokens.
        reduction: "auto" finds out what a scalar loss did to its per-token values; "sum", "mean" or the divisor
            declare it. A vector is taken as it is.
        method: "auto" takes the closed form for a registered variant and the batch's torch.func gradient for a
            callable, with plain autograd where torch.func refuses. "closed-form", "torch.func", "autograd" and "vmap"
            (each token alone) insist.
        dtype: type to compute in; default the logits' own, float32 for half precision, which is upcast once.
        chunk_size: rows at a time; default by a memory budget. Chunks never change the answer: coupled losses run
            whole.
        compile: make one loop of a chunk's loss, gradient and Q with torch.compile. The first call takes seconds, which
            `.notes` tells; the loop and what was found out about the loss are kept as long as the function lives, for
            batches of the same shape. A closed form, a loss that runs whole, and other methods have nothing to compile.
        out: [N, V] tensor to write Q into.

    Returns:
        The induced target; `.method`, `.reduction` and `.coupled` say what was done.

    Raises:
        LossError: the loss raises, returns the wrong shape or NaN, or is constant in the logits.
        MissingContextError: it needs context that the batch does not hold.
        ReductionError: a scalar's reduction cannot be told and has to be declared.
        BatchError: `out`, `dtype` or `chunk_size` does not fit.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> batch = qt.TokenBatch(torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([2]))
        >>> qt.invert("dft", batch).q
        tensor([[0.1875, 0.1875, 0.4375, 0.1875]])
        >>> def my_loss(logits, labels):
        ...     return torch.nn.functional.cross_entropy(logits, labels)
        >>> qt.invert(my_loss, batch).q
        tensor([[0., 0., 1., 0.]])
    """
    dtype = _check_arguments(batch, method, dtype, chunk_size)
    resolved = resolve(loss)
    variant = resolved if isinstance(resolved, Variant) else None
    if batch.logits.nbytes > KEPT_BYTES:
        keep_freed_memory()
    with torch.inference_mode(False):
        out = _output(batch, dtype, out)
        if variant is not None and variant.pulls is not None and method in ("auto", "closed-form"):
            return closed_form(variant, batch, dtype, chunk_size, out)
        if method == "closed-form":
            raise LossError(f"{_name(resolved)} has no declared pulls, so no closed form; use method='auto'.")
        token_loss = adapted(resolved)
        coupling = variant.coupling if variant is not None else None
        settings = (reduction, method, dtype, chunk_size)
        compiled = compiled_before(token_loss, batch, settings) if compile and fast_paths_enabled() else None
        outcome = None if compiled is None else _run_again(compiled, batch, out)
        carrying = batch
        if outcome is None:
            plan, carrying = make_plan(token_loss, batch, reduction, method, dtype, chunk_size, compile, coupling)
            compiled = compile_loss(plan.loss) if plan.is_compiled else None
            with own_random_numbers(batch.logits.device):
                outcome = run(plan, carrying, out, "q", compiled)
            if compiled is not None and carrying is batch and outcome.plan.law is not None:
                compiled.plan = replace(plan, seen_before=True, guards=GUARDS_SEEN_BEFORE)
                keep_compiled(token_loss, batch, settings, compiled)
        notes = _notes(outcome.plan, coupling, compiled)
        if outcome.silent:
            refuse_constant(outcome.plan.loss, carrying, outcome.plan.found.method, dtype)
            notes.append("the gradient is zero on every token: Q is the model")

    def make_gradient() -> Tensor:
        of_q = batch.logits.to(out.dtype).softmax(-1).sub_(out)
        if outcome.plan.found.random:
            return of_q  # of the same draw
        with torch.inference_mode(False), own_random_numbers(batch.logits.device):
            gradient = empty(*out.shape, dtype=out.dtype, device=out.device)
            run(outcome.plan, carrying, gradient, "g")
        # a loss that has moved on since (a step counter, an EMA) gives another gradient now: then Q's own is meant
        same = (gradient - of_q).abs_().amax(-1) <= 100 * rounding(out.dtype) * row_size(gradient)
        return gradient if bool(same.all()) else of_q

    done = outcome.plan
    return InducedTarget(
        out,
        batch,
        done.loss.name,
        done.found.method,
        done.reduction,
        done.coupled,
        variant,
        tuple(notes),
        make_gradient,
    )


def _run_again(compiled: CompiledLoss, batch: TokenBatch, out: Tensor) -> Outcome | None:
    """Run a loss as an earlier call found it; None where it has to be studied anew."""
    if compiled.plan is None:
        return None
    try:
        with own_random_numbers(batch.logits.device):
            return run(compiled.plan, batch, out, "q", compiled)
    except (StalePlanError, LossError):  # it has changed; if it is at fault, the study will say so
        return None


def adapted(resolved: Any) -> TokenLoss:
    """The loss with its calling convention; those of the package take rows and labels as they are.

    Args:
        resolved: a callable or a variant.

    Returns:
        What the engine differentiates.
    """
    if not isinstance(resolved, Variant):
        return adapt(resolved)
    if resolved.source in PACKAGE_SOURCES:
        return adapt(resolved.bound_loss, layout="flat", shift="none", name=resolved.label)
    return adapt(resolved.bound_loss, name=resolved.label)


def _notes(plan: Plan, coupling: str | None, compiled: CompiledLoss | None) -> list[str]:
    """What else is worth knowing."""
    notes = [plan.found.reason] if plan.found.reason else []
    if plan.found.random:
        notes.append("two calls differ (random numbers?): this is one draw, on the whole batch at once")
    if plan.coupled == LEAK:
        notes.append("Q of a token holds what the losses of other tokens do to its logits")
    if plan.found.method == "vmap" and coupling is not None:
        notes.append(f"each token was differentiated alone, without its coupling: {coupling}")
    if calls_with_one_item(plan.loss):
        notes.append("called with num_items_in_batch = 1")
    if plan.loss.private:
        notes.append("the loss writes into its arguments: it was given copies")
    if compiled is not None and plan.law is not None:
        when = "in an earlier call, which also studied it" if plan.seen_before else f"in {compiled.seconds:.1f} s"
        notes.append(f"compiled {when}")
    elif plan.compile:
        notes.append("compile=True had nothing to compile: only torch.func gradients of chunks are compiled")
    return notes


def _check_arguments(batch: TokenBatch, method: str, dtype: torch.dtype | None, chunk_size: int | None) -> torch.dtype:
    if not isinstance(batch, TokenBatch):
        raise BatchError(f"batch must be a TokenBatch, not {type(batch).__name__}: qt.TokenBatch(logits, labels).")
    if method not in METHODS:
        raise LossError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    if chunk_size is not None and (not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1):
        raise BatchError(f"chunk_size must be a positive number of rows, not {chunk_size!r}.")
    if dtype is None:
        return compute_dtype(batch.logits.dtype)
    if dtype not in (torch.float32, torch.float64):
        raise BatchError(
            f"dtype must be torch.float32 or torch.float64, not {dtype}: half precision leaves errors of 2e-3 in Q."
        )
    return dtype


def _output(batch: TokenBatch, dtype: torch.dtype, out: Tensor | None) -> Tensor:
    shape = batch.logits.shape
    if out is None:
        return empty(*shape, dtype=dtype, device=batch.logits.device)
    if not isinstance(out, Tensor):
        raise BatchError(f"out must be a torch.Tensor of shape {list(shape)}, not {type(out).__name__}.")
    if out.shape != shape or out.dtype != dtype or out.device != batch.logits.device or not out.is_contiguous():
        raise BatchError(
            f"out must be a contiguous tensor of shape {list(shape)}, {dtype}, on {batch.logits.device}; it has shape "
            f"{list(out.shape)}, {out.dtype}, on {out.device}."
        )
    if out.requires_grad:
        raise BatchError("out requires a gradient and cannot be written to; pass out.detach() or torch.empty(...).")
    for name, value in {"logits": batch.logits, **batch.context}.items():
        if out.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
            raise BatchError(f"out shares memory with the batch's {name}, which must stay as they are.")
    return out


def _name(loss: Any) -> str:
    return loss.label if isinstance(loss, Variant) else getattr(loss, "name", None) or name_of(loss)
