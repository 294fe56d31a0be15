"""Closed form: Q from a variant's declared pulls, without differentiating anything."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import describe_tokens
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.reduction import Reduction
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants.variant import Variant

PER_TOKEN = Reduction("none", "none: the closed form is per token")


def closed_form(
    variant: Variant, batch: TokenBatch, dtype: torch.dtype, chunk_size: int | None, out: Tensor
) -> InducedTarget:
    """Q = (1 - S) p + sum_j a_j b_j from the declared pulls; weights first, on the whole batch, then rows in chunks.

    Args:
        variant: a variant with pulls.
        batch: the tokens.
        dtype: compute type.
        chunk_size: rows at a time, None for a budget.
        out: [N, V] where Q goes.

    Returns:
        The induced target.

    Raises:
        LossError: Q is not finite somewhere.
    """
    pulls = variant.pulls
    assert pulls is not None
    adapt(variant.bound_loss, name=variant.label, layout="flat").required_context(batch)
    weights = pulls.weights(State(batch, dtype))
    chunk = rows_per_chunk(batch.vocabulary, dtype, batch.logits.device, chunk_size)
    mass = torch.empty(len(batch), dtype=dtype, device=batch.logits.device)
    for rows in row_chunks(len(batch), chunk):
        part = {name: weight[rows] for name, weight in weights.items()}
        pulls.target(State(batch.select(rows), dtype), part, out=out[rows])
        mass[rows] = out[rows].sum(-1)
    if not bool(torch.isfinite(mass.sum())):
        where = describe_tokens(~torch.isfinite(mass))
        raise LossError(f"{variant.label} has no finite target for {where} of the batch.")

    def make_gradient() -> Tensor:
        gradient = torch.empty_like(out)
        for rows in row_chunks(len(batch), chunk):
            part = {name: weight[rows] for name, weight in weights.items()}
            gradient[rows] = pulls.gradient(State(batch.select(rows), dtype), part)
        return gradient

    return InducedTarget(
        out, mass, batch, variant.label, "closed-form", PER_TOKEN, variant.coupling, variant, (), make_gradient
    )
