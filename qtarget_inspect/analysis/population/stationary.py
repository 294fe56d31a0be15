"""Stationary points: E_{y~q*}[g] = 0 solved for on the simplex and on its faces, and the Jacobian there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Field, Population
from qtarget_inspect.analysis.population.tolerances import (
    DECISIVE,
    DEEP,
    DIFFERENCE,
    SAME_POINT,
    SOLVER_STEP,
    STATIONARY,
    SUPPORT,
)
from qtarget_inspect.core.errors import LossError

FACES_UP_TO = 4
"""Vocabulary up to which every face is looked at; above it, vertices alone."""

VERTICES_UP_TO = 8
"""Vocabulary up to which every vertex is looked at; above it, what the flow finds."""

NUDGES = (0.3, 3.0)
"""Nats along a direction in which nothing changes, to see whether points lie on a continuum."""


@dataclass(frozen=True, eq=False)
class Stationary:
    """A state at which p rests.

    Args:
        logits: [V] with what has died out DEEP below.
        support: [V] bool, the tokens that are alive.
        residual: largest |E[g]| among them, constants projected out, in units of a typical gradient.
        eigenvalues: of the Jacobian of -E[g] on them, constants projected out, complex; none at a vertex.
        continuum: whether points next to it are stationary too.
    """

    logits: Tensor
    support: Tensor
    residual: float
    eigenvalues: np.ndarray
    continuum: bool

    def is_degenerate(self, dtype: torch.dtype) -> bool:
        """Whether an eigenvalue is zero up to the error of differences, so that the Jacobian decides nothing."""
        sizes = np.abs(self.eigenvalues.real)
        return bool(sizes.size) and bool(sizes.min() <= DECISIVE[dtype] * max(np.abs(self.eigenvalues).max(), 1e-3))

    @property
    def p(self) -> Tensor:
        """[V] probabilities, 0 off the support."""
        p = self.logits.softmax(-1)
        return torch.where(self.support, p, 0.0)


@dataclass(frozen=True, eq=False)
class Solver:
    """The equations of one population, for one state at a time.

    Args:
        population: loss, labels and context.
        field: its field for one state.
    """

    population: Population
    field: Field

    def solve(self, logits: Tensor) -> Stationary | None:
        """The stationary point that a root finder reaches from a state, on the face the state lies on.

        Args:
            logits: [V]; tokens below SUPPORT are taken as died out.

        Returns:
            The point; None where the root finder finds none on this face.
        """
        population = self.population
        support = logits.softmax(-1) > SUPPORT[population.dtype]
        places = _Places(support, logits, population.shift_invariant)
        start = places.unknowns(logits)
        found = logits
        if start.size:
            try:
                x = self._root(places, start)
                off = float(np.abs(self._equations(places, x)).max())
            except LossError:
                return None
            found = places.logits(x)
            alive = found.softmax(-1)[support] > SUPPORT[population.dtype] / 10
            if not bool(torch.isfinite(found).all()) or not bool(alive.all()):
                return None
            if off > STATIONARY[population.dtype]:
                return None
        else:
            found = places.logits(start)
        return self._described(places, found, support)

    def rests(self, point: Stationary) -> bool:
        """Whether the expected gradient vanishes for all tokens, died out or not, and not just on the face.

        Args:
            point: a point on some face.

        Returns:
            True for a true zero of E[g]; False where p can rest only because a softmax never leaves a face.
        """
        try:
            flow, size = self.field(point.logits.unsqueeze(0))
        except LossError:
            return False
        scale = max(float(size[0]), self.population.scale)
        return float(flow.abs().max()) <= STATIONARY[self.population.dtype] * scale

    def _root(self, places: _Places, start: np.ndarray) -> np.ndarray:
        """Where scipy's root finder ends from some unknowns; whether that is a root has to be looked at."""
        import scipy.optimize  # takes a while, so not on import

        options = {"xtol": 1e-13, "eps": SOLVER_STEP[self.population.dtype] ** 2, "maxfev": 100 * (start.size + 1)}
        return scipy.optimize.root(lambda x: self._equations(places, x), start, options=options).x

    def _equations(self, places: _Places, x: np.ndarray) -> np.ndarray:
        flow, size = self.field(places.logits(x).unsqueeze(0))
        scaled = flow[0] / size[0] if float(size[0]) > 0 else torch.zeros_like(flow[0])
        return places.unknowns(scaled)

    def _described(self, places: _Places, logits: Tensor, support: Tensor) -> Stationary:
        x = places.unknowns(logits)
        if not x.size:
            return Stationary(logits, support, 0.0, np.zeros(0, complex), continuum=False)
        residual = float(np.abs(self._equations(places, x)).max())
        jacobian = np.empty((x.size, x.size))
        for j in range(x.size):
            step = np.zeros_like(x)
            step[j] = DIFFERENCE
            jacobian[:, j] = (self._equations(places, x + step) - self._equations(places, x - step)) / (2 * DIFFERENCE)
        return Stationary(
            logits, support, residual, np.linalg.eigvals(jacobian), self._is_continuum(places, x, jacobian)
        )

    def _is_continuum(self, places: _Places, x: np.ndarray, jacobian: np.ndarray) -> bool:
        """Whether a root is found again a good way along a direction in which the Jacobian is zero."""
        _, sizes, directions = np.linalg.svd(jacobian)
        flat = directions[sizes <= DECISIVE[self.population.dtype] * max(sizes[0], 1e-3)]
        steps = [sign * nudge * direction for nudge in NUDGES for direction in flat[::-1] for sign in (1, -1)]
        return any(self._rests_along(places, x, step) for step in steps)

    def _rests_along(self, places: _Places, x: np.ndarray, step: np.ndarray) -> bool:
        """Whether a root with another p is found about where a step leads."""
        try:
            other = self._root(places, x + step)
            off = float(np.abs(self._equations(places, other)).max())
        except LossError:
            return False
        apart = 0.5 * float((places.logits(other).softmax(-1) - places.logits(x).softmax(-1)).abs().sum())
        near = float(np.linalg.norm(other - x)) < 3 * float(np.linalg.norm(step))
        return off <= STATIONARY[self.population.dtype] and apart > SAME_POINT and near


@dataclass(frozen=True, eq=False)
class _Places:
    """Which logits are unknown: those alive, less the likeliest's where constants do nothing; others lie DEEP below."""

    support: Tensor
    start: Tensor
    shift_invariant: bool

    @property
    def free(self) -> Tensor:
        """[n] the unknowns' tokens."""
        alive = self.support.nonzero().squeeze(-1)
        return alive[alive != self.first] if self.shift_invariant else torch.arange(len(self.support))

    @property
    def first(self) -> int:
        """The token that the others are measured against."""
        return int(self.start.argmax())

    def unknowns(self, values: Tensor) -> np.ndarray:
        """The unknowns among [V] values, against the first token's where constants do nothing."""
        against = values[self.first] if self.shift_invariant else 0.0
        return (values - against)[self.free].numpy().copy()

    def logits(self, x: np.ndarray) -> Tensor:
        """[V] logits of the unknowns."""
        logits = torch.zeros_like(self.start)
        if self.shift_invariant:
            logits = torch.where(self.support, logits, -DEEP)
        logits[self.free] = torch.from_numpy(np.clip(x, -2 * DEEP, 2 * DEEP))
        return logits


def faces(population: Population) -> Iterator[Tensor]:
    """States on every face of a small simplex, on every vertex of a middling one: uniform, and q* among the tokens.

    Args:
        population: loss, labels and context.

    Yields:
        [V] logits, one state after the other.
    """
    vocabulary = population.setting.vocabulary
    if not population.shift_invariant or vocabulary > VERTICES_UP_TO:
        return
    sizes = range(1, vocabulary) if vocabulary <= FACES_UP_TO else (1,)
    log_q = population.setting.q_star.log()
    for size in sizes:
        for tokens in combinations(range(vocabulary), size):
            index = torch.tensor(tokens)
            logits = torch.full((vocabulary,), -DEEP, dtype=torch.float64)
            logits[index] = 0.0
            yield logits
            if size > 1 and bool(torch.isfinite(log_q[index]).all()):
                own = logits.clone()
                own[index] = log_q[index]
                yield own
