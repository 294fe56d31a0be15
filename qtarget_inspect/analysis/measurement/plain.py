"""Plain numbers of every token, from a target and its reading: what the fast path is held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_DEPENDENT, FLAG_FULL_TRUST, Decomposition, Gauge, decompose
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.analysis.measurement.movement import movement_of_rows
from qtarget_inspect.analysis.measurement.numbers import LOST
from qtarget_inspect.analysis.measurement.records import LossMeasurement, TopTokens, in_float64, joined_top
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.core import numerics
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.target import InducedTarget


def measure_target(loss: Any, target: InducedTarget, gauge: Gauge, top: int | None = None) -> LossMeasurement:
    """The numbers of a loss from its target.

    Args:
        loss: the loss, which is looked at again where its target is float64: it may compute in float32.
        target: its target.
        gauge: "natural", "unit" or "normalized".
        top: how many tokens that gain and lose most are wanted; None for none.

    Returns:
        Its record.
    """
    reading = read(target, gauge)
    gains, drops = (None, None) if top is None else _movement(reading, top)
    return LossMeasurement(
        target.loss,
        reading.gauge,
        per_token_tensors(reading, _working_dtype(loss, target)),
        reading.flags,
        reading.unexplained,
        target.method,
        target.reduction.text,
        target.coupled,
        gains,
        drops,
    )


def _movement(reading: Decomposition, k: int) -> tuple[TopTokens, TopTokens]:
    """The tokens that gain and lose most."""
    batch, parts = reading.target.batch, []
    for rows in row_chunks(len(batch), rows_per_chunk(batch.vocabulary, reading.q.dtype, reading.q.device)):
        p = batch.select(rows).logits.to(reading.q.dtype).softmax(-1)
        parts.append(movement_of_rows(reading.q[rows] - p, k))
    gains, drops = zip(*parts, strict=True)
    return joined_top(gains), joined_top(drops)


def read(target: InducedTarget, gauge: Gauge) -> Decomposition:
    """The attractor reading; in the unit gauge where the natural one would rest on pulls that explain nothing."""
    reading = decompose(target, gauge=gauge)
    if gauge == "natural" and reading.gauge != "unit" and not explains(reading):
        return decompose(target, gauge="unit")
    return reading


def per_token_tensors(reading: Decomposition, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Numbers of every token under one reading.

    Where the pulls are not unique (on some tokens, not on all), or on all tokens where they do not explain the
    gradient, gamma and what follows from it are undetermined; in the normalized gauge Q is too, since its scale is the
    total pull.

    Args:
        reading: a decomposition.
        dtype: the type whose rounding is forgiven; default Q's own, float32 for a loss that casts to it inside.

    Returns:
        name -> [N] float64, the names being those of `NUMBERS`: NaN where the gauge is undefined, or the pulls are not
        unique or explain nothing.
    """
    batch, parts = reading.target.batch, []
    size = rows_per_chunk(batch.vocabulary, reading.q.dtype, reading.q.device)
    for rows in row_chunks(len(batch), size):
        state = State(batch.select(rows), reading.q.dtype)
        q, free = reading.q[rows], 1 - reading.gamma[rows]
        parts.append(values_of_rows(q, _residual_of_rows(reading, rows), free, state, dtype or q.dtype))
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    values |= {"gamma": reading.gamma, "p_label": reading.target.p_label}
    undetermined = _undetermined(reading)
    of_p = ("p_label", "model_entropy")
    for name in values if reading.gauge == "normalized" else ("gamma", "residual_entropy"):
        if name not in of_p:
            values[name] = values[name].masked_fill(undetermined, torch.nan)
    return {name: in_float64(value) for name, value in values.items()}


def _residual_of_rows(reading: Decomposition, rows: slice) -> Tensor:
    """[n, V] `reading.residual` of some rows, without those of all N."""
    q, gamma, labels = reading.q[rows], reading.gamma[rows], reading.target.batch.labels[rows].unsqueeze(-1)
    full = reading.flags.get(FLAG_FULL_TRUST)
    free = 1 - gamma if full is None else torch.where(full[rows], torch.nan, 1 - gamma)
    at_label = q.gather(-1, labels).to(gamma.dtype) - gamma.unsqueeze(-1)
    remainder = q.to(gamma.dtype).scatter(-1, labels, at_label.to(q.dtype).to(gamma.dtype))
    return (remainder / free.unsqueeze(-1)).to(q.dtype)


def values_of_rows(q: Tensor, residual: Tensor, free: Tensor, state: State, dtype: torch.dtype) -> dict[str, Tensor]:
    """The numbers of some rows, by their definitions.

    Args:
        q: [n, V] Q in its gauge.
        residual: [n, V] the residual.
        free: [n] 1 - gamma.
        state: the rows' state.
        dtype: the type whose rounding is forgiven.

    Returns:
        name -> [n], all but gamma and p_label.
    """
    mass, negative = q.sum(-1), (-q).clamp(min=0).sum(-1)
    allowed = rounding(dtype) * row_size(q)
    defined = ~torch.isnan(mass)
    sound = _is_distribution(q, allowed)
    log_ratio = torch.where(q > 0, q.clamp(min=torch.finfo(q.dtype).tiny).log() - state.log_p, 0.0)
    kl = torch.where(q > 0, q * log_ratio, 0.0).sum(-1)
    # dividing by 1 - gamma makes the last digits of Q larger
    noise = 16 * torch.finfo(dtype).eps * row_size(q) / free.abs()
    allowed_residual = torch.clamp(noise, min=rounding(dtype)) * row_size(residual)
    return {
        "mass": mass,
        "negative_mass": negative,
        "signed": torch.where(defined, (negative > allowed).to(q.dtype), torch.nan),
        "total_variation": 0.5 * (q - state.p).abs().sum(-1),
        "kl_to_model": torch.where(sound, kl, torch.nan),
        "target_entropy": torch.where(sound, _entropy(q), torch.nan),
        "residual_entropy": torch.where(
            _is_distribution(residual, allowed_residual) & (noise <= LOST), _entropy(residual), torch.nan
        ),
        "q_label": q.gather(-1, state.labels.unsqueeze(-1)).squeeze(-1),
        "model_entropy": numerics.entropy(state.log_p),
    }


def _entropy(rows: Tensor) -> Tensor:
    """[n] -sum b log b over the positive entries."""
    return -torch.where(rows > 0, torch.special.xlogy(rows, rows), 0.0).sum(-1)


def _is_distribution(rows: Tensor, allowed: Tensor) -> Tensor:
    """[n] bool: mass 1 and no negative mass, up to what is allowed; False where a row holds NaN."""
    negative = (-rows).clamp(min=0).sum(-1)
    return (negative <= allowed) & ((rows.sum(-1) - 1).abs() <= allowed)


def _undetermined(reading: Decomposition) -> Tensor:
    """[N] tokens whose gamma is one of many, unless that is so on every token; all of them without an explanation."""
    if not explains(reading):
        return torch.ones_like(reading.gamma, dtype=torch.bool)
    dependent = reading.flags.get(FLAG_DEPENDENT)
    free_of_pulls = reading.reading != "attractor" and reading.gauge == "unit"
    if dependent is None or free_of_pulls or bool(dependent.all()):
        return torch.zeros_like(reading.gamma, dtype=torch.bool)
    return dependent


def _working_dtype(loss: Any, target: InducedTarget) -> torch.dtype:
    """The type whose rounding is in Q."""
    if target.method == "closed-form" or target.q.dtype != torch.float64:
        return target.q.dtype
    return working_dtype(loss, target.batch.to(torch.float64))
