"""Screening: a first look at all members of a family, on few tokens and from products alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qtarget_inspect.analysis.identification.families import Family
from qtarget_inspect.analysis.identification.spans import Left, Rows

SCREENED_TOKENS, FEWEST_SCREENED, SCREENED_ENTRIES = 14, 3, 150_000
"""Tokens that families are looked at on first; fewer of a large vocabulary, as many as have so many entries."""

SHORTEST = 1e-6
"""A member of which no more than this is new, per unit of its length, adds nothing."""


def screened_tokens(rows: Rows) -> int:
    """On how many tokens families are looked at first: fewer, where the vocabulary is large."""
    return max(FEWEST_SCREENED, min(SCREENED_TOKENS, SCREENED_ENTRIES // rows.gradient.shape[1]))


@dataclass(frozen=True)
class Members:
    """The members of a family on its grid, on n tokens.

    Args:
        columns: [n, width, members, V] their directions, scaled to length 1.
        own: [n, width, width, members] products of each member's directions.
    """

    columns: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, family: Family, rows: Rows) -> Members:
        """All members of a family on some rows."""
        width = len(family.make(family.grid[0]))
        count, vocabulary = rows.gradient.shape
        columns = np.empty((count, width, len(family.grid), vocabulary))
        for index, number in enumerate(family.grid):
            for place, direction in enumerate(family.make(number)):
                columns[:, place, index] = rows.column(direction)
        return cls(columns, np.einsum("namv,nbmv->nabm", columns, columns))

    def some(self, index: np.ndarray) -> np.ndarray:
        """[members, width, n, V] some of them."""
        return self.columns[:, :, index].transpose(2, 1, 0, 3)


def rough_squares(part: Left, members: Members) -> np.ndarray:
    """What `squares_left` gives, from products alone: good where it is not far below what there was.

    Args:
        part: what other directions leave, n rows.
        members: a family on the same rows.

    Returns:
        [members] squares.
    """
    across = np.stack([part.rest, *part.basis]).transpose(1, 2, 0)  # [n, V, 1 + basis]
    products = np.matmul(members.columns, across[:, None])  # [n, width, members, 1 + basis]
    onto, known = products[..., 0], products[..., 1:]  # with what is left; with what is spanned already
    squares = (part.rest**2).sum(-1)[:, None]  # [n, members]
    earlier: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for one in range(onto.shape[1]):
        new = [members.own[:, one, other] - (known[:, one] * known[:, other]).sum(-1) for other in range(onto.shape[1])]
        share = onto[:, one]
        for before, inverse, crossing in earlier:
            share = share - crossing * inverse * before
            new[one] = new[one] - crossing**2 * inverse
        inverse = np.where(new[one] > SHORTEST**2, 1 / np.maximum(new[one], SHORTEST**2), 0.0)
        squares = squares - share**2 * inverse
        if one + 1 < onto.shape[1]:
            earlier.append((share, inverse, new[one + 1]))
    return np.maximum(squares, 0.0).sum(0)


def squares_left(part: Left, members: np.ndarray) -> np.ndarray:
    """Squares that are left of the rows with each member of a family.

    Args:
        part: what other directions leave, n rows.
        members: [members, width, n, V] columns.

    Returns:
        [members] squares.
    """
    rest, basis = np.broadcast_to(part.rest, members.shape[:1] + part.rest.shape), list(part.basis)
    for column in members.swapaxes(0, 1):  # [members, width, n, V]
        for known in basis:
            column = column - (column * known).sum(-1, keepdims=True) * known
        length = np.sqrt((column**2).sum(-1, keepdims=True))
        new = column / np.where(length > SHORTEST, length, np.inf)
        rest = rest - (rest * new).sum(-1, keepdims=True) * new
        basis.append(new)
    return (rest**2).sum((-1, -2))
