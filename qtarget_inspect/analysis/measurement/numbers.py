"""Numbers: from sums over a token's vocabulary to what is reported of it, with the rules for what is undefined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from qtarget_inspect.core.tolerances import rounding

LOST = 1e-2
"""Where rounding may move a residual's entries by more than this, its entropy is not reported."""

FULL_TRUST = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Where gamma is this near to 1 there is no residual."""


@dataclass(frozen=True)
class Sums:
    """Sums over the others of each token, k != y, and the label's own entries; all [..., N], float64.

    Args:
        gain: Q_y - p_y.
        remainder: Q_y - gamma.
        positive: sum of the positive Q_k.
        negative: sum of the negative ones, >= 0.
        distance: sum |Q_k - p_k|.
        largest: max |Q_k|.
        positive_log: sum of Q_k log Q_k over the positive ones.
        negative_log: the same of |Q_k| over the negative ones.
        cross: sum of Q_k log p_k over the positive ones.
    """

    gain: Tensor
    remainder: Tensor
    positive: Tensor
    negative: Tensor
    distance: Tensor
    largest: Tensor
    positive_log: Tensor
    negative_log: Tensor
    cross: Tensor

    @classmethod
    def stacked(cls, parts: Sequence[Sums]) -> Sums:
        """Those of several losses on the same tokens, [L, N] each."""
        return cls(*(torch.stack([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def where(self, mask: Tensor, other: Sums) -> Sums:
        """These where a mask is true, others where it is false."""
        return Sums(*(torch.where(mask, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))


def numbers_of(
    sums: Sums, gamma: Tensor, p_label: Tensor, log_p_label: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    """What is reported of each token.

    Args:
        sums: of Q in its gauge.
        gamma: [..., N] label trust.
        p_label: [N] p_y.
        log_p_label: [N] log p_y.
        dtype: the type whose rounding is forgiven.

    Returns:
        name -> [..., N]: mass, negative_mass, signed, q_label, total_variation, kl_to_model, target_entropy,
        residual_entropy; and spoiled, [..., N] bool: where a sum that is needed is no number.
    """
    q_label = sums.remainder + gamma
    mass = sums.positive - sums.negative + q_label
    negative = sums.negative + (-q_label).clamp(min=0)
    size = torch.maximum(sums.largest, q_label.abs()).clamp(min=1)
    allowed = rounding(dtype) * size
    sound = (negative <= allowed) & ((mass - 1).abs() <= allowed)
    own = torch.where(q_label > 0, q_label * (q_label.log() - log_p_label), 0.0)
    divergence = sums.positive_log - sums.cross + own
    entropy = -(sums.positive_log + _x_log_x(q_label))
    of_residual, spoiled = _residual_entropy(sums, 1 - gamma, size, dtype)
    return {
        "mass": mass,
        "negative_mass": negative,
        "signed": (negative > allowed).to(mass.dtype),
        "q_label": q_label,
        "total_variation": 0.5 * (sums.distance + sums.gain.abs()),
        "kl_to_model": torch.where(sound, divergence, torch.nan),
        "target_entropy": torch.where(sound, entropy, torch.nan),
        "residual_entropy": of_residual,
        "spoiled": spoiled | torch.isnan(mass + sums.distance) | (sound & torch.isnan(divergence + entropy)),
    }


def _residual_entropy(sums: Sums, free: Tensor, size: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """[N] entropy of remainder / (1 - gamma), and [N] bool: where it should be there and a sum is no number.

    With f = 1 - gamma and r_k = Q_k / f: sum r log r = (sum |Q_k| log |Q_k| - log |f| sum |Q_k|) / |f|, over the
    entries whose sign is that of f.

    Returns:
        The entropy, NaN where a residual is absent, lost in rounding, or no distribution; and the mask.
    """
    free = torch.where(free.abs() <= FULL_TRUST[dtype], torch.nan, free)
    scale, own = free.abs(), sums.remainder / free
    agreeing = torch.where(free > 0, sums.positive, sums.negative)
    opposed = torch.where(free > 0, sums.negative, sums.positive)
    logs = torch.where(free > 0, sums.positive_log, sums.negative_log)
    noise = 16 * torch.finfo(dtype).eps * size / scale
    residual_size = torch.maximum(sums.largest / scale, own.abs()).clamp(min=1)
    allowed = noise.clamp(min=rounding(dtype)) * residual_size
    mass, negative = (agreeing - opposed) / scale + own, opposed / scale + (-own).clamp(min=0)
    sound = (negative <= allowed) & ((mass - 1).abs() <= allowed) & (noise <= LOST)
    entropy = -((logs - agreeing * scale.log()) / scale + _x_log_x(own))
    return torch.where(sound, entropy, torch.nan), sound & torch.isnan(entropy)


def _x_log_x(values: Tensor) -> Tensor:
    """x log x where x > 0, else 0."""
    return torch.where(values > 0, torch.special.xlogy(values, values.clamp(min=0)), 0.0)
