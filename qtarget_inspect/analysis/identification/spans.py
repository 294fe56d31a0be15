"""Spans: gradient rows, and what sets of directions leave of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qtarget_inspect.analysis.identification.observation import Observation
from qtarget_inspect.vocabulary.directions import Direction

MASS_ROUNDING = 16
"""Rounding of a sum of entries, in units of the machine precision and of the root of their number."""


class Rows:
    """Gradient rows scaled to size 1, the label's entry left out, what is lost of their mass taken away."""

    def __init__(self, observed: Observation, tolerance: float) -> None:
        self.observed, self.tolerance = observed, tolerance
        gradient = observed.gradient.numpy()
        self.labels = observed.batch.labels.numpy()[:, None]
        size = np.abs(gradient).max(-1, keepdims=True)
        mass = gradient.sum(-1, keepdims=True)
        # an entry p_y - 1 is rounded as a number of size 1: the largest gradients tell what that is here
        rounding = MASS_ROUNDING * observed.eps * np.sqrt(gradient.shape[-1]) * size.max()
        self.loses_mass = bool((np.abs(mass) > np.maximum(rounding, 10 * tolerance * size)).any())
        if self.loses_mass:
            gradient = gradient - mass * observed.state.p.numpy()
        self.gradient = self._off_label(gradient / size)  # [n, V]
        # what cancels in a row leaves rounding of the usual size: by so much more may be left of a small row
        self.trust = np.minimum(1.0, size / np.median(size)) ** 2  # [n, 1], and so little do they tell of a number
        self.slack = 1 + 8 * observed.eps * np.median(size) / (tolerance * size)  # [n, 1]

    def every(self, step: int) -> Rows:
        """Every so-manieth row."""
        return Rows(self.observed.rows(torch.arange(len(self.gradient))[::step]), self.tolerance)

    def _off_label(self, rows: np.ndarray) -> np.ndarray:
        """Where all directions sum to zero the label's entry follows, and it has lost its digits where p_y -> 1."""
        rows = rows.copy()
        np.put_along_axis(rows, self.labels, 0.0, axis=-1)
        return rows

    def column(self, direction: Direction) -> np.ndarray:
        """[n, V] a direction, scaled to length 1; 0 where it vanishes."""
        rows = self._off_label(direction.gradient(self.observed.state).numpy())
        length = np.sqrt((rows**2).sum(-1, keepdims=True))
        return rows / np.where(length > 1e-13, length, np.inf)

    def relative(self, rest: np.ndarray) -> float:
        """Largest entry that is left, as a share of its row's gradient."""
        return float((np.abs(rest) / self.slack).max()) if rest.size else 0.0


@dataclass(frozen=True)
class Left:
    """What a set of directions leaves of the gradient: rows [n, V], and the orthonormal columns they span."""

    rest: np.ndarray
    basis: tuple[np.ndarray, ...] = ()

    @classmethod
    def start(cls, gradient: np.ndarray) -> Left:
        """All of the gradient, nothing spanned yet."""
        return cls(gradient)

    def orthogonal(self, column: np.ndarray) -> np.ndarray:
        """The part of a column that is new, scaled to length 1; 0 where nothing is. Twice is enough (Kahan)."""
        for _ in range(2):
            for known in self.basis:
                column = column - (column * known).sum(-1, keepdims=True) * known
        length = np.sqrt((column**2).sum(-1, keepdims=True))
        return column / np.where(length > 1e-8, length, np.inf)

    def every(self, step: int) -> Left:
        """What is left of every so-manieth row."""
        return Left(self.rest[::step], tuple(column[::step] for column in self.basis))

    def without(self, column: np.ndarray) -> Left:
        """What is left with one more direction."""
        new = self.orthogonal(column)
        return Left(self.rest - (self.rest * new).sum(-1, keepdims=True) * new, (*self.basis, new))
