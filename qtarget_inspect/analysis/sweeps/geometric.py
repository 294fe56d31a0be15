"""Geometric distributions of a given entropy: b_k proportional to exp(-rate k), the rate solved for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEEPEST = 800.0
"""At this rate the entropy lies below what float64 can hold, so that every entropy above 0 is bracketed."""

_HALVINGS = 64
"""Halvings of the bracket: to 4e-17, and the entropy moves by less than the rate does."""


def geometric_rate(entropy: Tensor, size: int) -> Tensor:
    """The rate at which b_k = exp(-rate k) / Z, k = 0 .. size - 1, has an entropy.

    H falls with the rate, from ln(size) at 0 to 0 at infinity. It is bisected, since near rate 0 H is flat.

    Args:
        entropy: [n] nats, in [0, ln size].
        size: how many entries, at least 2.

    Returns:
        [n] rates >= 0, float64; 0 where the entropy is ln size, inf where it is 0.

    Examples:
        >>> geometric_rate(torch.tensor([0.0, 1.0, math.log(8)], dtype=torch.float64), 8)
        tensor([   inf, 1.0428, 0.0000], dtype=torch.float64)
    """
    entropy, place = entropy.to(torch.float64).unique(return_inverse=True)
    low, high = torch.zeros_like(entropy), torch.full_like(entropy, _STEEPEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _entropy(middle, size) > entropy
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    rate = torch.where(entropy == 0, math.inf, (low + high) / 2)
    return torch.where(entropy == math.log(size), 0.0, rate)[place]


def geometric_log_probs(rate: Tensor, size: int) -> Tensor:
    """log b_k of a geometric distribution.

    Args:
        rate: [n] rates >= 0, inf allowed: all mass on the first entry.
        size: how many entries.

    Returns:
        [n, size] log-probabilities, nats, falling; -inf where b is 0.
    """
    k = torch.arange(size, dtype=torch.float64)
    steps = torch.where(k == 0, 0.0, -rate.unsqueeze(-1) * k)  # inf * 0 is the first entry's 0
    return steps.log_softmax(-1)


def _entropy(rate: Tensor, size: int) -> Tensor:
    """[n] H = log Z + rate E[k], nats."""
    log_b = geometric_log_probs(rate, size)
    mean = (log_b.exp() * torch.arange(size, dtype=torch.float64)).sum(-1)
    return -log_b[:, 0] + rate * mean
