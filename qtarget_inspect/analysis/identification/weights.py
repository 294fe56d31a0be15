"""Weights: the pull weights of every token over a known support, each with how well the state determines it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.observation import Observation
from qtarget_inspect.vocabulary.directions import Direction

VANISHING = 1e-13
"""A direction this short, as a share of the terms that it is the difference of, is none."""

SAFETY = 8.0
"""Operations of a loss whose rounding adds up in an entry of g."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Pull weights of some tokens.

    Args:
        values: direction name -> [N] weights.
        sigma: direction name -> [N] what rounding of g may move them by; inf where the directions are dependent.
        unexplained: [N] largest entry of g that they leave.
    """

    values: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    unexplained: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Weights]) -> Weights:
        """The weights of several batches, one after the other."""
        names = list(parts[0].values)
        return cls(
            {name: np.concatenate([part.values[name] for part in parts]) for name in names},
            {name: np.concatenate([part.sigma[name] for part in parts]) for name in names},
            np.concatenate([part.unexplained for part in parts]),
        )


def weights_over(observed: Observation, chosen: Sequence[Direction]) -> Weights:
    """Least squares of g over the directions, token by token.

        g_i = sum_j a_ij d_ij,    sigma_ij = |rounding of g_i| sqrt([(D_i^T D_i)^-1]_jj)

    To that comes eps times the other pulls: a distribution sums to 1 up to rounding only, and its pull leans toward the
    model by as much. What is lost of the mass is the pull nowhere: sum_k g_k, since every other direction sums to zero.
    Then the label's entry follows from the others, and is left out: it has lost its relative precision at p_y -> 1.

    Args:
        observed: a gradient on some states.
        chosen: the support.

    Returns:
        The weights.
    """
    gradient, values, sigma = observed.gradient, {}, {}
    rounding = SAFETY * observed.eps * observed.size
    for direction in chosen:
        if direction.kind == "nowhere":
            values[direction.name] = gradient.sum(-1)
            gradient = gradient - values[direction.name].unsqueeze(-1) * observed.state.p
    spanning = [direction for direction in chosen if direction.kind != "nowhere"]
    rest, pulled = gradient, torch.zeros_like(rounding)
    if spanning:
        columns = torch.stack([direction.gradient(observed.state) for direction in spanning], -1)  # [N, V, J]
        sizes = torch.stack([_operands(direction, observed) for direction in spanning], -1)  # [N, V, J]
        solved, spread = _solve(*(_off_label(rows, observed) for rows in (columns, gradient.unsqueeze(-1), sizes)))
        # a weight of exactly 0 may have been rounded to it, by as much as weights of the usual size are
        usual = solved.abs().median(0).values
        pulls = torch.where(solved == 0, usual, solved.abs())
        terms = _off_label((sizes * pulls.unsqueeze(1)).sum(-1, keepdim=True), observed).amax((1, 2))
        rounding = torch.maximum(rounding, SAFETY * observed.eps * terms)  # what is added up may cancel in g
        # a pull to a model that is the student itself is nothing but rounding, and spoils the others by as much
        vanished = (torch.isinf(spread) * usual).sum(-1)  # [N]
        for index, direction in enumerate(spanning):
            others = solved.abs().sum(-1) - solved[:, index].abs()  # [N]
            values[direction.name] = solved[:, index]
            sigma[direction.name] = rounding * spread[:, index] + observed.eps * (2 * others + 16 * vanished)
            pulled = pulled + values[direction.name].abs()
        rest = gradient - (columns * solved.unsqueeze(1)).sum(-1)
    for direction in chosen:
        if direction.kind == "nowhere":  # p_y - 1 is rounded as a number of size 1, however small it is
            sigma[direction.name] = SAFETY * observed.eps * observed.batch.vocabulary**0.5 * (observed.size + pulled)
    names = [direction.name for direction in chosen]
    return Weights(
        {name: values[name].numpy() for name in names},
        {name: sigma[name].numpy() for name in names},
        rest.abs().amax(-1).numpy(),
    )


def with_number_doubt(weights: Weights, moved: tuple[Weights, Weights], step: float, doubt: float) -> Weights:
    """Weights whose uncertainty holds that of a number in their directions: sigma_j + |da_j/dnumber| doubt.

    Args:
        weights: at the number.
        moved: at the number plus and minus a step, directions in the same order.
        step: the step.
        doubt: how far the number may be off.

    Returns:
        The weights, less certain.
    """
    sigma = {}
    for name, more, less in zip(weights.values, moved[0].values.values(), moved[1].values.values(), strict=True):
        sigma[name] = weights.sigma[name] + np.abs(more - less) / (2 * step) * doubt
    return Weights(weights.values, sigma, weights.unexplained)


def _operands(direction: Direction, observed: Observation) -> Tensor:
    """[N, V] size of the terms that a direction is the difference of, p + b or p (|s| + |E_p s|)."""
    p, values = observed.state.p, direction.values(observed.state)
    if direction.kind == "toward":
        return p + values
    score = torch.where(p == 0, 0.0, values)
    return p * (score.abs() + (p * score).sum(-1, keepdim=True).abs())


def _off_label(columns: Tensor, observed: Observation) -> Tensor:
    index = observed.batch.labels.view(-1, 1, 1).expand(-1, 1, columns.shape[-1])
    return columns.scatter(1, index, 0.0)


def _solve(columns: Tensor, right: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """[N, J] solutions, and [N, J] by how much a unit of noise in the rows moves them; inf where undetermined."""
    length = columns.square().sum(1, keepdim=True).sqrt()  # [N, 1, J]
    live = length > VANISHING * sizes.square().sum(1, keepdim=True).sqrt()  # else only the rounding of p - b is left
    scaled = columns / torch.where(live, length, torch.inf)
    orthonormal, triangle = _orthonormal(scaled)  # [N, V, J], [N, J, J]
    diagonal = triangle.diagonal(dim1=-2, dim2=-1).abs()
    independent = (diagonal > 1e-7).all(-1)
    identity = torch.eye(triangle.shape[-1], dtype=triangle.dtype)
    triangle = torch.where(independent.view(-1, 1, 1), triangle, identity)
    inverse = torch.linalg.solve_triangular(triangle, identity.expand_as(triangle), upper=True)
    solution = (inverse @ (orthonormal.mT @ right)).squeeze(-1)
    # a second step on what the first one leaves: the weights to rounding
    left = right - scaled @ solution.unsqueeze(-1)
    solution = solution + (inverse @ (orthonormal.mT @ left)).squeeze(-1)
    spread = inverse.square().sum(-1).sqrt()
    scale = torch.where(live, length, 1.0).squeeze(1)
    spread = torch.where(independent.unsqueeze(-1) & live.squeeze(1), spread / scale, torch.inf)
    return solution / scale, spread


def _orthonormal(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Q [N, V, J] and R [N, J, J] of a few long columns, by Gram-Schmidt done twice: far faster than a general QR."""
    found = torch.zeros_like(columns)
    triangle = torch.zeros(*columns.shape[::2], columns.shape[2], dtype=columns.dtype)
    for index in range(columns.shape[2]):
        column = columns[:, :, index]
        for _ in range(2):
            shares = (found[:, :, :index].mT @ column.unsqueeze(-1)).squeeze(-1)  # [N, index]
            triangle[:, :index, index] += shares
            column = column - (found[:, :, :index] @ shares.unsqueeze(-1)).squeeze(-1)
        length = column.square().sum(-1).sqrt()
        triangle[:, index, index] = length
        found[:, :, index] = column / torch.where(length > 0, length, 1.0).unsqueeze(-1)
    return found, triangle
