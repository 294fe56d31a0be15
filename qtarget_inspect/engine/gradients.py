"""Logit gradients of a loss on some rows: torch.func, plain autograd where that refuses, vmap on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.engine.adapter import TokenLoss

GradientMethod = Literal["torch.func", "autograd", "vmap"]

_ADVICE = {
    "vmap": " vmap cannot follow data-dependent control flow, boolean-mask indexing or in-place writes; method='auto' "
    "can.",
    "torch.func": " torch.func refuses some code that plain autograd takes; method='auto' falls back to it.",
}


class ConstantLossError(LossError):
    """A loss without any gradient to the logits."""


def loss_and_gradient(
    loss: TokenLoss, logits: Tensor, batch: TokenBatch, method: GradientMethod, strict: bool = False
) -> tuple[Tensor, Tensor]:
    """Value and logit gradient of the summed loss on some tokens: d(sum L)/dz.

    Args:
        loss: the loss, its layout known.
        logits: [n, V] in the compute type; a private copy, since a loss may write into it.
        batch: labels and context of the same tokens.
        method: how to differentiate.
        strict: whether a value without gradient is an error; otherwise its gradient is zero.

    Returns:
        The value as the loss returned it (detached), and the gradient [n, V].

    Raises:
        LossError: the loss raised; the message holds its own.
        QTargetError: the loss raised one of the package's own errors.
    """
    try:
        if method == "vmap":
            return _vmap_gradient(loss, logits, batch)
        if method == "autograd":
            return _autograd_gradient(loss, logits, batch, strict)
        return _func_gradient(loss, logits, batch)
    except QTargetError:
        raise
    except Exception as error:
        raise LossError(
            f"{loss.name} raised {type(error).__name__} on logits {list(logits.shape)} and labels "
            f"{list(batch.labels.shape)} ({method}): {first_line(error)}{_ADVICE.get(method, '')}"
        ) from error


def _func_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    def total(z: Tensor) -> tuple[Tensor, Tensor]:
        value = loss(z, batch)
        return value.sum(), value.detach()

    with torch.no_grad():  # parameters of a module need no graph of their own; inside, torch.func turns gradients on
        gradient, value = torch.func.grad(total, has_aux=True)(logits)
    return value, gradient


def _autograd_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch, strict: bool) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_(True)
        value = loss(leaf, batch)
        gradient = None
        if value.requires_grad:
            try:
                (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
            except RuntimeError as error:
                if "checkpoint" not in str(error):
                    raise
                gradient = _gradient_by_backward(loss, leaf, batch)
    if gradient is None:
        if strict:
            raise ConstantLossError(constant_message(loss))
        gradient = torch.zeros_like(logits)
    return value.detach(), gradient


def _gradient_by_backward(loss: TokenLoss, leaf: Tensor, batch: TokenBatch) -> Tensor | None:
    """Re-entrant checkpointing refuses autograd.grad; .backward() works, and must not leave its mark on a module."""
    parameters = list(loss.function.parameters()) if isinstance(loss.function, torch.nn.Module) else []
    kept = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        loss(leaf, batch).sum().backward()
        return leaf.grad
    finally:
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient


def _vmap_gradient(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Each token alone, all at once: the rows cannot influence each other."""
    names = ("labels", *batch.context)

    def one(z: Tensor, *fields: Tensor) -> tuple[Tensor, Tensor]:
        alone = {"logits": z.detach()[None]} | {name: value[None] for name, value in zip(names, fields, strict=True)}
        value = loss(z[None], TokenBatch.unchecked(alone))
        if value.numel() > 2:  # one value, and in the causal layout one more for the filler
            raise LossError(
                f"{loss.name} returned {value.numel()} values for one token: it holds something of that many rows, "
                "which method='vmap' cannot cut. Leave method='auto'."
            )
        return value.sum(), value.detach().sum()

    per_token = torch.func.vmap(torch.func.grad(one, has_aux=True), randomness="different")
    with torch.no_grad():
        gradient, value = per_token(logits, *(getattr(batch, name) for name in names))
    return value, gradient


@contextmanager
def own_random_numbers(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Run with random numbers of its own, and leave the user's generator as it was.

    Args:
        device: where the loss computes.
        seed: start from it.

    Yields:
        Nothing.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def random_state(device: torch.device) -> Tensor:
    """State of the random generators that a loss on a device can draw from.

    Args:
        device: where the loss computes.

    Returns:
        A tensor that changes with every draw.
    """
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for a message of our own.

    Args:
        error: the error.

    Returns:
        One line.
    """
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"


def constant_message(loss: TokenLoss) -> str:
    """What to say of a loss that does not depend on the logits.

    Args:
        loss: the loss.

    Returns:
        The message.
    """
    return (
        f"{loss.name} is constant in the logits: its value carries no gradient to them. Look for .detach(), "
        "torch.no_grad(), .item(), argmax or a rebuilt tensor between logits and loss, and for a mask that drops "
        "every token."
    )
