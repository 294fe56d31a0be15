"""Compiled: the function that differentiates a chunk, through torch.compile where asked for."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.gradients import GradientMethod, first_line, loss_and_gradient

Differentiate = Callable[[Tensor, TokenBatch], tuple[Tensor, Tensor]]


def chunk_differentiator(loss: TokenLoss, method: GradientMethod, compile_: bool) -> Differentiate:
    """The function (logits, tokens) -> (value, gradient) of one chunk.

    Args:
        loss: the loss, its layout known.
        method: how to differentiate; only "torch.func" is compiled.
        compile_: whether to compile.

    Returns:
        The function.
    """
    if not compile_ or method != "torch.func":
        return lambda z, sub: loss_and_gradient(loss, z, sub, method)
    return _compiled(loss)


def _compiled(loss: TokenLoss) -> Differentiate:
    """torch.compile of the gradient. Context goes in as a dict of tensors: nothing of one chunk is kept."""

    def step(z: Tensor, fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        tokens = TokenBatch.unchecked({"logits": z, **fields})

        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            value = loss(x, tokens)
            return value.sum(), value.detach()

        gradient, value = torch.func.grad(total, has_aux=True)(z)
        return value, gradient

    # torch.compile keeps what it compiled by code object, up to a limit: a code object of its own for every loss
    own = FunctionType(step.__code__.replace(), step.__globals__, step.__name__, step.__defaults__, step.__closure__)
    compiled = torch.compile(own, dynamic=False)

    def differentiate(z: Tensor, sub: TokenBatch) -> tuple[Tensor, Tensor]:
        try:
            return compiled(z, {"labels": sub.labels, **sub.context})
        except QTargetError:
            raise
        except Exception as error:
            raise LossError(
                f"{loss.name} could not be compiled: {type(error).__name__}: {first_line(error)}. Leave compile=False."
            ) from error

    return differentiate
