"""Structure: directions as combinations of few rows off the label, and one entry at it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction

_LABEL, _UNIFORM, _OTHERS, _NOWHERE = (
    directions.label(),
    directions.uniform(),
    directions.others(),
    directions.nowhere(),
)
_MODELS = {directions.context_model(name): name for name in LOGIT_CONTEXT}


@dataclass(frozen=True)
class Structure:
    """J directions made of K rows: p, one row of its own for each direction that needs one, and a row of ones.

        off the label   label p    uniform p - 1 / V      reference p - b    others -p_y / (1 - p_y) p    nowhere p
        at the label    p_y - 1    p_y - 1 / V            p_y - b_y          p_y                          p_y

    So label, others and nowhere need no rows but p, and that they are collinear off the label is exact.

    Two models with the same logits share a row, so that they are collinear is exact as well.

    Args:
        attractors: the J directions.
        own: M directions with a row of their own, one for each row.
        row: [J] which of these rows a direction is, None where it is made of p and ones.
    """

    attractors: tuple[Direction, ...]
    own: tuple[Direction, ...]
    row: tuple[int | None, ...]

    @classmethod
    def of(cls, attractors: tuple[Direction, ...], batch: TokenBatch) -> Structure:
        """The structure of some directions.

        Args:
            attractors: the directions.
            batch: the tokens.

        Returns:
            The structure.
        """
        own: list[Direction] = []
        row: list[int | None] = []
        for direction in attractors:
            if direction in (_LABEL, _UNIFORM, _OTHERS, _NOWHERE):
                row.append(None)
                continue
            same = [index for index, other in enumerate(own) if _same_model(direction, other, batch)]
            row.append(same[0] if same else len(own))
            own += [] if same else [direction]
        return cls(attractors, tuple(own), tuple(row))

    @property
    def ones(self) -> int:
        """Index of the row of ones, the last one."""
        return 1 + len(self.own)

    def rows_of(self, subset: tuple[int, ...]) -> list[int]:
        """Which of the K rows a set of directions is made of.

        Args:
            subset: indices of the directions.

        Returns:
            Indices of the rows: 0 is p, 1 to M the directions' own, M + 1 the ones.
        """
        needed = set()
        for index in subset:
            own = self.row[index]
            needed |= {0} if own is None else {1 + own}
            needed |= {self.ones} if self.attractors[index] == _UNIFORM else set()
        return sorted(needed)

    def fixed_coefficients(self, vocabulary: int) -> Tensor:
        """[K, J] coefficients of the rows in the directions, those that vary from token to token 0; float64."""
        fixed = torch.zeros(self.ones + 1, len(self.attractors), dtype=torch.float64)
        for column, (direction, own) in enumerate(zip(self.attractors, self.row, strict=True)):
            fixed[0 if own is None else 1 + own, column] = float(direction != _OTHERS)
            fixed[self.ones, column] = -1.0 / vocabulary if direction == _UNIFORM else 0.0
        return fixed

    def coefficients(self, fixed: Tensor, p_label: Tensor, one_minus_p_label: Tensor) -> Tensor:
        """How the directions are made of the rows.

        Args:
            fixed: [K, J] what `fixed_coefficients` gives.
            p_label: [N] p_y, float64.
            one_minus_p_label: [N] 1 - p_y, float64.

        Returns:
            [N, K, J] coefficients.
        """
        coefficients = fixed.repeat(len(p_label), 1, 1)
        if _OTHERS in self.attractors:
            coefficients[:, 0, self.attractors.index(_OTHERS)] = -p_label / one_minus_p_label
        return coefficients

    def entries(self, p_label: Tensor, one_minus_p_label: Tensor, own: Tensor, vocabulary: int) -> Tensor:
        """The directions' entries at the label.

        Args:
            p_label: [N] p_y, float64.
            one_minus_p_label: [N] 1 - p_y, float64.
            own: [N, M] entries of the rows that are directions themselves.
            vocabulary: V.

        Returns:
            [N, J] entries.
        """
        columns = []
        for direction, row in zip(self.attractors, self.row, strict=True):
            if row is not None:
                columns.append(own[:, row])
            elif direction == _LABEL:
                columns.append(-one_minus_p_label)
            else:
                columns.append(p_label - 1 / vocabulary if direction == _UNIFORM else p_label)
        return torch.stack(columns, -1)


def model_of(direction: Direction) -> str | None:
    """The name of a context model's logits in a batch where a direction is toward that model, else None.

    Args:
        direction: any direction.

    Returns:
        "reference_logits", "teacher_logits", "old_logits", or None.
    """
    return _MODELS.get(direction)


def _same_model(direction: Direction, other: Direction, batch: TokenBatch) -> bool:
    """Whether two directions are toward models with the same logits."""
    names = model_of(direction), model_of(other)
    if names[0] is None or names[1] is None:
        return False
    first, second = getattr(batch, names[0]), getattr(batch, names[1])
    return first is not None and second is not None and torch.equal(first, second)
