"""Inversion: from any loss and a batch to the induced target, chunk by chunk, with the reduction undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import describe_tokens
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import BatchError, LossError, MissingContextError, QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.core.state import State, compute_dtype
from qtarget_inspect.engine.adapter import TokenLoss, adapt
from qtarget_inspect.engine.gradients import constant_message, loss_and_gradient
from qtarget_inspect.engine.recognition import SAMPLE_TOKENS, Recognised, recognise, sample_rows
from qtarget_inspect.engine.reduction import (
    Reduction,
    Study,
    coupling_of,
    declared_reduction,
    study_rows,
    undo,
)
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants import Variant, resolve

Method = Literal["auto", "closed-form", "torch.func", "autograd", "vmap"]
Kind = Literal["q", "g"]

METHODS = ("auto", "closed-form", "torch.func", "autograd", "vmap")
GUARDED_CHUNKS = 3
"""How many chunks have one row compared with its token alone, after the sample has been studied."""


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

    Args:
        loss: a callable, a registered name ("asft(kl_weight=0.1)"), a `Variant`, FILE.py:NAME, or what `adapt` returns.
        batch: the tokens.
        reduction: "auto" finds out what a scalar loss did to its per-token values; "sum", "mean" or the divisor declare
            it. A vector is taken as it is.
        method: "auto" takes the closed form for a registered variant and the batch's torch.func gradient for a
            callable, with plain autograd where torch.func refuses. "closed-form", "torch.func", "autograd" and "vmap"
            (each token alone) insist.
        dtype: type to compute in; default the logits' own, float32 for half precision, which is upcast once.
        chunk_size: rows at a time; default by a memory budget. Chunks never change the answer: coupled losses run
            whole.
        compile: compile the gradient of a chunk with torch.compile (first call takes seconds).
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
    out = _output(batch, dtype, out)
    if variant is not None and variant.pulls is not None and method in ("auto", "closed-form"):
        return _closed_form(variant, batch, dtype, chunk_size, out)
    if method == "closed-form":
        raise LossError(f"{_name(resolved)} has no declared pulls, so no closed form; use method='auto'.")
    token_loss = adapt(variant.bound_loss, name=variant.label, layout="flat") if variant else adapt(resolved)
    plan = _plan(token_loss, batch, reduction, method, dtype, chunk_size, compile)
    mass, divisor, coupled = _run(plan, batch, out, "q")
    return _result(plan, batch, out, mass, divisor, coupled, variant)


@dataclass(frozen=True)
class _Plan:
    """Everything decided before the gradient is taken."""

    found: Recognised
    declared: str | float
    dtype: torch.dtype
    chunk: int
    reduction: Reduction
    coupled: str | None
    whole: bool
    compile: bool

    @property
    def loss(self) -> TokenLoss:
        return self.found.loss


def _plan(
    loss: TokenLoss,
    batch: TokenBatch,
    declared: str | float,
    method: str,
    dtype: torch.dtype,
    chunk_size: int | None,
    compile_: bool,
) -> _Plan:
    """Recognise the loss, study a sample of its tokens in company and alone, and decide how to run."""
    found = recognise(loss, batch, method, dtype)
    chunk = rows_per_chunk(batch.vocabulary, dtype, batch.logits.device, chunk_size)
    if declared != "auto":
        declared_reduction(declared, len(batch))  # refuse nonsense before any work
    if found.method == "vmap":
        text = "each token differentiated alone, nothing to undo"
        return _Plan(found, declared, dtype, chunk, Reduction("alone", text), None, False, compile_)
    sample = batch.select(sample_rows(batch))
    study = None if found.random else _study_sample(found, sample, dtype)
    if study is None:
        return _Plan(found, declared, dtype, chunk, *_random_reduction(found, declared, batch), True, compile_)
    if not found.scalar:
        coupled = coupling_of(study)
        text = "none: one value a token was returned"
        return _Plan(found, declared, dtype, chunk, Reduction("none", text), coupled, coupled is not None, compile_)
    reduction, coupled = _sample_reduction(study, found, sample, batch, declared)
    plain = reduction.kind in ("sum", "mean") and coupled is None
    if plain and reduction.kind == "mean":
        text = f"mean over {len(batch)} tokens, undone" + (" as declared" if reduction.declared else "")
        reduction = replace(reduction, text=text, divisor=float(len(batch)))
    return _Plan(found, declared, dtype, chunk, reduction, coupled, not plain, compile_)


def _study_sample(found: Recognised, sample: TokenBatch, dtype: torch.dtype) -> Study | None:
    """Gradient rows of a small sample in company and alone; None where the sample cannot be run by itself."""
    try:
        _, together = loss_and_gradient(found.loss, sample.logits.to(dtype).clone(), sample, found.method)
    except LossError:
        return None
    rows = torch.arange(len(sample), device=sample.labels.device)
    return study_rows(found.loss, sample, together, rows, found.method, dtype)


def _sample_reduction(
    study: Study, found: Recognised, sample: TokenBatch, batch: TokenBatch, declared: str | float
) -> tuple[Reduction, str | None]:
    """The reduction seen in the sample. A declared "mean" is over the sample's tokens there, and over the batch's later."""
    reduction, coupled = undo(study, found.loss, sample, declared)
    if declared == "auto":
        return reduction, coupled
    return declared_reduction(declared, len(batch)), coupled


def _random_reduction(found: Recognised, declared: str | float, batch: TokenBatch) -> tuple[Reduction, str | None]:
    """A loss that cannot be studied (random numbers, or it needs the whole batch) has to declare a scalar's reduction."""
    if not found.scalar:
        return Reduction("none", "none: one value a token was returned"), None
    if declared != "auto":
        return declared_reduction(declared, len(batch)), None
    why = "draws random numbers" if found.random else "cannot be called on a few tokens"
    raise LossError(
        f"{found.loss.name} returns a scalar and {why}, so its reduction cannot be found by comparing batches. Declare it: "
        f"reduction='sum', reduction='mean' (divides by {len(batch)}), or reduction=<divisor>."
    )


def _run(plan: _Plan, batch: TokenBatch, out: Tensor, kind: Kind) -> tuple[Tensor, Reduction, str | None]:
    """Fill `out` with Q or g; returns the mass, and the reduction and coupling as they turned out."""
    if not plan.whole:
        filled = _run_chunks(plan, batch, out, kind)
        if filled is not None:
            return filled, plan.reduction, plan.coupled
    return _run_whole(plan, batch, out, kind)


def _run_chunks(plan: _Plan, batch: TokenBatch, out: Tensor, kind: Kind) -> Tensor | None:
    """Chunk by chunk into `out`; None where a guarded row shows that chunks would change the answer."""
    rows, chunk = len(batch), min(plan.chunk, len(batch))
    workspace = torch.empty(chunk, batch.vocabulary, dtype=plan.dtype, device=batch.logits.device)
    mass = torch.empty(rows, dtype=plan.dtype, device=batch.logits.device)
    differentiate = _differentiate(plan)
    slices = list(row_chunks(rows, chunk))
    guarded = {round(i * (len(slices) - 1) / (GUARDED_CHUNKS - 1)) for i in range(GUARDED_CHUNKS)} if rows > SAMPLE_TOKENS else ()
    for number, part in enumerate(slices):
        sub = batch.select(part)
        z = workspace[: len(sub)].copy_(sub.logits)
        target = out[part]
        if kind == "q":
            torch.softmax(z, -1, out=target)
        versions = {name: value._version for name, value in sub.context.items()}
        value, gradient = differentiate(z, sub)
        for name, tensor in sub.context.items():
            if tensor._version != versions[name]:
                raise LossError(f"{plan.loss.name} wrote into {name} of your batch; clone it inside the loss before changing it.")
        _refuse_nan(plan, value, gradient, sub, part.start)
        if number in guarded and not _agrees_alone(plan, gradient, sub):
            return None
        if plan.reduction.kind == "mean":
            gradient = gradient * len(sub)
        if kind == "q":
            target.sub_(gradient)
        else:
            target.copy_(gradient)
        mass[part] = target.sum(-1)
    return mass


def _agrees_alone(plan: _Plan, gradient: Tensor, sub: TokenBatch) -> bool:
    """Whether the row with the largest gradient is what its token has alone, up to the reduction that was found."""
    if plan.found.method == "vmap":
        return True
    row = gradient.abs().amax(-1).argmax().reshape(1)
    study = study_rows(plan.loss, sub, gradient[row], row, plan.found.method, plan.dtype)
    expected = 1 / len(sub) if plan.reduction.kind == "mean" else 1.0
    return coupling_of(study, expected) is None


def _run_whole(plan: _Plan, batch: TokenBatch, out: Tensor, kind: Kind) -> tuple[Tensor, Reduction, str | None]:
    """All rows in one call, for losses whose tokens hang together; the reduction is measured in that very batch."""
    z = batch.logits.to(plan.dtype).clone()
    value, gradient = loss_and_gradient(plan.loss, z, batch, plan.found.method)
    del z
    _refuse_nan(plan, value, gradient, batch, 0)
    reduction, coupled = plan.reduction, plan.coupled
    if plan.found.scalar and not plan.found.random and plan.declared == "auto":
        size = gradient.abs().amax(-1)
        largest = size.topk(min(4, len(batch))).indices
        rows = torch.cat([sample_rows(batch), largest]).unique()
        if reduction.kind == "weighted mean" and isinstance(reduction.divisor, float) and coupled and coupled.startswith("detached"):
            text = reduction.text.replace(f"over {len(sample_rows(batch))} tokens", f"over {len(batch)} tokens")
            reduction = replace(reduction, text=text, divisor=float(len(batch)))
        else:
            study = study_rows(plan.loss, batch, gradient[rows], rows, plan.found.method, plan.dtype)
            reduction, coupled_here = undo(study, plan.loss, batch, "auto")
            coupled = coupled_here or coupled
    divisor = reduction.divisor
    gradient = gradient * (divisor.unsqueeze(-1) if isinstance(divisor, Tensor) else divisor)
    if kind == "q":
        torch.softmax(batch.logits.to(plan.dtype), -1, out=out)
        out.sub_(gradient)
    else:
        out.copy_(gradient)
    return out.sum(-1), reduction, coupled


def _differentiate(plan: _Plan) -> Callable[[Tensor, TokenBatch], tuple[Tensor, Tensor]]:
    """The function that differentiates a chunk, compiled where asked for."""
    loss, method = plan.loss, plan.found.method
    if not plan.compile or method != "torch.func":
        return lambda z, sub: loss_and_gradient(loss, z, sub, method)

    def step(z: Tensor, labels: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        sub = TokenBatch._trusted({"logits": z, "labels": labels, **dict(zip(names, context, strict=True))})

        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            value = loss(x, sub)
            return value.sum(), value.detach()

        gradient, value = torch.func.grad(total, has_aux=True)(z)
        return value, gradient

    names: list[str] = []
    compiled = torch.compile(step, dynamic=False)

    def run(z: Tensor, sub: TokenBatch) -> tuple[Tensor, Tensor]:
        names[:] = list(sub.context)
        try:
            return compiled(z, sub.labels, *sub.context.values())
        except QTargetError:
            raise
        except Exception as error:
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise LossError(f"{loss.name} could not be compiled: {first_line}. Leave compile=False.") from error

    return run


def _refuse_nan(plan: _Plan, value: Tensor, gradient: Tensor, sub: TokenBatch, start: int) -> None:
    """Stop at NaN in the loss or non-finite gradients, and say for which tokens.

    One sum over the gradient is enough to see that something is wrong; rows are looked at only then.
    """
    total = gradient.sum()
    bad_value = bool(torch.isnan(value).any())
    if not bad_value and bool(torch.isfinite(total)):
        return
    if bad_value and value.ndim and value.numel() >= len(sub):
        mask = torch.isnan(value.flatten()[-len(sub) :] if plan.loss.layout != "causal" else value.flatten()[: len(sub)])
    elif bad_value:
        mask = torch.stack([_is_nan_alone(plan, sub.select(slice(i, i + 1))) for i in range(min(len(sub), 256))])
    else:
        mask = ~torch.isfinite(gradient.sum(-1))
    what = "returned NaN" if bad_value else "has a gradient that is not finite"
    if not bool(mask.any()):
        raise LossError(
            f"{plan.loss.name} {what} on {len(sub)} tokens together, though on none of them alone: look for 0/0 in its reduction (all "
            "tokens masked or dropped?)."
        )
    offset = torch.zeros(start, dtype=torch.bool, device=mask.device)
    where = describe_tokens(torch.cat([offset, mask]))
    raise LossError(
        f"{plan.loss.name} {what} for {where} of the batch. Usual causes: log(0) or 0 * inf where p underflows, 0/0 where every token "
        "is dropped; use log_softmax and torch.where."
    )


def _is_nan_alone(plan: _Plan, token: TokenBatch) -> Tensor:
    try:
        with torch.no_grad():
            value = plan.loss(token.logits.to(plan.dtype).clone(), token)
    except Exception:
        return torch.tensor(False)
    return torch.isnan(value.sum()).cpu()


def _result(
    plan: _Plan,
    batch: TokenBatch,
    q: Tensor,
    mass: Tensor,
    reduction: Reduction,
    coupled: str | None,
    variant: Variant | None,
) -> InducedTarget:
    notes = []
    if plan.found.reason and plan.found.reason != "asked for":
        notes.append(plan.found.reason)
    if plan.found.random:
        notes.append("the loss draws random numbers: this is one draw, on the whole batch at once")
    if "num_items_in_batch" in _parameter_names(plan.loss) and "num_items_in_batch" not in plan.loss.fixed:
        notes.append("called with num_items_in_batch = 1")
    if plan.loss.private:
        notes.append("the loss writes into its arguments: it was given copies")
    if _is_model(q, batch):
        _refuse_constant(plan, batch)
        notes.append("the gradient is zero on every token: Q is the model")

    def make_gradient() -> Tensor:
        gradient = torch.empty_like(q)
        _run(plan, batch, gradient, "g")
        return gradient

    return InducedTarget(
        q, mass, batch, plan.loss.name, plan.found.method, reduction, coupled, variant, tuple(notes), make_gradient
    )


def _is_model(q: Tensor, batch: TokenBatch) -> bool:
    """Whether Q equals p exactly; the first row that differs ends the search."""
    size = rows_per_chunk(q.shape[1], q.dtype, q.device)
    return all(torch.equal(q[rows], batch.logits[rows].to(q.dtype).softmax(-1)) for rows in row_chunks(len(batch), size))


def _refuse_constant(plan: _Plan, batch: TokenBatch) -> None:
    """A gradient that is zero here may be a threshold; one that is zero on spread-out states too is a constant loss."""
    probes = probe_batch(64, max(2, min(batch.vocabulary, 64)), dtype=plan.dtype, device=batch.logits.device)
    if batch.vocabulary > probes.vocabulary:
        padding = probes.logits.new_full((len(probes), batch.vocabulary - probes.vocabulary), -30.0)
        widened = {name: torch.cat([value, padding], -1) for name, value in probes.context.items() if name.endswith("_logits")}
        probes = probes.with_logits(torch.cat([probes.logits, padding], -1), **widened)
    try:
        _, gradient = loss_and_gradient(plan.loss, probes.logits.clone(), probes, plan.found.method)
    except (LossError, MissingContextError):
        return
    if not bool((gradient != 0).any()):
        raise LossError(constant_message(plan.loss))


def _closed_form(
    variant: Variant, batch: TokenBatch, dtype: torch.dtype, chunk_size: int | None, out: Tensor
) -> InducedTarget:
    """Q from the declared pulls; weights first, on the whole batch, then rows in chunks."""
    pulls = variant.pulls
    assert pulls is not None
    adapt(variant.bound_loss, name=variant.label, layout="flat").required_context(batch)
    weights = pulls.weights(State(batch, dtype))
    chunk = rows_per_chunk(batch.vocabulary, dtype, batch.logits.device, chunk_size)
    mass = torch.empty(len(batch), dtype=dtype, device=batch.logits.device)
    for rows in row_chunks(len(batch), chunk):
        q = pulls.target(State(batch.select(rows), dtype), {k: w[rows] for k, w in weights.items()}, out=out[rows])
        mass[rows] = q.sum(-1)
    if not bool(torch.isfinite(mass.sum())):
        where = describe_tokens(~torch.isfinite(mass))
        raise LossError(f"{variant.label} has no finite target for {where} of the batch.")

    def make_gradient() -> Tensor:
        gradient = torch.empty_like(out)
        for rows in row_chunks(len(batch), chunk):
            part = State(batch.select(rows), dtype)
            gradient[rows] = pulls.gradient(part, {k: w[rows] for k, w in weights.items()})
        return gradient

    reduction = Reduction("none", "none: the closed form is per token")
    return InducedTarget(
        out, mass, batch, variant.label, "closed-form", reduction, variant.coupling, variant, (), make_gradient
    )


def _check_arguments(
    batch: TokenBatch, method: str, dtype: torch.dtype | None, chunk_size: int | None
) -> torch.dtype:
    if not isinstance(batch, TokenBatch):
        raise BatchError(f"batch must be a TokenBatch, not {type(batch).__name__}: qt.TokenBatch(logits, labels).")
    if method not in METHODS:
        raise LossError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise BatchError(f"chunk_size must be a positive number of rows, not {chunk_size!r}.")
    if dtype is None:
        return compute_dtype(batch.logits.dtype)
    if dtype not in (torch.float32, torch.float64):
        raise BatchError(f"dtype must be torch.float32 or torch.float64, not {dtype}: half precision leaves errors of 2e-3 in Q.")
    return dtype


def _output(batch: TokenBatch, dtype: torch.dtype, out: Tensor | None) -> Tensor:
    shape = batch.logits.shape
    if out is None:
        return torch.empty(shape, dtype=dtype, device=batch.logits.device)
    if out.shape != shape or out.dtype != dtype or out.device != batch.logits.device or not out.is_contiguous():
        raise BatchError(
            f"out must be a contiguous tensor of shape {list(shape)}, {dtype}, on {batch.logits.device}; it has shape "
            f"{list(out.shape)}, {out.dtype}, on {out.device}."
        )
    if out.untyped_storage().data_ptr() == batch.logits.untyped_storage().data_ptr():
        raise BatchError("out shares memory with the batch's logits, which must stay as they are.")
    return out


def _parameter_names(loss: TokenLoss) -> list[str]:
    from qtarget_inspect.engine.calling import parameters_of as _parameters

    return list(_parameters(loss.function))


def _name(loss: Any) -> str:
    return loss.label if isinstance(loss, Variant) else getattr(loss, "name", None) or getattr(loss, "__name__", repr(loss))
