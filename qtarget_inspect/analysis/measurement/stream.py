"""Stream: N tokens handed out piece by piece, so that one procedure measures what lies in memory and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TOKEN_CONTEXT, TokenBatch
from qtarget_inspect.core.chunks import CUDA_CHUNK_BYTES, row_chunks
from qtarget_inspect.core.hidden_states import HiddenStates
from qtarget_inspect.core.state import MODEL

PIECE_BYTES = 2**23
"""Budget of one piece a thread: each of its arrays lies near the second cache of a core. Smaller pieces cost calls."""

MOST_BYTES = 2**25
"""Budget of one piece, however many threads there are."""


@dataclass(frozen=True)
class Stream:
    """N tokens in pieces.

    Args:
        tokens: all N tokens without rows: labels and context of shape [N]; its logits hold no numbers.
        batches: makes the batches, in order; may be asked several times.
        dtype: type to compute in.
        device: where the rows lie.
        alias: model -> an earlier one with the very same logits, so that they are read once.
    """

    tokens: TokenBatch
    batches: Callable[[], Iterator[TokenBatch]]
    dtype: torch.dtype
    device: torch.device
    alias: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of tokens N."""
        return len(self.tokens)

    def rows(self, arrays: int, shared: bool = False) -> int:
        """Rows a piece, so that all arrays of a piece lie near the processor's caches.

        Args:
            arrays: how many [rows, V] tensors are held at once.
            shared: whether the cache that all cores share will do, where calls cost more than the way to it.

        Returns:
            At least one row, at most N.
        """
        cached = MOST_BYTES if shared else PIECE_BYTES * torch.get_num_threads()
        budget = CUDA_CHUNK_BYTES if self.device.type == "cuda" else min(cached, MOST_BYTES)
        fitting = budget // (self.tokens.vocabulary * self.dtype.itemsize * arrays)
        return max(1, min(fitting, len(self)))

    def pieces(self, rows: int) -> Iterator[tuple[slice, TokenBatch]]:
        """Pieces of at most so many rows, in order.

        Args:
            rows: the most rows a piece.

        Yields:
            Where the piece stands among the N tokens, and the piece.
        """
        start, batches = 0, self.batches()
        while (batch := next(batches, None)) is not None:
            size = len(batch)
            for part in row_chunks(size, rows):
                yield slice(start + part.start, start + part.stop), batch.select(part)
            start += size
            del batch  # before the next one is made


def stream_of_batch(batch: TokenBatch, dtype: torch.dtype) -> Stream:
    """A batch in memory as a stream.

    Args:
        batch: the tokens.
        dtype: type to compute in.

    Returns:
        The stream.
    """
    tokens = without_rows(batch, dtype)
    return Stream(tokens, lambda: iter((batch,)), dtype, batch.logits.device, _same_logits(batch))


def stream_of_hidden(states: HiddenStates, dtype: torch.dtype) -> Stream:
    """Hidden states as a stream: logits are made anew each time it is read.

    Args:
        states: the tokens.
        dtype: type to compute in.

    Returns:
        The stream.
    """
    return Stream(without_rows(states, dtype), states.chunks, dtype, states.hidden.device)


def _same_logits(batch: TokenBatch) -> dict[str, str]:
    """Model -> an earlier one whose logits are the same memory."""
    first: dict[tuple[Any, ...], str] = {}
    alias = {}
    for name in (MODEL, *LOGIT_CONTEXT):
        logits = getattr(batch, name)
        if logits is not None:
            memory = (logits.data_ptr(), logits.shape, logits.stride(), logits.dtype)
            alias[name] = first.setdefault(memory, name)
    return {name: other for name, other in alias.items() if name != other}


def without_rows(source: TokenBatch | HiddenStates, dtype: torch.dtype) -> TokenBatch:
    """Tokens whose logits have a shape and no numbers: reading them is an error, not a wrong result.

    Args:
        source: the tokens.
        dtype: the logits' type.

    Returns:
        The batch.
    """
    fields: dict[str, Any] = {name: getattr(source, name) for name in (*TOKEN_CONTEXT, "labels", "tokens")}
    held = [name for name in LOGIT_CONTEXT if getattr(source, name) is not None]
    logits = torch.empty(len(source), source.vocabulary, dtype=dtype, device="meta")
    return TokenBatch.unchecked({**fields, **dict.fromkeys((MODEL, *held), logits)})
