"""States to judge an identification on: made here, by other means than those that identify itself asks for."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import qtarget_inspect as qt


@cache
def fresh_states() -> qt.TokenBatch:
    """The package's probe states of another vocabulary: flat to peaked, other models near, far and the model itself."""
    return qt.probe_batch(256, 80, seed=5)


@cache
def dense_states() -> qt.TokenBatch:
    """5000 tokens even in p_y, so that a window of width 0.001 holds some."""
    return random_states(5000, 36, seed=4321, p_label=torch.linspace(2e-4, 1 - 2e-4, 5000, dtype=torch.float64))


@cache
def large_vocabulary() -> qt.TokenBatch:
    """128 tokens on 300 entries, p_y even in its log-odds."""
    return random_states(128, 300, seed=99, p_label=torch.linspace(-15, 15, 128, dtype=torch.float64).sigmoid())


def random_states(tokens: int, vocabulary: int, *, seed: int, p_label: Tensor) -> qt.TokenBatch:
    """Tokens with a given p_y [N], in random order, all else drawn; sequences of five, an even number of them."""
    assert -(-tokens // 5) % 2 == 0
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(tokens, generator=generator, dtype=torch.float64)

    def with_label(rows: Tensor, log_odds: Tensor) -> Tensor:
        others = rows.scatter(-1, index, float("-inf")).logsumexp(-1)
        return rows.scatter(-1, index, (others + log_odds).unsqueeze(-1))

    index = torch.randint(vocabulary, (tokens, 1), generator=generator)
    log_odds = p_label.logit()[torch.randperm(tokens, generator=generator)]
    logits = with_label(drawn(0, 5).unsqueeze(-1) * normal(tokens, vocabulary), log_odds) + normal(tokens, 1)

    def other_model() -> Tensor:
        rows = logits + drawn(0, 2).unsqueeze(-1) * normal(tokens, vocabulary)
        return with_label(rows, log_odds + 2 * normal(tokens))

    return qt.TokenBatch(
        logits,
        index.squeeze(-1),
        reference_logits=other_model(),
        teacher_logits=other_model(),
        old_logits=other_model(),
        advantages=1.5 * normal(tokens),
        weights=drawn(0.1, 3),
        critical=torch.rand(tokens, generator=generator) < 0.5,
        sequence_ids=torch.arange(tokens) // 5,
    )
