"""A reference written for clarity only: one token at a time, float64, plain autograd, Q = softmax(z) - dL/dz."""

from collections.abc import Callable

import torch
from torch import Tensor

import qtarget_inspect as qt

TokenFunction = Callable[..., Tensor]
"""(z [V], y, **context of the token) -> the token's own loss, a scalar."""


def naive_gradient(per_token: TokenFunction, batch: qt.TokenBatch) -> Tensor:
    """[N, V] gradient of each token's own loss."""
    rows = []
    for i in range(len(batch)):
        z = batch.logits[i].double().requires_grad_(True)
        context = {name: value[i] for name, value in batch.context.items()}
        context = {name: value.double() if value.is_floating_point() else value for name, value in context.items()}
        loss = per_token(z, batch.labels[i], **context)
        rows.append(torch.autograd.grad(loss, z)[0])
    return torch.stack(rows)


def naive_target(per_token: TokenFunction, batch: qt.TokenBatch) -> Tensor:
    """[N, V] Q = p - g."""
    return torch.stack([z.double().softmax(0) for z in batch.logits]) - naive_gradient(per_token, batch)


def cross_entropy(z: Tensor, y: Tensor, **context: Tensor) -> Tensor:
    """-log p_y."""
    return -torch.log_softmax(z, 0)[y]


def dft(z: Tensor, y: Tensor, **context: Tensor) -> Tensor:
    """-sg[p_y] log p_y."""
    log_p = torch.log_softmax(z, 0)[y]
    return -log_p.exp().detach() * log_p


def weighted(z: Tensor, y: Tensor, weights: Tensor, **context: Tensor) -> Tensor:
    """-w log p_y."""
    return -weights * torch.log_softmax(z, 0)[y]


def anchored(z: Tensor, y: Tensor, reference_logits: Tensor, **context: Tensor) -> Tensor:
    """-sg[p_y] log p_y + 0.1 KL(ref || p)."""
    reference = reference_logits.log_softmax(0)
    kl = (reference.exp() * (reference - torch.log_softmax(z, 0))).sum()
    return dft(z, y) + 0.1 * kl


def distilled(z: Tensor, y: Tensor, teacher_logits: Tensor, **context: Tensor) -> Tensor:
    """KL(teacher || p)."""
    teacher = teacher_logits.log_softmax(0)
    return (teacher.exp() * (teacher - torch.log_softmax(z, 0))).sum()
