"""A small batch in double precision with all context, and the reference Q of two losses."""

import pytest
import torch

import qtarget_inspect as qt

from . import naive


@pytest.fixture
def batch() -> qt.TokenBatch:
    """30 tokens, V = 40, p_y from 1e-8 to 1 - 1e-8, sequences of unequal length."""
    probes = qt.probe_batch(30, 40)
    ids = torch.repeat_interleave(torch.arange(6), torch.tensor([1, 3, 9, 5, 10, 2]))
    return probes.with_logits(probes.logits, sequence_ids=ids)


@pytest.fixture
def plain(batch) -> qt.TokenBatch:
    """The same without context."""
    return qt.TokenBatch(batch.logits, batch.labels)


@pytest.fixture
def q_sft(batch):
    return naive.naive_target(naive.cross_entropy, batch)


@pytest.fixture
def q_dft(batch):
    return naive.naive_target(naive.dft, batch)
