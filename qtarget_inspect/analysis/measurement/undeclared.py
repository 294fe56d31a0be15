"""Undeclared: a loss without declared pulls on hidden states, inverted chunk by chunk."""

from __future__ import annotations

from typing import Any

import torch

from qtarget_inspect.analysis.decomposition import Gauge
from qtarget_inspect.analysis.measurement.plain import measure_target
from qtarget_inspect.analysis.measurement.records import LossMeasurement, joined
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.hidden_states import HiddenStates
from qtarget_inspect.engine.inversion import invert


def measure_in_chunks(
    loss: Any, states: HiddenStates, gauge: Gauge, top: int | None, dtype: torch.dtype | None
) -> LossMeasurement:
    """The numbers of one loss, each chunk a batch of its own.

    Args:
        loss: a callable or a variant.
        states: the tokens.
        gauge: "natural" (as the first chunk has it), "unit" or "normalized".
        top: how many tokens that gain and lose most are wanted; None for none.
        dtype: type to compute in.

    Returns:
        Its record.

    Raises:
        LossError: tokens of a chunk depend on each other.
    """
    parts: list[LossMeasurement] = []
    for batch in states.chunks():
        target = invert(loss, batch, dtype=dtype)
        if target.coupled is not None and len(states) > len(batch):
            raise LossError(
                f"{target.loss} couples the tokens of a batch ({target.coupled}), and a chunk of hidden states cuts "
                "them apart. Measure it on a TokenBatch that holds all of them, or register it with its pulls."
            )
        parts.append(measure_target(loss, target, parts[0].gauge if parts else gauge, top))
        del target
    return joined(parts)
