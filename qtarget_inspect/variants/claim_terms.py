"""Terms that claims share: plain formulas over a state, written apart from the pulls and from the losses."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.state import State


def label_prob(state: State) -> Tensor:
    """[N] p_y, the label's entry of softmax(z)."""
    return state.p.gather(-1, state.labels.unsqueeze(-1)).squeeze(-1)


def constant(value: float, state: State) -> Tensor:
    """[N] one value for every token."""
    return torch.full_like(label_prob(state), value)


def softmax_of(name: str, state: State, temperature: float = 1.0) -> Tensor:
    """[N, V] softmax of a context model's logits at a temperature."""
    return torch.softmax(state.context(name) / temperature, dim=-1)


def geometric_mean(name: str, state: State, share: float) -> Tensor:
    """[N, V] p^(1 - share) other^share / Z, by plain powers."""
    product = state.p ** (1 - share) * softmax_of(name, state) ** share
    return product / product.sum(-1, keepdim=True)
