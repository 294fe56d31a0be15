"""Problem: a gradient, the tokens it belongs to, and the directions to fit to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.vocabulary.directions import Direction


@dataclass(frozen=True, eq=False)
class Problem:
    """Least squares of g over J directions, on N tokens.

    The label's own entry is left out of the squares: where every direction sums to zero it follows from the others, and
    it alone has lost its relative precision at p_y -> 1. With a pull nowhere it does not follow, and is kept.

    Args:
        gradient: [N, V] logit gradient of the per-token loss.
        batch: the tokens.
        attractors: J directions, the label among them.
    """

    gradient: Tensor
    batch: TokenBatch
    attractors: tuple[Direction, ...]

    def __len__(self) -> int:
        """Number of tokens N."""
        return len(self.batch)

    @property
    def names(self) -> list[str]:
        """[J] names of the directions."""
        return [direction.name for direction in self.attractors]

    @property
    def keeps_label(self) -> bool:
        """Whether the label's entry counts in the squares."""
        return any(direction.kind == "nowhere" for direction in self.attractors)

    def rows(self, index: slice | Tensor) -> Problem:
        """The problem of some of the tokens."""
        return Problem(self.gradient[index], self.batch.select(index), self.attractors)


@dataclass(frozen=True, eq=False)
class Solution:
    """Pull weights over a set of directions, and what they leave.

    Args:
        weights: [N, J] float64, 0 for directions outside the set.
        off_label: [N] float64, largest entry of |g - sum_j a_j d_j| off the label.
        at_label: [N] float64, size of the label's entry of the same.
    """

    weights: Tensor
    off_label: Tensor
    at_label: Tensor

    @property
    def unexplained(self) -> Tensor:
        """[N] largest entry of |g - sum_j a_j d_j|."""
        return torch.maximum(self.off_label, self.at_label)

    @classmethod
    def join(cls, parts: Sequence[Solution]) -> Solution:
        """The solutions of several parts, one after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def with_rows(self, index: Tensor, part: Solution) -> Solution:
        """The solution with some of its rows from another one.

        Args:
            index: [n] row numbers.
            part: the solution of those rows.

        Returns:
            A new solution.
        """
        return Solution(
            *(getattr(self, one.name).index_copy(0, index, getattr(part, one.name)) for one in fields(self))
        )
