"""Compiled: chunks whose loss, gradient and subtraction are one loop made by torch.compile, kept for the next call."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.compiling import compile_apart
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.core.row_statistics import label_log_prob
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.chunk import Chunk, ChunkResult
from qtarget_inspect.engine.gradients import first_line
from qtarget_inspect.engine.plan import Plan

Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]
"""(z, p, centre, log_total, factor, columns, labels and context) -> value; turns p into Q."""


@dataclass
class CompiledLoss:
    """A compiled loss with what was found out about it, for batches of one shape.

    Args:
        plan: how it runs, once that is known.
        step: the compiled function.
        seconds: what compiling it took, 0 before the first call.
        writes: whether it writes into its logits or context; None before the first call.
    """

    step: Step
    plan: Plan | None = None
    seconds: float = 0.0
    writes: bool | None = None


FAR = 32.0
"""Labels less likely than exp of minus this are no centre for the others: digits would be lost to the distance."""

MOST_KEPT = 16
"""How many compiled losses are kept; the one that was not used for longest goes first."""

_kept: OrderedDict[Any, CompiledLoss] = OrderedDict()  # each holds its function, so that an id is not given away again


def compiled_before(loss: TokenLoss, batch: TokenBatch, settings: tuple[Any, ...]) -> CompiledLoss | None:
    """What an earlier call with compile=True made of the same function for batches of the same shape.

    Args:
        loss: the adapted loss.
        batch: the tokens.
        settings: what else the result hangs on.

    Returns:
        The compiled loss; None where there is none.
    """
    key = _key(loss, batch, settings)
    if key in _kept:
        _kept.move_to_end(key)
    return _kept.get(key)


def keep_compiled(loss: TokenLoss, batch: TokenBatch, settings: tuple[Any, ...], made: CompiledLoss) -> None:
    """Keep a compiled loss for later calls.

    Args:
        loss: the adapted loss, as it was handed over.
        batch: the tokens.
        settings: what else the result hangs on.
        made: what to keep.
    """
    _kept[_key(loss, batch, settings)] = made
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)


def _key(loss: TokenLoss, batch: TokenBatch, settings: tuple[Any, ...]) -> tuple[Any, ...]:
    fixed = tuple(
        sorted(
            (name, repr(value) if isinstance(value, (int, float)) else id(value)) for name, value in loss.fixed.items()
        )
    )
    shape = (tuple(batch.logits.shape), batch.logits.dtype, batch.logits.device)
    context = tuple((name, value.dtype) for name, value in batch.context.items())
    return (
        id(loss.function),
        loss.layout,
        loss.shift,
        loss.inputs,
        repr(loss.context),
        fixed,
        shape,
        context,
        *settings,
    )


def compile_loss(loss: TokenLoss) -> CompiledLoss:
    """The loss, its gradient and Q = p - factor * gradient as one function, through torch.compile at its first call.

    Args:
        loss: the loss, its layout known.

    Returns:
        The compiled loss.
    """
    from qtarget_inspect.engine.fusion import known_softmax, label_fusion  # registers an operator with torch

    def step(
        z: Tensor,
        p: Tensor,
        centre: Tensor,
        log_total: Tensor,
        factor: Tensor,
        columns: Tensor,
        fields: dict[str, Tensor],
    ) -> Tensor:
        softmax = known_softmax(z, p, centre, log_total, columns)
        tokens = TokenBatch.unchecked({"logits": z, **fields})

        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            value = loss(x, tokens)
            return value.sum(), value.detach()

        gradient, value = torch.func.grad(total, has_aux=True)(z)
        p.copy_(softmax - gradient * factor)
        return value

    fusion = label_fusion()
    return CompiledLoss(compile_apart(step, None if fusion is None else {"post_grad_custom_pre_pass": fusion}))


def compiled_chunk(plan: Plan, made: CompiledLoss, workspace: Tensor) -> Chunk:
    """Chunks of Q through the compiled loss; torch's own softmax goes in, since the compiler's is slower on a CPU.

    Args:
        plan: how.
        made: the compiled loss.
        workspace: [chunk, V] where logits are copied if they are of another type, or the loss writes into them.

    Returns:
        The function.
    """
    columns = torch.arange(workspace.shape[-1], dtype=torch.int32, device=workspace.device)

    def run(sub: TokenBatch, target: Tensor, factor: float) -> ChunkResult:
        z = sub.logits
        if made.writes is not False or z.dtype != workspace.dtype:
            z = workspace[: len(sub)]
            z.copy_(sub.logits)
        torch.softmax(z, -1, out=target)
        index = sub.labels.unsqueeze(-1)
        p_label = target.gather(-1, index).squeeze(-1)
        centre, log_total = _known(z, target, sub.labels)
        scale = torch.tensor(factor, dtype=workspace.dtype, device=workspace.device)
        start = time.perf_counter()
        context = {name: value for name, value in sub.context.items() if name in plan.asked_for}
        if made.writes is not False:  # what it writes into is not known yet, or something
            context = {name: value.clone() for name, value in context.items()}
        fields = {"labels": sub.labels, **context}
        value = _call(made.step, plan.loss.name, z, target, centre, log_total, scale, columns, fields)
        if made.writes is None:
            made.seconds = time.perf_counter() - start
            kept = (torch.equal(context[name], getattr(sub, name)) for name in context)
            made.writes = not (torch.equal(z, sub.logits.to(z.dtype)) and all(kept))
        sizes = (p_label - target.gather(-1, index).squeeze(-1)).abs()
        if not bool((sizes > 0).any()):
            sizes = (sub.logits.to(target.dtype).softmax(-1) - target).abs().amax(-1)

        def row(number: int) -> Tensor:
            rows = slice(number, number + 1)
            return (sub.logits[rows].to(target.dtype).softmax(-1) - target[rows]) / factor

        return ChunkResult(value, p_label, sizes, row)

    return run


def _known(z: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """log softmax(z) = (z - centre) - log_total, [n, 1] each: the label's logit, or the largest where it is far off."""
    centre = z.gather(-1, labels.unsqueeze(-1))
    log_total = -label_log_prob(z, p, labels).unsqueeze(-1)
    far = ~(log_total < FAR)
    if bool(far.any()):
        rows = far.squeeze(-1).nonzero().squeeze(-1)
        centre[rows] = z[rows].amax(-1, keepdim=True)
        log_total[rows] = -p[rows].amax(-1, keepdim=True).log()
    return centre, log_total


def _call(step: Step, name: str, *arguments: Any) -> Tensor:
    try:
        return step(*arguments)
    except QTargetError:
        raise
    except Exception as error:
        raise LossError(
            f"{name} could not be compiled: {type(error).__name__}: {first_line(error)}. Leave compile=False."
        ) from error
