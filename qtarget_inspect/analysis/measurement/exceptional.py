"""Exceptional rows: tokens whose sums are no numbers (0 times infinity), computed by their definitions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.effective import Effective
from qtarget_inspect.analysis.measurement.numbers import FULL_TRUST
from qtarget_inspect.analysis.measurement.plain import values_of_rows
from qtarget_inspect.analysis.measurement.stream import Stream
from qtarget_inspect.core.checks import describe_tokens
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.state import State
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge, total_pull

_ARRAYS = 12
"""Arrays [rows, V] that the definitions hold at once."""


def exceptional_values(
    values: dict[str, Tensor],
    spoiled: Tensor,
    variant: Variant,
    weights: Mapping[str, Tensor],
    gauge: PullGauge,
    effective: Effective,
    stream: Stream,
) -> None:
    """Put the numbers of some tokens, by their definitions, where sums gave none.

    Args:
        values: name -> [N], written to.
        spoiled: [N] bool, the tokens.
        variant: the loss.
        weights: name -> [N] its weights.
        gauge: the gauge.
        effective: the weights in that gauge.
        stream: the tokens.

    Raises:
        LossError: the target is not finite there either.
    """
    pulls = variant.pulls
    assert pulls is not None
    for rows, piece in stream.pieces(stream.rows(_ARRAYS)):
        picked = spoiled[rows].nonzero().flatten()
        if not len(picked):
            continue
        state, where = State(piece.select(picked), stream.dtype), picked + rows.start
        part = {name: weight[where].to(stream.dtype) for name, weight in weights.items()}
        if gauge == "unit":
            q = pulls.target(state, part)
        else:
            total = total_pull(pulls.directions, part)
            defined = torch.where(effective.undefined[where], torch.nan, total)
            q = state.p - pulls.gradient(state, part) / defined.unsqueeze(-1)
        gamma = effective.gamma[where]
        free = torch.where((1 - gamma).abs() <= FULL_TRUST[stream.dtype], torch.nan, 1 - gamma)
        index = state.labels.unsqueeze(-1)
        remainder = q.scatter_add(-1, index, -gamma.to(q.dtype).unsqueeze(-1))
        residual = (remainder.to(free.dtype) / free.unsqueeze(-1)).to(q.dtype)
        for name, found in values_of_rows(q, residual, 1 - gamma, state, stream.dtype).items():
            values[name][where] = found.to(torch.float64)
    lost = spoiled & ~torch.isfinite(values["mass"]) & ~effective.undefined
    if bool(lost.any()):
        raise LossError(f"{variant.label} has no finite target for {describe_tokens(lost)} of the batch.")
