"""InducedTarget: what a loss teaches on a batch, Q = p - g, with what was done to get it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.reduction import Reduction

if TYPE_CHECKING:
    from qtarget_inspect.variants.variant import Variant


@dataclass(frozen=True, eq=False, repr=False)
class InducedTarget:
    """The induced target of a loss on N tokens, in the unit gauge.

        Q = p - g,    p = softmax(z),    g = dL/dz of the unreduced per-token loss.

    Args:
        q: [N, V] the induced target; may be signed, may not sum to 1.
        batch: the tokens.
        loss: the loss's name.
        method: "closed-form", "torch.func", "autograd" or "vmap".
        reduction: what was undone.
        coupled: how tokens depend on each other, None where they do not.
        variant: the registered variant, None for other losses.
        notes: what else is worth knowing: why torch.func was not used, that the loss is random, that gradients are
            zero.
        make_gradient: recomputes g [N, V]; kept for `.g`.
    """

    q: Tensor
    batch: TokenBatch
    loss: str
    method: str
    reduction: Reduction
    coupled: str | None = None
    variant: Variant | None = None
    notes: tuple[str, ...] = ()
    make_gradient: Callable[[], Tensor] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """What it is, in one line."""
        shape = f"N={self.q.shape[0]}, V={self.q.shape[1]}"
        coupled = f", coupled: {self.coupled}" if self.coupled else ""
        return f"InducedTarget({self.loss}, {shape}, {self.method}, {self.reduction.text}{coupled})"

    @cached_property
    def p(self) -> Tensor:
        """[N, V] the model, softmax of the logits; computed on first use."""
        return self.batch.logits.to(self.q.dtype).softmax(-1)

    @cached_property
    def g(self) -> Tensor:
        """[N, V] logit gradient of the per-token loss.

        Differentiated again on first use, since p - Q has lost its last digits.
        """
        return self.make_gradient() if self.make_gradient is not None else self.p - self.q

    @cached_property
    def mass(self) -> Tensor:
        """[N] sum of Q, 1 where the loss is shift invariant; computed on first use."""
        return torch.cat([self.q[rows].sum(-1) for rows in self._chunks()])

    @cached_property
    def negative_mass(self) -> Tensor:
        """[N] total of Q's negative entries, >= 0; computed on first use."""
        return torch.cat([self.q[rows].clamp(max=0).sum(-1).neg_() for rows in self._chunks()])

    def _chunks(self) -> Iterator[slice]:
        return row_chunks(len(self.batch), rows_per_chunk(self.q.shape[1], self.q.dtype, self.q.device))

    @cached_property
    def q_label(self) -> Tensor:
        """[N] Q on the observed token."""
        return self.q.gather(-1, self.batch.labels.unsqueeze(-1)).squeeze(-1)

    @cached_property
    def p_label(self) -> Tensor:
        """[N] the model's probability of the observed token."""
        return State(self.batch, self.q.dtype).p_label

    def is_distribution(self, tolerance: float | None = None) -> Tensor:
        """[N] bool: where Q sums to 1 and has no negative entry, up to rounding.

        Args:
            tolerance: what counts as rounding, per unit of Q's largest entry; default 1e-10 in float64, 1e-5 in
                float32.

        Returns:
            [N] mask.
        """
        allowed = (rounding(self.q.dtype) if tolerance is None else tolerance) * row_size(self.q)
        return ((self.mass - 1).abs() <= allowed) & (self.negative_mass <= allowed)

    def save(self, path: str | Path) -> Path:
        """Write the target, its gradient and its batch to one safetensors file; `qt.load` reads it.

        Args:
            path: where to.

        Returns:
            The path.
        """
        from qtarget_inspect.engine.storage import save_target  # it reads targets too, so it imports this file

        return save_target(self, path)
