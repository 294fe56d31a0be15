"""Holding: laws held against a target that was differentiated, row by row."""

from __future__ import annotations

import torch

from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import row_size
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.vocabulary.pulls import Pulls


def largest_error(pulls: Pulls, target: InducedTarget) -> float:
    """How far the Q of some pulls lies from a target, per unit of a row's size.

    Args:
        pulls: directions with laws, all of them known.
        target: what the loss has on some tokens.

    Returns:
        The largest |Q_pulls - Q| over a row's largest entry, at least 1.
    """
    batch, worst = target.batch, 0.0
    weights = pulls.weights(State(batch, torch.float64))
    for rows in row_chunks(len(batch), rows_per_chunk(batch.vocabulary, torch.float64, batch.logits.device)):
        state = State(batch.select(rows), torch.float64)
        q = pulls.target(state, {name: weight[rows] for name, weight in weights.items()})
        error = (q - target.q[rows]).abs().amax(-1) / row_size(q)
        worst = max(worst, float(error.max()))
    return worst
