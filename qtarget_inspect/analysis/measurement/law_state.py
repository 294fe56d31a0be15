"""Law state: where pull weights are evaluated, in float64 from numbers that were read in another type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.state import State

ONE_MINUS_LABEL = "one_minus_p_label"
"""The key of 1 - p_y."""


LABEL_LOG_PROB = "log_prob_of_label"
"""The first part of the key of a model's log-probability of the label."""


def label_key(name: str) -> tuple[str, str]:
    """The key of a model's log-probability of the label."""
    return (LABEL_LOG_PROB, name)


class Quantities(Protocol):
    """Where numbers of tokens come from."""

    def quantity(self, key: Any, compute: Callable[[State], Tensor] | None) -> Tensor:
        """[n] a number of every token by its key; `compute` says how, None for what is read anyway."""


class LawState(State):
    """A state whose numbers of tokens were read already.

    Laws add, multiply and compare such numbers. In float64 a sum like p_y + (1 - p_y) is 1 whatever type p was read
    in, and the gauge is judged alike in all types.

    Args:
        batch: the tokens; only what has shape [n] is used.
        read: where numbers come from.
    """

    def __init__(self, batch: TokenBatch, read: Quantities) -> None:
        super().__init__(batch, torch.float64)
        self._read = read

    @property
    def one_minus_p_label(self) -> Tensor:
        """[n] 1 - p_y."""
        return self.per_token(ONE_MINUS_LABEL, None)

    def log_prob_of_label(self, name: str) -> Tensor:
        """[n] log-probability of the label under a model, nats."""
        return self.per_token(label_key(name), None)

    def per_token(self, key: Any, compute: Callable[[State], Tensor] | None) -> Tensor:
        """[n] a number of every token, float64."""
        if key not in self._per_token:
            self._per_token[key] = self._read.quantity(key, compute).to(torch.float64)
        return self._per_token[key]
