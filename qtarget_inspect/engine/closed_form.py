"""Closed form: Q from a variant's declared pulls, without differentiating anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import describe_tokens
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.fast_paths import fast_paths_enabled
from qtarget_inspect.core.memory import empty
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.reduction import Reduction
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary.pulls import LABEL, Pulls

ARRAYS = 3
"""Arrays [rows, V] that a chunk has in the caches at once: logits, Q, and one attractor at a time."""

ARRAYS_OF_LABEL = 1
"""The same where the label is the only attractor: Q, beside logits that are read once."""

PER_TOKEN = Reduction("none", "none: the closed form is per token")


def closed_form(
    variant: Variant, batch: TokenBatch, dtype: torch.dtype, chunk_size: int | None, out: Tensor
) -> InducedTarget:
    """Q = (1 - S) p + sum_j a_j b_j from the declared pulls, rows in chunks.

    Weights that follow from a token's own row are read off the chunk's p, which is there already; others (a mean over a
    sequence) are computed first, on the whole batch.

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
    first = None if pulls.row_local and fast_paths_enabled() else pulls.weights(State(batch, dtype))
    label_only = set(pulls.directions) == {LABEL} and batch.logits.dtype == dtype
    arrays = ARRAYS_OF_LABEL if label_only else ARRAYS

    def chunk_of(arrays: int) -> int:
        return rows_per_chunk(batch.vocabulary, dtype, batch.logits.device, chunk_size, arrays)

    def states(chunk: int) -> Iterator[tuple[slice, State, dict[str, Tensor] | None]]:
        """Each chunk's rows, their state, and their weights where those are known already."""
        for rows in row_chunks(len(batch), chunk):
            known = None if first is None else {name: weight[rows] for name, weight in first.items()}
            yield rows, State(_rows(batch, rows, dtype, pulls.requires), dtype), known

    for rows, state, weights in states(chunk := chunk_of(arrays)):
        _target_of_rows(pulls, state, weights, out[rows])
    finite = _is_finite(out, pulls, batch.labels, chunk)
    if not bool(finite.all()):
        raise LossError(f"{variant.label} has no finite target for {describe_tokens(~finite)} of the batch.")

    def make_gradient() -> Tensor:
        gradient = empty(*out.shape, dtype=out.dtype, device=out.device)
        for rows, state, weights in states(chunk_of(ARRAYS)):
            pulls.gradient(state, pulls.weights(state) if weights is None else weights, out=gradient[rows])
        return gradient

    return InducedTarget(
        out, batch, variant.label, "closed-form", PER_TOKEN, variant.coupling, variant, (), make_gradient
    )


def _rows(batch: TokenBatch, rows: slice, dtype: torch.dtype, context: Collection[str]) -> TokenBatch:
    """Some rows with the context that the pulls need; half precision is upcast here, once."""
    fields = {name: getattr(batch, name)[rows] for name in ("logits", "labels", *context)}
    for name, value in fields.items():
        if value.dtype != dtype and value.is_floating_point():
            fields[name] = value.to(dtype)
    return TokenBatch.unchecked(fields)


def _target_of_rows(pulls: Pulls, state: State, weights: Mapping[str, Tensor] | None, out: Tensor) -> None:
    """Write Q of a chunk into `out`; its weights are read off p where they are not given."""
    if pulls.model_share != 0:
        state.lend(torch.softmax(state.batch.logits, -1, out=out))
    pulls.turn(out, state, pulls.weights(state) if weights is None else weights)


def _is_finite(q: Tensor, pulls: Pulls, labels: Tensor, chunk: int) -> Tensor:
    """[N] bool, where Q is finite."""
    # A row of p, of b or of a weight that is not finite spoils all of Q's row, its label's entry included. A tilt may
    # spoil single entries, so there all of them are looked at.
    if any(direction.kind != "toward" for direction in pulls.directions.values()):
        return torch.cat([torch.isfinite(q[rows].sum(-1)) for rows in row_chunks(len(q), chunk)])
    return torch.isfinite(q.gather(-1, labels.unsqueeze(-1)).squeeze(-1))
