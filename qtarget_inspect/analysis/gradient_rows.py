"""Gradient rows of two losses, held against each other: size, difference, ratio, and whether they lie on one line."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

RELATIVE = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Share of a gradient row that may differ and count as rounding."""

FLOOR = 100.0
"""Absolute rounding of a row, in units in the last place of the largest gradient of its batch."""

ROUNDING_ONLY = 1e-12
"""A batch whose gradients are all below this is taken for one of rounding alone: p minus what equals p."""

ALIVE = 1e3
"""A row has a gradient where it exceeds absolute rounding by this factor; between the two nothing is said of it."""


@dataclass(frozen=True, eq=False)
class RowComparison:
    """Two gradients of the same N tokens, row by row; sizes are largest absolute entries.

    Args:
        size_a: [N] size of the first's rows.
        size_b: [N] size of the second's rows.
        difference: [N] largest |g_a - g_b|.
        equal: [N] bool, where that is rounding.
        ratio: [N] c of g_a = c g_b; inf where only the first has a gradient, NaN where neither has.
        remainder: [N] largest |g_a - c g_b|, of the smaller row against the larger.
        aligned: [N] bool, where that is rounding: the rows lie on one line, of either sign.
        slack: [N] how far the ratio may be off.
        alive_a: [N] bool, where the first has a gradient beyond rounding.
        alive_b: [N] bool, where the second has.
        floor_a: [N] absolute rounding of the first's rows.
        floor_b: [N] absolute rounding of the second's rows.
    """

    size_a: np.ndarray
    size_b: np.ndarray
    difference: np.ndarray
    equal: np.ndarray
    ratio: np.ndarray
    remainder: np.ndarray
    aligned: np.ndarray
    slack: np.ndarray
    alive_a: np.ndarray
    alive_b: np.ndarray
    floor_a: np.ndarray
    floor_b: np.ndarray

    @classmethod
    def concatenate(cls, parts: list[RowComparison]) -> RowComparison:
        """The rows of several batches, one after the other."""
        return cls(**{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)})

    @property
    def sure(self) -> np.ndarray:
        """[N] bool, rows whose ratio is finite and known: the second has a gradient."""
        return self.alive_b & np.isfinite(self.ratio)

    @property
    def only_a(self) -> np.ndarray:
        """[N] bool, rows where only the first has a gradient."""
        return self.alive_a & (self.size_b <= self.floor_b)

    @property
    def only_b(self) -> np.ndarray:
        """[N] bool, rows where only the second has a gradient."""
        return self.alive_b & (self.size_a <= self.floor_a)

    @property
    def surest(self) -> int:
        """Number of the row whose ratio is known best."""
        return int(np.argmax(np.minimum(self.size_a / self.floor_a, self.size_b / self.floor_b)))


def compare_gradient_rows(
    gradient_a: Tensor, gradient_b: Tensor, dtype: torch.dtype, tolerance: float | None = None
) -> RowComparison:
    """Hold two gradients of the same tokens against each other.

    Entries are judged by |g_a - c g_b| <= rtol |g_a| + 100 eps max |g|: relative to the row, above an absolute floor,
    since a row near zero is a difference of larger numbers (p_y -> 1) and keeps only their rounding.

    Args:
        gradient_a: [N, V] one loss's gradient.
        gradient_b: [N, V] the other's.
        dtype: the type that both were computed in, float32 where either casts to it.
        tolerance: rtol; default 1e-8 in float64, 1e-4 in float32.

    Returns:
        The comparison.

    Examples:
        >>> g = torch.tensor([[0.5, -0.5], [0.1, -0.1]], dtype=torch.float64)
        >>> rows = compare_gradient_rows(2 * g, g, torch.float64)
        >>> rows.ratio.tolist(), rows.aligned.all(), rows.equal.any()
        ([2.0, 2.0], np.True_, np.False_)
    """
    a, b = gradient_a.double(), gradient_b.double()
    relative = RELATIVE[dtype] if tolerance is None else tolerance
    eps = torch.finfo(dtype).eps
    size_a, size_b = a.abs().amax(-1), b.abs().amax(-1)
    largest = (float(size_a.max()), float(size_b.max()))
    scale_a, scale_b = (scale if scale > ROUNDING_ONLY else 1.0 for scale in largest)
    floor_a, floor_b = FLOOR * eps * scale_a, FLOOR * eps * scale_b
    difference = (a - b).abs().amax(-1)
    equal = difference <= relative * torch.maximum(size_a, size_b) + floor_a + floor_b

    tiny = torch.finfo(torch.float64).tiny
    from_a = size_a / scale_a >= size_b / scale_b  # the larger row is the base, the other is projected onto it
    base, other = torch.where(from_a[:, None], a, b), torch.where(from_a[:, None], b, a)
    size_base, size_other = torch.where(from_a, size_a, size_b), torch.where(from_a, size_b, size_a)
    floor_base, floor_other = torch.where(from_a, floor_a, floor_b), torch.where(from_a, floor_b, floor_a)
    unit = base / size_base.clamp(min=tiny)[:, None]  # squares of the row itself may underflow
    along = (other * unit).sum(-1) / unit.square().sum(-1).clamp(min=tiny)
    step = along / size_base
    remainder = (other - along[:, None] * unit).abs().amax(-1)
    aligned = (size_base == 0) | (remainder <= relative * size_other + floor_other + step.abs() * floor_base)
    ratio = torch.where(from_a, 1 / step, step)
    slack = relative * ratio.abs() + (floor_a + ratio.abs() * floor_b) / size_b
    rows = {
        "size_a": size_a,
        "size_b": size_b,
        "difference": difference,
        "equal": equal,
        "ratio": ratio,
        "remainder": remainder,
        "aligned": aligned,
        "slack": slack,
        "alive_a": size_a > ALIVE * floor_a,
        "alive_b": size_b > ALIVE * floor_b,
        "floor_a": torch.full_like(size_a, floor_a),
        "floor_b": torch.full_like(size_b, floor_b),
    }
    return RowComparison(**{name: value.cpu().numpy() for name, value in rows.items()})
