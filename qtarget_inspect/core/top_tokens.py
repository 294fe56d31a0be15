"""Top tokens: the largest entries of every row, by block maxima; exact, and far cheaper than a selection over V."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.chunks import row_chunks
from qtarget_inspect.core.fast_paths import fast_paths_enabled

BLOCK = 64
"""Neighbours that share a maximum."""

ROWS = 512
"""Rows at a time: what is kept of a row is about V / 64 + 64 k numbers."""


def top_tokens(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of every row, in falling order, with where they stand.

    The row is cut into blocks of 64, each with its maximum. The k largest entries lie in the k blocks of largest
    maximum: an entry elsewhere has k entries that are no smaller. So one pass of maxima and two selections over a few
    per cent of the row do what `torch.topk` does over V. Among equal entries either may choose another.

    Args:
        values: [n, V] numbers without NaN; -inf is allowed.
        k: how many, cut to V.

    Returns:
        [n, k] values and their [n, k] indices.

    Examples:
        >>> top, index = top_tokens(torch.tensor([[0.1, 0.7, 0.2]]), 2)
        >>> index.tolist()
        [[1, 2]]
    """
    k = min(k, values.shape[-1])
    blocks = values.shape[-1] // BLOCK
    if blocks < 8 * k or values.stride(-1) != 1 or not fast_paths_enabled():  # too short to gain anything
        top = values.topk(k, dim=-1)
        return top.values, top.indices
    parts = [_top_of_rows(values[rows], k, blocks) for rows in row_chunks(len(values), ROWS)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _top_of_rows(values: Tensor, k: int, blocks: int) -> tuple[Tensor, Tensor]:
    """The same of some rows."""
    rows, size = values.shape
    covered = blocks * BLOCK
    blocked = values[:, :covered].unflatten(-1, (blocks, BLOCK))
    best = blocked.amax(-1).topk(k, dim=-1, sorted=False).indices
    candidates = blocked.gather(1, best.unsqueeze(-1).expand(-1, -1, BLOCK)).flatten(1)
    start = best * BLOCK
    if covered < size:  # the entries after the last whole block are candidates all of them
        candidates = torch.cat([candidates, values[:, covered:]], -1)
        start = torch.cat([start, start.new_full((rows, 1), covered)], -1)
    top = candidates.topk(k, dim=-1)
    place = top.indices
    return top.values, start.gather(-1, place // BLOCK) + place % BLOCK
