"""Row chunks: how many rows of [N, V] to work on at once."""

from collections.abc import Iterator

import torch

CHUNK_BYTES = 2**24
"""Default budget of one chunk, temporaries included: small enough to stay in the processor's caches, large enough that
a few dozen calls a chunk cost little beside the arithmetic."""

CUDA_CHUNK_BYTES = 2**30
"""Default budget of one chunk on a GPU, where launches cost more than cache misses."""

ARRAYS = 5
"""Arrays [rows, V] that a chunk counts: a cross entropy and its gradient hold five at once, an entropy term eight."""


def rows_per_chunk(
    vocabulary: int, dtype: torch.dtype, device: torch.device, chunk_size: int | None = None, arrays: int = ARRAYS
) -> int:
    """Number of rows that one chunk holds: budget / (V * itemsize * arrays).

    Args:
        vocabulary: V.
        dtype: the type that is computed in.
        device: where the rows lie.
        chunk_size: the user's own choice of rows, or None.
        arrays: how many arrays [rows, V] are held at once.

    Returns:
        At least one row.
    """
    if chunk_size is not None:
        return chunk_size
    budget = CUDA_CHUNK_BYTES if device.type == "cuda" else CHUNK_BYTES
    return max(1, budget // (vocabulary * dtype.itemsize * arrays))


def row_chunks(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover range(rows) in order.

    Args:
        rows: N.
        size: rows a chunk.

    Yields:
        One slice a chunk.

    Examples:
        >>> list(row_chunks(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
