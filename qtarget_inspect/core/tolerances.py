"""Tolerances: how large rounding may be, in one place, so that everything that judges a number judges it alike."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Error of an entry of Q, per unit of size, that is rounding: some hundred units in the last place."""


def rounding(dtype: torch.dtype) -> float:
    """Largest error, per unit of size, that counts as rounding.

    Args:
        dtype: the type that was computed in.

    Returns:
        1e-10 for float64, 1e-5 for float32.
    """
    return ROUNDING[dtype]


def row_size(rows: Tensor) -> Tensor:
    """Size that the rounding of a row is measured against: its largest entry, at least 1.

    Args:
        rows: [N, V] values, NaN allowed.

    Returns:
        [N] sizes.
    """
    return torch.nan_to_num(rows).abs().amax(-1).clamp(min=1)
