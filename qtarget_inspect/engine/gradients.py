"""Logit gradients of a loss on some rows: torch.func on the batch, plain autograd where that refuses, vmap on request."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.engine.adapter import TokenLoss

GradientMethod = Literal["torch.func", "autograd", "vmap"]


def loss_and_gradient(
    loss: TokenLoss, logits: Tensor, batch: TokenBatch, method: GradientMethod
) -> tuple[Tensor, Tensor]:
    """Value and logit gradient of the summed loss on some tokens.

    Args:
        loss: the loss, its layout known.
        logits: [n, V] in the compute type; a private copy, since a loss may write into it.
        batch: labels and context of the same tokens.
        method: how to differentiate.

    Returns:
        The value as the loss returned it (detached), and the gradient [n, V].

    Raises:
        LossError: the loss raised; the message holds its own.
    """
    try:
        if method == "vmap":
            return _vmap_gradient(loss, logits, batch)
        if method == "autograd":
            return _autograd_gradient(loss, logits, batch)
        return _func_gradient(loss, logits, batch)
    except QTargetError:
        raise
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        advice = {
            "vmap": " vmap cannot follow data-dependent control flow, boolean-mask indexing or in-place writes; method='auto' can.",
            "torch.func": " torch.func refuses some code that plain autograd takes; method='auto' falls back to it.",
        }.get(method, "")
        raise LossError(
            f"{loss.name} raised {type(error).__name__} on logits {list(logits.shape)} ({method}): {first_line}{advice}"
        ) from error


def _func_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    def total(z: Tensor) -> tuple[Tensor, Tensor]:
        value = loss(z, batch)
        return value.sum(), value.detach()

    gradient, value = torch.func.grad(total, has_aux=True)(logits)
    return value, gradient


def _autograd_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_(True)
        value = loss(leaf, batch)
        if not value.requires_grad:
            raise LossError(constant_message(loss))
        (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    if gradient is None:
        raise LossError(constant_message(loss))
    return value.detach(), gradient


def _vmap_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Each token alone, all at once: the rows cannot influence each other."""
    names = ("labels", *batch.context)

    def one(z: Tensor, *fields: Tensor) -> tuple[Tensor, Tensor]:
        alone = TokenBatch._trusted({"logits": z.detach()[None]} | {n: f[None] for n, f in zip(names, fields, strict=True)})
        value = loss(z[None], alone).sum()
        return value, value.detach()

    per_token = torch.func.vmap(torch.func.grad(one, has_aux=True), randomness="different")
    gradient, value = per_token(logits, *(getattr(batch, name) for name in names))
    return value, gradient


def constant_message(loss: TokenLoss) -> str:
    """What to say of a loss that does not depend on the logits."""
    return (
        f"{loss.name} is constant in the logits: its value carries no gradient to them. Look for .detach(), torch.no_grad(), .item(), "
        "argmax or a rebuilt tensor between logits and loss."
    )
