"""The states on which two losses are held against each other, and the one among them where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qtarget_inspect.analysis.equivalence_relation import Relation
from qtarget_inspect.analysis.gradient_rows import RowComparison
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.samples import set_log_odds
from qtarget_inspect.engine.target import InducedTarget

TOKENS = 256
"""Probe states a batch."""

PROBES = ((64, 0), (32, 1), (128, 2), (64, 3), (48, 4))
"""Vocabulary and seed of the probe batches whose p_y runs evenly in its log-odds."""

DENSE = (64, 5)
"""Vocabulary and seed of the batch whose p_y runs evenly itself, so that thresholds and steps show."""

TOP_ENTRIES = 4
"""How many entries of both targets a state of difference names."""


@dataclass(frozen=True)
class StateOfDifference:
    """The state on which two losses differ most.

    Args:
        batch: which batch, in words.
        token: its row there.
        label: the observed token.
        vocabulary: V.
        p_label: p_y.
        entropy: of the model, nats.
        difference: largest |g_a - g_b| there.
        top: (token, p, Q_a, Q_b) where the two targets differ most, the label first.
    """

    batch: str
    token: int
    label: int
    vocabulary: int
    p_label: float
    entropy: float
    difference: float
    top: tuple[tuple[int, float, float, float], ...]


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


def state_of_difference(
    relation: Relation,
    rows: RowComparison,
    batches: Sequence[tuple[str, TokenBatch]],
    pairs: Sequence[tuple[InducedTarget, InducedTarget]],
) -> StateOfDifference:
    """The state where the gradients differ most; for different directions, among those where they do.

    Args:
        relation: how the gradients are related.
        rows: the comparison, of all states.
        batches: the batches, each with what to call it.
        pairs: both targets on each.

    Returns:
        The state.
    """
    bent = ~rows.aligned if relation == "different" and not bool(rows.aligned.all()) else np.ones_like(rows.aligned)
    row = int(np.argmax(np.where(bent, rows.difference, -1.0)))
    difference = float(rows.difference[row])
    number = 0
    while row >= len(batches[number][1]):
        row -= len(batches[number][1])
        number += 1
    text, batch = batches[number]
    a, b = pairs[number]
    state = State(batch.select(row))
    apart = (a.g[row] - b.g[row]).abs()
    label = int(batch.labels[row])
    apart[label] = torch.inf
    shown = apart.topk(min(TOP_ENTRIES, batch.vocabulary)).indices.tolist()
    p = state.p[0]
    top = tuple((k, float(p[k]), float(a.q[row, k]), float(b.q[row, k])) for k in shown)
    p_label, entropy = float(state.p_label[0]), float(state.entropy[0])
    return StateOfDifference(text, row, label, batch.vocabulary, p_label, entropy, difference, top)
