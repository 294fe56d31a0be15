"""Normal equations of small least-squares problems, one a token: solved over a set of directions, with their rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-13
"""Smallest eigenvalue of the scaled Gram matrix (squared singular value) that counts as a direction of its own."""

VANISHING = 1e-13
"""A direction this short, as a share of p, is nothing but the rounding of p - b: the reference equals the model."""

WELL_CONDITIONED = 1e-6
"""Scaled Gram matrices with a larger determinant have full rank: no eigenvalue is below a third of it."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Scaled normal equations of N small least-squares problems, float64.

    Args:
        gram: [N, J, J] products of the directions, scaled to length 1; one that vanishes stands as a unit vector of its
            own, and gets no weight.
        right: [N, J] products of the scaled directions with g.
        scale: [N, J] lengths of the directions, inf where one vanishes.
        energy: [N] sum of squares of g.
        largest: [N] largest entry of |g|.
    """

    gram: Tensor
    right: Tensor
    scale: Tensor
    energy: Tensor
    largest: Tensor

    @classmethod
    def scaled(cls, gram: Tensor, right: Tensor, energy: Tensor, largest: Tensor, size: Tensor) -> NormalEquations:
        """The equations from products of directions as they are.

        Args:
            gram: [N, J, J] products of the directions.
            right: [N, J] products of the directions with g.
            energy: [N] sum of squares of g.
            largest: [N] largest entry of |g|.
            size: [N] length of p, against which a direction vanishes.

        Returns:
            The equations.
        """
        scale = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
        scale = torch.where(scale <= VANISHING * size.unsqueeze(-1), torch.inf, scale)
        own = torch.diag_embed(torch.isinf(scale).to(gram.dtype))
        return cls(gram / (scale.unsqueeze(1) * scale.unsqueeze(2)) + own, right / scale, scale, energy, largest)

    @classmethod
    def join(cls, parts: Sequence[NormalEquations]) -> NormalEquations:
        """The equations of several parts, one after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def rows(self, index: slice | Tensor) -> NormalEquations:
        """The equations of some of the tokens."""
        return NormalEquations(*(getattr(self, one.name)[index] for one in fields(self)))

    def with_rows(self, index: Tensor, part: NormalEquations) -> NormalEquations:
        """The equations with some of their rows from others.

        Args:
            index: [n] row numbers.
            part: the equations of those rows.

        Returns:
            New equations.
        """
        return NormalEquations(
            *(getattr(self, one.name).index_copy(0, index, getattr(part, one.name)) for one in fields(self))
        )

    def over(self, subset: tuple[int, ...]) -> Factored:
        """The equations over some of the directions, ready to be solved.

        Args:
            subset: indices of the directions.

        Returns:
            Their inverses, and their null spaces where there may be some.
        """
        index = torch.tensor(subset, device=self.gram.device)
        gram = self.gram.index_select(1, index).index_select(2, index)
        factor, failed = torch.linalg.cholesky_ex(gram)
        volume = factor.diagonal(dim1=-2, dim2=-1).prod(-1).square()  # product of the eigenvalues
        if bool(((failed == 0) & (volume > WELL_CONDITIONED)).all()):
            return Factored(self, index, torch.cholesky_inverse(factor), None)
        values, vectors = torch.linalg.eigh(gram)
        dead = torch.where((values <= RANK_TOLERANCE).unsqueeze(1), vectors, 0.0)
        return Factored(self, index, _inverse(values, vectors), dead)

    def left_by(self, subsets: Sequence[tuple[int, ...]]) -> Tensor:
        """Squares that the best weights over each of several sets leave.

        Args:
            subsets: S sets of directions.

        Returns:
            [S, N] squares.
        """
        inside = _inside(subsets, self.gram).unsqueeze(1)  # [S, 1, J]
        values, vectors = torch.linalg.eigh(_restricted(self.gram, inside))
        weights = _applied(_inverse(values, vectors), torch.where(inside, self.right, 0.0))
        return self.missing(weights)

    def missing(self, weights: Tensor) -> Tensor:
        """[..., N] squares that scaled weights [..., N, J] leave (good to about 1e-15 of the whole)."""
        explained = (weights * (2 * self.right - _applied(self.gram, weights))).sum(-1)
        return self.energy - explained - 1e-14 * self.energy


@dataclass(frozen=True, eq=False)
class Factored:
    """Normal equations over a set of J' directions, ready to be solved.

    Args:
        normal: the equations over all directions.
        index: [J'] the set.
        inverse: [N, J', J'] inverse of the scaled Gram matrix, 0 on its null space.
        null: [N, J', J'] orthonormal columns that span the null space, and columns of 0; None where there is none on
            any token.
    """

    normal: NormalEquations
    index: Tensor
    inverse: Tensor
    null: Tensor | None

    @property
    def dependent(self) -> Tensor:
        """[N] bool, where the directions are dependent."""
        vanishing = torch.isinf(self.normal.scale.index_select(1, self.index)).any(-1)
        return vanishing if self.null is None else vanishing | (self.null != 0).any(-1).any(-1)

    def solve(self, right: Tensor) -> Tensor:
        """Scaled weights [N, J] for a right side [N, J], the smallest where they are many; 0 outside the set."""
        solution = _applied(self.inverse, right.index_select(1, self.index))
        return torch.zeros_like(right).index_copy_(1, self.index, solution)

    def smallest(self, weights: Tensor) -> Tensor:
        """Of all true weights [N, J] that fit as well, the ones with the smallest norm.

        The null space of the scaled problem, scaled back, is taken out of the weights.

        Args:
            weights: [N, J] true (unscaled) weights.

        Returns:
            [N, J] weights.
        """
        if self.null is None or not bool((self.null != 0).any()):
            return weights
        null = self.null / self.normal.scale[:, self.index].unsqueeze(-1)
        length = null.square().sum(1, keepdim=True).sqrt()
        null = null / torch.where(length == 0, 1.0, length)
        gram = null.mT @ null + torch.diag_embed((length.squeeze(1) == 0).to(null.dtype))
        chosen = weights.index_select(1, self.index)
        share = torch.linalg.pinv(gram, hermitian=True) @ (null.mT @ chosen.unsqueeze(-1))
        return weights.index_copy(1, self.index, chosen - (null @ share).squeeze(-1))


def _inside(subsets: Sequence[tuple[int, ...]], gram: Tensor) -> Tensor:
    """[S, J] bool, sets as masks."""
    masks = [[index in subset for index in range(gram.shape[-1])] for subset in subsets]
    return torch.tensor(masks, device=gram.device)


def _restricted(gram: Tensor, inside: Tensor) -> Tensor:
    """[..., J, J] products of the directions in a set [..., J]; the others are unit vectors of their own."""
    both = inside.unsqueeze(-1) & inside.unsqueeze(-2)
    return torch.where(both, gram, torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device))


def _inverse(values: Tensor, vectors: Tensor) -> Tensor:
    live = values > RANK_TOLERANCE
    inverse = torch.where(live, values.where(live, 1.0).reciprocal(), 0.0)
    return (vectors * inverse.unsqueeze(-2)) @ vectors.mT


def _applied(matrix: Tensor, right: Tensor) -> Tensor:
    return (matrix @ right.unsqueeze(-1)).squeeze(-1)
