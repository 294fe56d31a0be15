"""Plain sums of the normal equations: every direction written out in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.analysis.fitting.normal_equations import VANISHING, Factored, NormalEquations
from qtarget_inspect.analysis.fitting.problem import Problem, Solution
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.state import State


@dataclass(frozen=True, eq=False)
class _Columns:
    """Directions of some tokens, float64.

    Args:
        whole: [n, V, J] the directions.
        counted: [n, V, J] the same, the label's entry 0 where it does not count in the squares.
        target: [n, V] g, likewise.
        size: [n] length of p, likewise.
    """

    whole: Tensor
    counted: Tensor
    target: Tensor
    size: Tensor


def normal_equations(problem: Problem) -> NormalEquations:
    """The normal equations of a problem.

    Args:
        problem: N tokens.

    Returns:
        The equations, in float64.
    """
    return NormalEquations.join([_equations(problem.rows(rows)) for rows in _chunks(problem)])


def refined(problem: Problem, factored: Factored) -> Solution:
    """Weights over a set of directions, with one step of iterative refinement.

    Args:
        problem: N tokens.
        factored: their normal equations over the set.

    Returns:
        True weights, and what they leave unexplained.
    """
    normal = factored.normal
    scaled = factored.solve(normal.right)
    right = torch.zeros_like(scaled)
    for rows in _chunks(problem):
        columns = _columns(problem.rows(rows))
        counted = columns.counted / normal.scale[rows].unsqueeze(1)
        left = columns.target - (counted @ scaled[rows].unsqueeze(-1)).squeeze(-1)
        right[rows] = (counted.mT @ left.unsqueeze(-1)).squeeze(-1)
    weights = factored.smallest((scaled + factored.solve(right)) / normal.scale)
    rests = [_left(problem.rows(rows), weights[rows]) for rows in _chunks(problem)]
    return Solution(weights, *(torch.cat(part) for part in zip(*rests, strict=True)))


def _left(problem: Problem, weights: Tensor) -> tuple[Tensor, Tensor]:
    """[n] what true weights leave of g off the label, and at it."""
    whole = _whole(problem, State(problem.batch, torch.float64))
    left = (problem.gradient.to(torch.float64) - (whole @ weights.unsqueeze(-1)).squeeze(-1)).abs()
    index = problem.batch.labels.unsqueeze(-1)
    return left.scatter(-1, index, 0.0).amax(-1), left.gather(-1, index).squeeze(-1)


@dataclass(frozen=True, eq=False)
class PlainReading:
    """A problem with its normal equations in float64: nothing about them is in doubt.

    Args:
        problem: N tokens.
        normal: their normal equations.
    """

    problem: Problem
    normal: NormalEquations

    @property
    def coarse(self) -> Tensor:
        """[N] bool, tokens whose sums are float32's: none."""
        return torch.zeros_like(self.normal.energy, dtype=torch.bool)

    def doubtful(self, subset: tuple[int, ...]) -> Tensor:
        """[N] bool, tokens on which the sums are too coarse for a set of directions: none."""
        return self.coarse

    def rows(self, index: Tensor) -> PlainReading:
        """The reading of some of the tokens."""
        return PlainReading(self.problem.rows(index), self.normal.rows(index))

    def settled(self, doubtful: Tensor) -> PlainReading:
        """The reading with some tokens in float64, as all of them are."""
        return self

    def solution(self, subset: tuple[int, ...]) -> Solution:
        """Weights over a set of directions, and what they leave."""
        return refined(self.problem, self.normal.over(subset))


def read(problem: Problem) -> PlainReading:
    """The normal equations of a problem, in float64.

    Args:
        problem: N tokens.

    Returns:
        The reading.
    """
    return PlainReading(problem, normal_equations(problem))


def _chunks(problem: Problem) -> list[slice]:
    arrays = problem.batch.vocabulary * (len(problem.attractors) + 2)
    size = rows_per_chunk(arrays, torch.float64, problem.batch.logits.device)
    return list(row_chunks(len(problem), size))


def _whole(problem: Problem, state: State) -> Tensor:
    return torch.stack([direction.gradient(state) for direction in problem.attractors], -1)


def _columns(problem: Problem) -> _Columns:
    state = State(problem.batch, torch.float64)
    whole = _whole(problem, state)
    target, p = problem.gradient.to(torch.float64), state.p
    if problem.keeps_label:
        return _Columns(whole, whole, target, p.square().sum(-1).sqrt())
    index = problem.batch.labels.unsqueeze(-1)
    label = index.unsqueeze(-1).expand(-1, 1, whole.shape[-1])
    size = p.scatter(-1, index, 0.0).square().sum(-1).sqrt()
    return _Columns(whole, whole.scatter(1, label, 0.0), target.scatter(1, index, 0.0), size)


def _equations(problem: Problem) -> NormalEquations:
    columns = _columns(problem)
    # scaled before they are multiplied: squares of short directions would underflow
    length = columns.counted.square().sum(1).sqrt()
    scale = torch.where(length <= VANISHING * columns.size.unsqueeze(-1), torch.inf, length)
    counted, target = columns.counted / scale.unsqueeze(1), columns.target
    own = torch.diag_embed(torch.isinf(scale).to(scale.dtype))
    right = (counted.mT @ target.unsqueeze(-1)).squeeze(-1)
    largest = problem.gradient.abs().amax(-1).to(torch.float64)
    return NormalEquations(counted.mT @ counted + own, right, scale, target.square().sum(-1), largest)
