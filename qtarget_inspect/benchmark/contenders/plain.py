"""Plain contenders: what a user would write without this package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap

from qtarget_inspect.benchmark.contenders.contender import Contender, Prepare
from qtarget_inspect.benchmark.plain_losses import PlainLoss
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

CROSS_ENTROPY = "cross_entropy, forward + backward"

LOOP_TOKENS = 16
"""Tokens that the loop over tokens works on; its time is scaled up to all."""


def naive_name(loss: str) -> str:
    """Name of the naive line of a plain loss."""
    return f"naive line, {loss}"


def plain_contenders(losses: tuple[PlainLoss, ...], half: bool) -> tuple[Contender, ...]:
    """Cross entropy there and back, the naive line of each loss, and a loop over tokens.

    Args:
        losses: whose naive lines.
        half: whether the logits are bfloat16: then the naive line upcasts them, as the engine does, and once more does
            not.

    Returns:
        The contenders.
    """
    found = [Contender(CROSS_ENTROPY, "plain", _cross_entropy, fresh="logits")]
    upcast = "the logits upcast to float32 first" if half else ""
    for loss in losses:
        found.append(Contender(naive_name(loss.name), "plain", _naive(loss), fresh="q", about=upcast))
    if half:
        name, about = f"{naive_name(losses[0].name)}, in bfloat16", "Q in bfloat16, off by up to 2e-3"
        found.append(Contender(name, "plain", _naive(losses[0], False), fresh="logits", about=about))
    about = f"{LOOP_TOKENS} tokens, scaled to all"
    found.append(
        Contender(f"loop over tokens, {losses[0].name}", "plain", _loop(losses[0]), tokens=LOOP_TOKENS, about=about)
    )
    return tuple(found)


def _cross_entropy(work: Workload) -> Call:
    leaf = work.logits.detach().requires_grad_()
    return lambda: torch.autograd.grad(F.cross_entropy(leaf, work.labels), leaf)


def _naive(loss: PlainLoss, upcast: bool = True) -> Prepare:
    """`p - vmap(grad(loss))(z, y)`."""

    def prepare(work: Workload) -> Call:
        def call() -> Tensor:
            logits, *context = (
                tensor.to(work.out.dtype) if upcast else tensor
                for tensor in (work.logits, *(getattr(work.batch, name) for name in loss.context))
            )
            return logits.softmax(-1) - vmap(grad(loss.function))(logits, work.labels, *context)

        return call

    return prepare


def _loop(loss: PlainLoss) -> Prepare:
    def prepare(work: Workload) -> Call:
        gradient = grad(loss.function)

        def call() -> Tensor:
            rows = []
            for row in range(min(LOOP_TOKENS, len(work.batch))):
                logits = work.logits[row].to(work.out.dtype)
                context = [getattr(work.batch, name)[row].to(work.out.dtype) for name in loss.context]
                rows.append(logits.softmax(-1) - gradient(logits, work.labels[row], *context))
            return torch.stack(rows)

        return call

    return prepare
