"""Detached loss: pulls turned back into a loss, each a cross entropy to what it pulls to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.numerics import expectation
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.directions import Direction


@dataclass(frozen=True, eq=False)
class DetachedLoss:
    """sum_j sg(a_j) CE(sg b_j, p) as a callable loss.

    Args:
        directions: what is pulled to, by name; distributions only.
        weights: a_j by direction name, [N] each, as a function of the whole batch's state.
    """

    directions: Mapping[str, Direction]
    weights: Callable[[State], dict[str, Tensor]]

    def __call__(self, logits: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        """Per-token values [N]."""
        state = State(TokenBatch.unchecked({"logits": logits.detach(), "labels": labels, **context}), fast=False)
        log_p = logits.log_softmax(-1)
        values = torch.zeros_like(log_p[:, 0])
        for name, weight in self.weights(state).items():
            cross_entropy = -expectation(self.directions[name].values(state), log_p)
            values = values + weight * torch.where(weight == 0, 0.0, cross_entropy)
        return values
