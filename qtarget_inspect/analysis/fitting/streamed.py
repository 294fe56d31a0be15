"""Streamed sums of the normal equations: float32 rows in reused memory, products and remainder in one pass.

Products over blocks of the vocabulary are summed in float64. What float32 is too coarse for is told token by token, and
read in float64 the plain way: directions that nearly coincide, or nearly vanish, and rows that underflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.analysis.fitting import plain
from qtarget_inspect.analysis.fitting.normal_equations import NormalEquations
from qtarget_inspect.analysis.fitting.problem import Problem, Solution
from qtarget_inspect.analysis.fitting.scratch import Chunk, Scratch
from qtarget_inspect.analysis.fitting.structure import Structure, model_of
from qtarget_inspect.core.chunks import row_chunks

SMALLEST_EIGENVALUE = 1e-4
"""Rows whose scaled products have a smaller eigenvalue nearly coincide, and float32 does not tell how nearly."""

SMALLEST_LENGTH = 1e-3
"""A direction shorter than this, as a share of p, has lost too many digits of p - b."""

SMALLEST_SQUARE = 1e-28
"""Squares of float32 rows below this have underflowed in part."""


def streams(problem: Problem) -> bool:
    """Whether a problem can be read in float32: its gradient and logits have no more digits.

    Args:
        problem: N tokens.

    Returns:
        Whether `read` takes it.
    """
    return problem.gradient.dtype == torch.float32 and problem.batch.logits.dtype.itemsize <= 4


@dataclass(frozen=True, eq=False)
class StreamedReading:
    """A problem with its normal equations from float32 rows, in float64 for the tokens that needed it.

    Args:
        problem: N tokens.
        normal: their normal equations.
        structure: how the directions are made of K rows.
        products: [N, K, K] products of the rows off the label.
        coarse: [N] bool, tokens whose equations are float32's.
        weak: [N] bool, tokens that float32 is too coarse for, whatever the set.
        short: [N, J] bool, directions that have lost their digits.
        guess: a set of directions that was solved for on the way, or None.
        guessed: its solution.
    """

    problem: Problem
    normal: NormalEquations
    structure: Structure
    products: Tensor
    coarse: Tensor
    weak: Tensor
    short: Tensor
    guess: tuple[int, ...] | None
    guessed: Solution | None

    def doubtful(self, subset: tuple[int, ...]) -> Tensor:
        """[N] bool, tokens on which the sums are too coarse for a set of directions."""
        index = self.structure.rows_of(subset)
        products = self.products[:, index][:, :, index]
        length = products.diagonal(dim1=-2, dim2=-1).sqrt()
        gone = length == 0  # a direction that is exactly 0 stands in no other's way
        length = torch.where(gone, 1.0, length)
        scaled = products / (length.unsqueeze(1) * length.unsqueeze(2)) + torch.diag_embed(gone.to(length.dtype))
        near = torch.linalg.eigvalsh(scaled)[:, 0] < SMALLEST_EIGENVALUE
        return self.coarse & (self.weak | self.short[:, list(subset)].any(-1) | near)

    def rows(self, index: Tensor) -> StreamedReading:
        """The reading of some of the tokens."""
        return StreamedReading(
            self.problem.rows(index),
            self.normal.rows(index),
            self.structure,
            self.products[index],
            self.coarse[index],
            self.weak[index],
            self.short[index],
            None,
            None,
        )

    def settled(self, doubtful: Tensor) -> StreamedReading:
        """The reading with some tokens summed in float64.

        Args:
            doubtful: [N] bool, which.

        Returns:
            A new reading.
        """
        index = (doubtful & self.coarse).nonzero().flatten()
        if not len(index):
            return self
        normal = self.normal.with_rows(index, plain.normal_equations(self.problem.rows(index)))
        return replace(self, normal=normal, coarse=self.coarse.index_fill(0, index, False))

    def solution(self, subset: tuple[int, ...]) -> Solution:
        """Weights over a set of directions, and what they leave.

        Args:
            subset: indices of the directions.

        Returns:
            The solution, in float64 for the tokens whose equations are.
        """
        if subset == self.guess and self.guessed is not None:
            found = self.guessed
        else:
            scratch = Scratch.for_problem(self.problem, self.structure)
            parts = []
            for rows in row_chunks(len(self.problem), scratch.size):
                chunk = scratch.fill(self.problem.rows(rows), self.structure.rows_of(subset))
                parts.append(chunk.solution(self.normal.rows(rows), subset))
            found = Solution.join(parts)
        exact = (~self.coarse).nonzero().flatten()
        if len(exact):
            part = plain.refined(self.problem.rows(exact), self.normal.rows(exact).over(subset))
            found = found.with_rows(exact, part)
        return found


def read(problem: Problem, guess: tuple[int, ...] | None) -> StreamedReading:
    """The normal equations of a problem in one pass over it, in float32.

    Args:
        problem: N tokens, such as `streams` says yes to.
        guess: a set of directions whose weights are solved for, and held against g, in the same pass.

    Returns:
        The reading.
    """
    structure = Structure.of(problem.attractors, problem.batch)
    scratch = Scratch.for_problem(problem, structure)
    parts, guessed = [], []
    for rows in row_chunks(len(problem), scratch.size):
        chunk = scratch.fill(problem.rows(rows), list(range(structure.ones + 1)))
        parts.append(_equations(chunk))
        if guess is not None:
            guessed.append(chunk.solution(parts[-1].normal, guess))
    products, weak, short = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("products", "weak", "short")
    )
    return StreamedReading(
        problem,
        NormalEquations.join([part.normal for part in parts]),
        structure,
        products,
        torch.ones_like(weak),
        weak,
        short,
        guess,
        Solution.join(guessed) if guess is not None else None,
    )


@dataclass(frozen=True, eq=False)
class _Equations:
    """The equations of a chunk, and what float32 is too coarse for in it."""

    normal: NormalEquations
    products: Tensor
    weak: Tensor
    short: Tensor


def _equations(chunk: Chunk) -> _Equations:
    """Directions are combinations of rows, so their products are those of the rows, put together in float64."""
    products, right, energy = chunk.products()
    size = products[:, 0, 0]
    weak = (size < SMALLEST_SQUARE) | ((energy < SMALLEST_SQUARE) & (chunk.largest > 0)) | ~torch.isfinite(energy)
    coefficients = torch.where(weak.view(-1, 1, 1), 0.0, chunk.coefficients)
    gram = coefficients.mT @ products @ coefficients
    right = (coefficients.mT @ right.unsqueeze(-1)).squeeze(-1)
    off_label = gram.diagonal(dim1=-2, dim2=-1)
    short = _short(chunk, off_label, size)
    if chunk.problem.keeps_label:
        entries = torch.where(weak.unsqueeze(-1), 0.0, chunk.entries)
        gram = gram + entries.unsqueeze(1) * entries.unsqueeze(2)
        right = right + entries * chunk.g_label.unsqueeze(-1)
        energy = energy + chunk.g_label.square()
        size = size + chunk.p_label.square()
    normal = NormalEquations.scaled(gram, right, energy, chunk.largest, size.sqrt())
    return _Equations(normal, products, weak, short)


def _short(chunk: Chunk, squares: Tensor, size: Tensor) -> Tensor:
    """[n, J] bool, directions with a row of their own that have lost their digits: nearly zero, but not quite."""
    short = squares < SMALLEST_LENGTH**2 * size.unsqueeze(-1)
    structure, batch = chunk.scratch.structure, chunk.problem.batch
    for column, own in enumerate(structure.row):
        if own is None:
            short[:, column] = False
            continue
        name = model_of(structure.own[own])
        gone = (squares[:, column] == 0).nonzero().flatten()
        if name is not None and len(gone):  # exactly 0 where the model's logits are the student's
            same = (getattr(batch, name)[gone] == batch.logits[gone]).all(-1)
            short[gone[same], column] = False
    return short
