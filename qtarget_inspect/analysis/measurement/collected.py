"""Collected: numbers of all N tokens by key, gathered piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.law_state import LABEL_LOG_PROB, ONE_MINUS_LABEL, label_key
from qtarget_inspect.analysis.measurement.reading import Reading
from qtarget_inspect.analysis.measurement.sources import SELF
from qtarget_inspect.analysis.measurement.stream import Stream
from qtarget_inspect.core.state import State

Compute = Callable[[State], Tensor] | None


class PieceQuantities:
    """Numbers of the tokens of one piece, read once.

    Args:
        reading: the piece.
        alias: model -> an earlier one with the same logits.
    """

    def __init__(self, reading: Reading, alias: Mapping[str, str]) -> None:
        self.reading = reading
        self.alias = alias
        self.found: dict[Any, tuple[Tensor, Compute]] = {}

    def quantity(self, key: Any, compute: Compute) -> Tensor:
        """[n] a number of every token by its key."""
        if key not in self.found:
            self.found[key] = self._read(key, compute), compute
        return self.found[key][0]

    def _read(self, key: Any, compute: Compute) -> Tensor:
        if key == ONE_MINUS_LABEL:
            return self.reading.mass(SELF)
        if compute is None:
            return self.reading.log_label(self.alias.get(key[1], key[1]))
        return compute(State(self.reading.batch, self.reading.scratch.dtype))


class Collected:
    """Numbers of all tokens; what no piece was asked for is streamed for by itself.

    Args:
        stream: the tokens.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.wanted: dict[Any, Compute] = {}
        self._parts: dict[Any, dict[int, Tensor]] = {}
        self._tables: dict[Any, Tensor] = {}

    def store(self, key: Any, rows: slice, values: Tensor) -> None:
        """Keep the numbers of some rows.

        Args:
            key: their name.
            rows: where they stand among the N tokens.
            values: [n] the numbers; or [1], the same for all rows.
        """
        self._parts.setdefault(key, {})[rows.start] = values
        self._tables.pop(key, None)

    def get(self, key: Any) -> Tensor:
        """[N] float64 numbers of a name; NaN where no piece had any."""
        if key not in self._tables:
            size, device = len(self.stream), self.stream.device
            parts = self._parts.get(key, {})
            if sum(part.shape[0] for part in parts.values()) == size:
                table = torch.cat([parts[start] for start in sorted(parts)]).to(torch.float64)
            else:
                table = torch.full((size,), torch.nan, dtype=torch.float64, device=device)
                for start, part in parts.items():
                    table[start : start + part.shape[0]] = part.to(torch.float64)
            self._tables[key] = table
        return self._tables[key]

    def rows(self, key: Any) -> Tensor:
        """[N, k] numbers of a name that all pieces had."""
        parts = self._parts[key]
        return torch.cat([parts[start] for start in sorted(parts)])

    def has(self, key: Any) -> bool:
        """Whether any piece had numbers of that name."""
        return key in self._parts

    def at(self, key: Any, rows: slice) -> Tensor | None:
        """[n] numbers of a name as the piece that stands there had them; None where it had none."""
        return self._parts.get(key, {}).get(rows.start)

    def has_at(self, key: Any, rows: slice) -> bool:
        """Whether the piece that stands there had numbers of that name."""
        return rows.start in self._parts.get(key, ())

    def forget(self) -> None:
        """Give up all that pieces had, so that they can be read again."""
        self._parts.clear()
        self._tables.clear()

    def put(self, key: Any, values: Tensor) -> None:
        """Keep [N] numbers that were worked out from others."""
        self._tables[key] = values
        self._parts[key] = {0: values}

    def quantity(self, key: Any, compute: Compute) -> Tensor:
        """[N] a number of every token by its key."""
        if isinstance(key, tuple) and key[0] == LABEL_LOG_PROB:
            key = label_key(self.stream.alias.get(key[1], key[1]))
        if sum(part.shape[0] for part in self._parts.get(key, {}).values()) < len(self.stream):
            for rows, piece in self.stream.pieces(self.stream.rows(4)):
                self.store(key, rows, _computed(State(piece, self.stream.dtype), key, compute))
        return self.get(key)


def _computed(state: State, key: Any, compute: Compute) -> Tensor:
    if key == ONE_MINUS_LABEL:
        return state.one_minus_p_label
    return state.log_prob_of_label(key[1]) if compute is None else compute(state)
