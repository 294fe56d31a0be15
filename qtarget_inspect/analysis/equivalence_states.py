"""The states on which two losses are held against each other: several vocabularies and seeds, p_y in every range."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.samples import set_log_odds

TOKENS = 256
"""Probe states a batch."""

PROBES = ((64, 0), (32, 1), (128, 2), (64, 3), (48, 4))
"""Vocabulary and seed of the probe batches whose p_y runs evenly in its log-odds."""

DENSE = (64, 5)
"""Vocabulary and seed of the batch whose p_y runs evenly itself, so that thresholds and steps show."""


def states_to_try(batch: TokenBatch | Sequence[TokenBatch] | None) -> list[tuple[str, TokenBatch]]:
    """The states to try, in float64, each batch with what to call it.

    Args:
        batch: the user's batch or batches, None for the built-in ones.

    Returns:
        Pairs of a text and a batch.

    Raises:
        BatchError: it is none of these.

    Examples:
        >>> [(len(part), part.vocabulary) for _, part in states_to_try(None)]
        [(256, 64), (256, 32), (256, 128), (256, 64), (256, 48), (256, 64)]
    """
    if batch is None:
        parts = [
            (f"probe_batch({TOKENS}, {size}, seed={seed})", probe_batch(TOKENS, size, seed=seed))
            for size, seed in PROBES
        ]
        size, seed = DENSE
        return [*parts, (f"probe_batch({TOKENS}, {size}, seed={seed}), p_y spread evenly", _dense_in_p(size, seed))]
    given: list[TokenBatch] = [batch] if isinstance(batch, TokenBatch) else []
    if isinstance(batch, Sequence):
        given = list(batch)
    if not given or not all(isinstance(part, TokenBatch) for part in given):
        raise BatchError("equivalent: batch must be a TokenBatch or a list of them: qt.TokenBatch(logits, labels).")
    names = ["your batch"] if len(given) == 1 else [f"your batch {i}" for i in range(len(given))]
    return [(name, part.to(torch.float64)) for name, part in zip(names, given, strict=True)]


def _dense_in_p(vocabulary: int, seed: int) -> TokenBatch:
    """Probe states whose p_y runs evenly from 0 to 1, ends excluded; the other models stay where they are."""
    batch = probe_batch(TOKENS, vocabulary, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    p = (torch.randperm(TOKENS, generator=generator).to(torch.float64) + 0.5) / TOKENS
    return batch.with_logits(set_log_odds(batch.logits, batch.labels, torch.logit(p)))
