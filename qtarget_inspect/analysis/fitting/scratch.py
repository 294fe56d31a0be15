"""Scratch: a few rows at a time of all that a fit reads, in float32 memory that is used again for the next ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.analysis.fitting.normal_equations import NormalEquations
from qtarget_inspect.analysis.fitting.problem import Problem, Solution
from qtarget_inspect.analysis.fitting.structure import Structure, model_of
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import MissingContextError
from qtarget_inspect.core.state import MODEL, State

ARRAY_BYTES, CUDA_ARRAY_BYTES = 3 * 2**20, 2**28
"""Size of one array: near the processor's caches, or large enough to be worth a launch."""

NEGLIGIBLE = 1e-7
"""A correction of scaled weights by a smaller share of them changes what they leave by less than its rounding."""

TOGETHER = 4
"""Products with so many rows at a time: a matrix product over more is several times as slow."""

SHORT_BLOCK, USUAL_BLOCK, LONG_BLOCK = 256, 1024, 4096
"""Entries of the vocabulary whose products are summed in float32; the blocks' sums are summed in float64."""


@dataclass(frozen=True, eq=False)
class Scratch:
    """Memory for some rows.

    Args:
        structure: how the directions are made of K rows.
        rows: [M + 2, n, V] p, the directions' own rows, and g, the label's entries 0.
        left: [n, V] what weights leave of g.
        spare: [n, V] for products.
        blocks: into how many blocks the vocabulary is cut.
        fixed: [K, J] how the directions are made of the rows, where it is the same for every token.
    """

    structure: Structure
    rows: Tensor
    left: Tensor
    spare: Tensor
    blocks: int
    fixed: Tensor

    @classmethod
    def for_problem(cls, problem: Problem, structure: Structure) -> Scratch:
        """Memory for as many rows as stay near the caches.

        Args:
            problem: N tokens.
            structure: how the directions are made of K rows.

        Returns:
            The memory, not yet filled.
        """
        vocabulary, device = problem.batch.vocabulary, problem.gradient.device
        budget = CUDA_ARRAY_BYTES if device.type == "cuda" else ARRAY_BYTES
        size = min(len(problem), max(1, budget // (4 * vocabulary)))
        rows = torch.empty(len(structure.own) + 2, size, vocabulary, device=device)
        left, spare = torch.empty_like(rows[0]), torch.empty_like(rows[0])
        fixed = structure.fixed_coefficients(vocabulary).to(device)
        return cls(structure, rows, left, spare, _blocks(vocabulary), fixed)

    @property
    def size(self) -> int:
        """How many rows fit."""
        return self.rows.shape[1]

    def fill(self, problem: Problem, needed: list[int]) -> Chunk:
        """Read some tokens.

        Args:
            problem: n tokens, as many as fit at most.
            needed: which of the K rows will be used.

        Returns:
            What was read: views of this memory, good until it is filled again.
        """
        rows, batch, structure = self.rows[:, : len(problem)], problem.batch, self.structure
        p, own, gradient = rows[0], rows[1:-1], rows[-1]
        labels = batch.labels.view(1, -1, 1).expand(len(rows), -1, 1)
        models = [model_of(direction) for direction in structure.own]
        _softmax(batch, MODEL, p)
        for index, (direction, name) in enumerate(zip(structure.own, models, strict=True)):
            if name is not None and 1 + index in needed:
                _softmax(batch, name, own[index])
            elif name is None and 1 + index in needed:
                own[index].copy_(direction.gradient(State(batch, torch.float64)))
        gradient.copy_(problem.gradient)
        largest = self.largest(gradient)
        at_label = rows.gather(-1, labels).squeeze(-1).to(torch.float64)  # [M + 2, n]
        rows.scatter_(-1, labels, 0.0)
        for index, name in enumerate(models):
            if name is not None and 1 + index in needed:
                torch.sub(p, own[index], out=own[index])
        sums = _sum(rows)  # [M + 2, n]
        for index, name in enumerate(models):
            if 1 + index not in needed:
                at_label[1 + index] = 0.0
            elif name is not None:
                at_label[1 + index] = -sums[1 + index]  # p - b sums to zero
        p_label, one_minus, vocabulary = at_label[0], sums[0], batch.vocabulary
        return Chunk(
            self,
            problem,
            structure.coefficients(self.fixed, p_label, one_minus),
            structure.entries(p_label, one_minus, at_label[1:-1].T, vocabulary),
            sums.T,
            at_label[-1],
            largest,
            p_label,
        )

    def largest(self, rows: Tensor) -> Tensor:
        """[n] largest size of an entry, of rows [n, V]."""
        sizes = torch.abs(rows, out=self.spare[: len(rows)]).view(len(rows), self.blocks, -1)
        return sizes.amax(1).amax(-1).to(torch.float64)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some tokens, read.

    Args:
        scratch: the memory that holds their rows.
        problem: the tokens.
        coefficients: [n, K, J] how the directions are made of the rows.
        entries: [n, J] the directions' entries at the label.
        sums: [n, M + 2] sums of p, of the directions' own rows, and of g, off the label.
        g_label: [n] g at the label.
        largest: [n] largest entry of |g|.
        p_label: [n] p_y.
    """

    scratch: Scratch
    problem: Problem
    coefficients: Tensor
    entries: Tensor
    sums: Tensor
    g_label: Tensor
    largest: Tensor
    p_label: Tensor

    def products(self) -> tuple[Tensor, Tensor, Tensor]:
        """Products of all rows off the label.

        Returns:
            [n, K, K] of the rows with each other, [n, K] of the rows with g, [n] of g with itself; float64.
        """
        rows = self.scratch.rows[:, : len(self.problem)]  # [M + 2, n, V]
        pairs = self.sums.new_empty(len(self.problem), len(rows), len(rows))
        for index in range(len(rows)):
            own = self._products(rows[index], rows[: index + 1])
            pairs[:, index, : index + 1] = own
            pairs[:, : index + 1, index] = own
        last = len(rows) - 1
        products = pairs.new_empty(len(pairs), last + 1, last + 1)
        products[:, :last, :last] = pairs[:, :last, :last]
        products[:, :last, last] = products[:, last, :last] = self.sums[:, :last]
        products[:, last, last] = self.problem.batch.vocabulary - 1
        return products, torch.cat([pairs[:, :last, last], self.sums[:, last:]], -1), pairs[:, last, last]

    def solution(self, normal: NormalEquations, subset: tuple[int, ...]) -> Solution:
        """Weights over a set of directions, with one step of iterative refinement.

        Args:
            normal: the equations of these tokens.
            subset: the set.

        Returns:
            True weights, and what they leave unexplained.
        """
        needed = self.scratch.structure.rows_of(subset)
        factored = normal.over(subset)
        scaled = factored.solve(normal.right)
        left, at_label = self._left(scaled / normal.scale, needed)
        by_row = torch.zeros_like(self.coefficients[..., 0])  # [n, K]
        count = 1 + max(index for index in needed if index != self.scratch.structure.ones)
        by_row[:, :count] = self._products(left, self.scratch.rows[:count, : len(left)])
        by_row[:, [index for index in range(count) if index not in needed]] = 0.0  # they may not have been read
        if self.scratch.structure.ones in needed:
            by_row[:, -1] = _sum(left)
        right = (self.coefficients.mT @ by_row.unsqueeze(-1)).squeeze(-1)
        if self.problem.keeps_label:
            right = right + self.entries * at_label.unsqueeze(-1)
        correction = factored.solve(right / normal.scale)
        weights = factored.smallest((scaled + correction) / normal.scale)
        largest = self.scratch.largest(left)
        # no direction has an entry larger than its length, so what is left changes by no more than this
        change = correction.abs().sum(-1)
        if bool((change > NEGLIGIBLE * scaled.abs().sum(-1) + 0.01 * largest).any()):
            left, at_label = self._left(weights, needed)
            largest = self.scratch.largest(left)
        return Solution(weights, largest, (self.g_label - (self.entries * weights).sum(-1)).abs())

    def _products(self, one: Tensor, others: Tensor) -> Tensor:
        """[n, R] products of rows [n, V] with R other ones [R, n, V], float64."""
        count, blocks = len(one), self.scratch.blocks
        cut = one.view(count * blocks, 1, -1)
        parts = [
            torch.bmm(cut, some.view(len(some), count * blocks, -1).permute(1, 2, 0)) for some in others.split(TOGETHER)
        ]
        return torch.cat(parts, -1).view(count, blocks, -1).sum(1, dtype=torch.float64)

    def _left(self, weights: Tensor, needed: list[int]) -> tuple[Tensor, Tensor]:
        """[n, V] what true weights leave of g off the label (0 there), and [n] what they leave at it."""
        scratch, count = self.scratch, len(self.problem)
        shares = (self.coefficients @ weights.unsqueeze(-1)).to(torch.float32)  # [n, K, 1]
        left, before = scratch.left[:count], scratch.rows[-1, :count]
        for index in needed:
            if index == scratch.structure.ones:
                torch.sub(before, shares[:, index], out=left).scatter_(-1, self.problem.batch.labels.unsqueeze(-1), 0.0)
            else:
                torch.addcmul(before, scratch.rows[index, :count], shares[:, index], value=-1, out=left)
            before = left
        return left, self.g_label - (self.entries * weights).sum(-1)


def _softmax(batch: TokenBatch, name: str, out: Tensor) -> None:
    """Probabilities of the model or a context model, float32, into memory that is there."""
    logits = getattr(batch, name)
    if logits is None:
        raise MissingContextError(f"{name} is needed here, and the batch has none. Pass TokenBatch(..., {name}=...).")
    torch.softmax(logits, -1, dtype=torch.float32, out=out)


def _sum(rows: Tensor) -> Tensor:
    """[n] sums of rows, float64."""
    return rows.sum(-1).to(torch.float64)


def _blocks(vocabulary: int) -> int:
    """Into how many equal blocks a vocabulary is cut, 1 where none of a good length divides it."""
    if vocabulary <= USUAL_BLOCK:
        return 1
    lengths = [*range(USUAL_BLOCK, SHORT_BLOCK - 1, -1), *range(USUAL_BLOCK + 1, LONG_BLOCK + 1)]
    return next((vocabulary // length for length in lengths if vocabulary % length == 0), 1)
