"""Fitting pulls to a gradient: the fewest directions that explain every token, and the weight of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

from qtarget_inspect.analysis.fitting import plain, streamed
from qtarget_inspect.analysis.fitting.normal_equations import NormalEquations
from qtarget_inspect.analysis.fitting.problem import Problem, Solution
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.fast_paths import fast_paths_enabled
from qtarget_inspect.vocabulary.directions import Direction

DOUBLE, SINGLE = (1e-7, 1e-12), (3e-5, 1e-6)
"""What may be left: a share of g, and of the pulls, since 1 - p_y is rounded in p_y's last place."""

SUM_ROUNDING = 8.0
"""Rounding of a sum over the vocabulary, in units of the machine precision times the root of V."""

FEW_TOKENS = 16
"""So many tokens are looked at first: what does not explain them is not looked at further."""

NEAR = 1.5
"""What float32 leaves within this factor of what may be left is looked at again in float64."""


@dataclass(frozen=True)
class Fit:
    """Pull weights that explain a gradient best.

    Args:
        weights: direction name -> [N] float64.
        unexplained: [N] largest entry of |g - sum_j a_j d_j|.
        dependent: [N] bool, tokens whose directions are not independent; their weights are the smallest of many that
            fit equally.
        twins: other sets of as many directions that explain the gradient as well.
        saturated: whether there are as many directions as dimensions of the gradient (V - 1), so that any loss would be
            explained.
    """

    weights: dict[str, Tensor]
    unexplained: Tensor
    dependent: Tensor
    twins: tuple[tuple[str, ...], ...] = ()
    saturated: bool = False


class Reading(Protocol):
    """The normal equations of N tokens, however they were summed."""

    @property
    def problem(self) -> Problem:
        """The tokens."""

    @property
    def normal(self) -> NormalEquations:
        """Their normal equations."""

    @property
    def coarse(self) -> Tensor:
        """[N] bool, tokens whose sums are float32's."""

    def doubtful(self, subset: tuple[int, ...]) -> Tensor:
        """[N] bool, tokens on which the sums are too coarse for a set of directions."""

    def rows(self, index: Tensor) -> Reading:
        """The reading of some of the tokens."""

    def settled(self, doubtful: Tensor) -> Reading:
        """The reading with some tokens summed in float64."""

    def solution(self, subset: tuple[int, ...]) -> Solution:
        """Weights over a set of directions, and what they leave."""


def fit_pulls(gradient: Tensor, batch: TokenBatch, attractors: Sequence[Direction]) -> Fit:
    """Least-squares pull weights, g = sum_j a_j d_j, with as few directions as explain every token of the batch.

    Sets of directions that hold the label are tried from small to large; the first that explains g up to rounding on
    all tokens is taken, or else all directions. So a loss of the label alone is not spread over a uniform that happens
    to be collinear with it on some tokens.

    The label's own entry is left out of the squares: where every direction sums to zero it follows from the others, and
    it alone has lost its relative precision at p_y -> 1. It does count in what is left unexplained.

    Args:
        gradient: [N, V] logit gradient of the per-token loss.
        batch: the tokens.
        attractors: J directions, the label among them.

    Returns:
        The weights (0 for directions that were not needed), what they leave unexplained, and where they are not unique.
    """
    problem = Problem(gradient, batch, tuple(attractors))
    subsets = _subsets(problem.names)
    if not (fast_paths_enabled() and streamed.streams(problem)):
        return _as_fit(problem, _search(plain.read(problem), subsets))
    few = problem.rows(_spread(len(problem)))
    guess = _search(streamed.read(few, None), subsets).subset  # tried on all while they are read
    return _as_fit(problem, _search(streamed.read(problem, guess), subsets))


@dataclass(frozen=True, eq=False)
class _Found:
    """What a search found: the set that was taken, its weights, and whether it explains every token."""

    subset: tuple[int, ...]
    solution: Solution
    dependent: Tensor
    twins: tuple[tuple[int, ...], ...] = ()
    explained: bool = False


def _as_fit(problem: Problem, found: _Found) -> Fit:
    names = problem.names
    weights = {name: found.solution.weights[:, index] for index, name in enumerate(names)}
    twins = tuple(tuple(names[index] for index in twin) for twin in found.twins)
    saturated = found.explained and len(found.subset) >= problem.batch.vocabulary - 1
    return Fit(weights, found.solution.unexplained, found.dependent, twins, saturated)


def _search(reading: Reading, subsets: list[tuple[int, ...]]) -> _Found:
    """The first set that explains all tokens, with its twins; else the last one, which is everything."""
    normal = reading.normal
    scale = float(normal.largest.max())
    everything = subsets[-1]
    sure = (~reading.doubtful(everything)).nonzero().flatten()
    few = reading.rows(sure[_spread(len(sure))]).normal
    left_of_few = few.left_by(subsets)  # [subsets, few]
    found: dict[tuple[int, ...], Solution] = {}

    def attempt(subset: tuple[int, ...], precision: float, rounding: float) -> bool:
        """Whether a set leaves no more than rounding on any token."""
        nonlocal reading

        def falls_short(some: NormalEquations, left: Tensor) -> Tensor:
            return ~(left <= (100 * precision) ** 2 * some.energy + (rounding * scale) ** 2)

        if bool(falls_short(few, left_of_few[subsets.index(subset)]).any()):
            return False
        doubtful = reading.doubtful(subset)
        if bool((falls_short(reading.normal, reading.normal.left_by([subset])[0]) & ~doubtful).any()):
            return False
        if bool(doubtful.any()):
            reading = reading.settled(doubtful)
            if bool(falls_short(reading.normal, reading.normal.left_by([subset])[0]).any()):
                return False
        if subset not in found:
            found[subset] = reading.solution(subset)
        share = _share_of_allowed(reading, found[subset], precision, rounding, scale)
        near = reading.coarse & (share * NEAR >= 1)
        if bool((share <= NEAR).all()) and bool(near.any()):
            reading = reading.settled(near)
            found[subset] = reading.solution(subset)
            share = _share_of_allowed(reading, found[subset], precision, rounding, scale)
        return bool((share <= 1).all())

    for precision, rounding in (DOUBLE, SINGLE) if reading.problem.gradient.dtype == torch.float64 else (SINGLE,):
        for subset in subsets:  # the second round is for losses that cast to float32 inside
            if attempt(subset, precision, rounding):
                same_size = [other for other in subsets if len(other) == len(subset) and other != subset]
                twins = tuple(other for other in same_size if attempt(other, precision, rounding))
                return _Found(subset, found[subset], reading.normal.over(subset).dependent, twins, True)
    reading = reading.settled(reading.doubtful(everything))
    solution = found.get(everything) or reading.solution(everything)
    return _Found(everything, solution, reading.normal.over(everything).dependent)


def _share_of_allowed(reading: Reading, solution: Solution, precision: float, rounding: float, scale: float) -> Tensor:
    """[N] what a solution leaves of g, in units of what it may leave.

    Where every direction sums to zero, the label's entry leaves what g itself fails to sum to, whatever the weights: in
    float32, the rounding of a sum over the vocabulary.

    Args:
        reading: N tokens.
        solution: weights over a set of directions.
        precision: share of g that may be left.
        rounding: share of the pulls that may be left.
        scale: largest entry of g on any token.

    Returns:
        [N] shares.
    """
    problem = reading.problem
    pulls = solution.weights.abs().sum(-1).clamp(max=100 * scale)
    off_label = precision * reading.normal.largest + rounding * pulls + 1e-15 * scale
    at_label = off_label
    if rounding == SINGLE[1] and not problem.keeps_label:
        at_label = off_label + SUM_ROUNDING * torch.finfo(torch.float32).eps * problem.batch.vocabulary**0.5 * pulls
    return torch.maximum(solution.off_label / off_label, solution.at_label / at_label)


def _spread(count: int) -> slice:
    """A few rows, spread evenly over so many."""
    return slice(0, count, max(1, -(-count // FEW_TOKENS)))


def _subsets(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Index sets that hold the label, small to large, everything last."""
    label = names.index("label")
    others = [index for index in range(len(names)) if index != label]
    if len(others) > 6:  # 64 sets at most; with more directions only the label alone and everything
        return [(label,), tuple(range(len(names)))]
    return [
        tuple(sorted((label, *chosen))) for count in range(len(others) + 1) for chosen in combinations(others, count)
    ]
