"""Chunk: Q or g of some rows, by differentiating the loss on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.engine.gradients import GradientMethod, loss_and_gradient
from qtarget_inspect.engine.plan import Plan

Kind = Literal["q", "g"]


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk left besides Q or g.

    Args:
        value: what the loss returned.
        p_label: [n] p_y; 0 where g was asked for.
        sizes: [n] how strong the gradient is: at the label, or at its largest entry where no label has any.
        row: number of a row -> [1, V] its gradient before the reduction is undone.
    """

    value: Tensor
    p_label: Tensor
    sizes: Tensor
    row: Callable[[int], Tensor]


Chunk = Callable[[TokenBatch, Tensor, float], ChunkResult]
"""(some tokens, where their rows of Q or g go, factor that undoes the reduction) -> what else is known of them."""


def eager_chunk(plan: Plan, workspace: Tensor, kind: Kind) -> Chunk:
    """Chunks differentiated call by call.

    Args:
        plan: how.
        workspace: [chunk, V] where logits are copied, since a loss may write into them.
        kind: "q" or "g".

    Returns:
        The function.
    """

    def run(sub: TokenBatch, target: Tensor, factor: float) -> ChunkResult:
        z = workspace[: len(sub)]
        z.copy_(sub.logits)  # half precision is upcast here, once
        if kind == "q":
            torch.softmax(z, -1, out=target)  # first: the loss may write into z
        value, gradient = _differentiate(plan, z, sub)
        index = sub.labels.unsqueeze(-1)
        p_label = target.gather(-1, index).squeeze(-1) if kind == "q" else target.new_zeros(len(sub))
        sizes = gradient.gather(-1, index).squeeze(-1).abs()
        if not bool((sizes > 0).any()):
            sizes = torch.linalg.vector_norm(gradient, torch.inf, dim=-1)
        if kind == "q":
            target.sub_(gradient, alpha=factor)
        else:
            torch.mul(gradient, factor, out=target)
        return ChunkResult(value, p_label, sizes, lambda row: gradient[row : row + 1])

    return run


def _differentiate(plan: Plan, z: Tensor, sub: TokenBatch) -> tuple[Tensor, Tensor]:
    """By plain autograd where that may stand in for torch.func, and by torch.func where it refuses this chunk."""
    try:
        return differentiate_safely(plan, z, sub, plan.chunk_method)
    except ContextWrittenError:
        raise
    except LossError:
        if plan.chunk_method == plan.found.method:
            raise
        z.copy_(sub.logits)
        return differentiate_safely(plan, z, sub, plan.found.method)


def differentiate_safely(plan: Plan, z: Tensor, batch: TokenBatch, method: GradientMethod) -> tuple[Tensor, Tensor]:
    """Value and gradient, the user's context kept from being written to.

    torch.func does not let a loss write into tensors that it closes over. Plain autograd would, so it gets copies.

    Args:
        plan: how.
        z: [n, V] a private copy of the logits.
        batch: the tokens.
        method: how to differentiate.

    Returns:
        The value, and the gradient [n, V].

    Raises:
        ContextWrittenError: the loss wrote into what it was handed.
    """
    handed = batch
    if method == "autograd":
        context = {name: value.clone() for name, value in batch.context.items() if name in plan.asked_for}
        handed = TokenBatch.unchecked({"labels": batch.labels, **context})
    with _unchanged_context(plan.loss.name, handed):
        return loss_and_gradient(plan.loss, z, handed, method)


class ContextWrittenError(LossError):
    """A loss wrote into the context it was given."""


class _unchanged_context:  # noqa: N801, used like a function
    """Refuse a loss that writes into the user's context after all, though it did not on the sample.

    Args:
        name: the loss.
        batch: the tokens it is called on.
    """

    def __init__(self, name: str, batch: TokenBatch) -> None:
        self.name, self.batch = name, batch

    def __enter__(self) -> None:
        self.versions = {key: _version(value) for key, value in self.batch.context.items()}

    def __exit__(self, kind: object, *_: object) -> None:
        for key, value in self.batch.context.items():
            if kind is None and _version(value) != self.versions[key]:
                raise ContextWrittenError(
                    f"{self.name} wrote into {key} of your batch; clone it inside the loss before changing it."
                )


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
