"""Comparison: what several losses teach on one batch, a row a loss, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import Decomposition, Gauge, decompose
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert

Resample = Literal["auto", "tokens", "sequences"]

_AVERAGED = ("gamma", "total_variation", "kl_to_model", "residual_entropy", "negative_mass")


def compare(
    losses: Sequence[Any],
    batch: TokenBatch,
    *,
    gauge: Gauge = "natural",
    resample: Resample = "auto",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> pd.DataFrame:
    """What losses teach on the same tokens: spread of gamma, and how far Q lies from the model.

    Means over tokens stand beside a percentile bootstrap interval, resampled over sequences where the batch has several
    (tokens of one text are not independent), else over tokens.

    Args:
        losses: losses as `invert` takes them.
        batch: the tokens.
        gauge: "natural" (each loss's own, named in its row), "unit" or "normalized".
        resample: "tokens", "sequences", or "auto".
        resamples: bootstrap resamples.
        confidence: level of the intervals.
        seed: of the resampling.
        dtype: type to compute in; default the logits' own.

    Returns:
        A row a loss: loss, gauge, tokens, resampled; gamma (mean), gamma_low, gamma_high (interval), gamma_q05,
        gamma_median, gamma_q95, gamma_defined (share of tokens with a gamma); total_variation, kl_to_model (KL(Q‖p),
        nats), residual_entropy (nats), negative_mass, each a mean with _low and _high; kl_defined and residual_defined,
        the share of tokens the mean is
        over: KL of a signed Q and the entropy of a signed or absent residual are undefined; signed, the share of tokens
            with
        negative mass; mass_error, the largest |sum Q - 1|; method and reduction, what inversion did.

    Raises:
        QTargetError: no loss is given, or `resample` is unknown or impossible.

    Examples:
        >>> import qtarget_inspect as qt
        >>> table = compare(["sft", "dft"], qt.probe_batch(64), resamples=100)
        >>> table[["loss", "gauge", "kl_defined"]].values.tolist()
        [['sft', 'unit', 1.0], ['dft', 'unit', 1.0]]
    """
    if isinstance(losses, str) or not losses:
        raise QTargetError("compare takes a list of losses, e.g. qt.compare(['sft', 'dft'], batch).")
    groups, resampled = _groups(batch, resample)
    rows = []
    for loss in losses:
        target = invert(loss, batch, dtype=dtype)
        reading = decompose(target, gauge=gauge)
        values = per_token_values(reading)
        row: dict[str, Any] = {
            "loss": target.loss,
            "gauge": reading.gauge,
            "tokens": len(batch),
            "resampled": resampled,
        }
        for name in _AVERAGED:
            row |= _mean_with_interval(name, values[name], groups, resamples, confidence, seed)
            if name == "gamma":
                row |= _quantiles(values[name])
        row |= {
            "gamma_defined": _share(np.isfinite(values["gamma"])),
            "kl_defined": _share(np.isfinite(values["kl_to_model"])),
            "residual_defined": _share(np.isfinite(values["residual_entropy"])),
            "signed": _share(values["negative_mass"] > _rounding(reading)),
            "mass_error": float(np.nanmax(np.abs(values["mass"] - 1))),
            "method": target.method,
            "reduction": target.reduction.text,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def per_token_values(reading: Decomposition) -> dict[str, np.ndarray]:
    """Numbers of every token under one reading.

    Args:
        reading: a decomposition.

    Returns:
        name -> [N]: gamma, mass, negative_mass, total_variation (between Q and p), kl_to_model (KL(Q‖p), NaN for a
        signed Q), residual_entropy (NaN for a signed or absent residual), q_label, p_label; nats, NaN where the gauge
        is undefined.
    """
    batch, parts = reading.target.batch, []
    rounding = _rounding(reading)
    size = rows_per_chunk(batch.vocabulary, reading.q.dtype, reading.q.device)
    for rows in row_chunks(len(batch), size):
        state = State(batch.select(rows), reading.q.dtype)
        parts.append(_values_of_rows(reading.q[rows], reading.residual[rows], state, rounding))
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    values |= {"gamma": reading.gamma, "p_label": reading.target.p_label}
    return {name: value.to(torch.float64).cpu().numpy() for name, value in values.items()}


def _values_of_rows(q: Tensor, residual: Tensor, state: State, rounding: float) -> dict[str, Tensor]:
    negative = (-q).clamp(min=0).sum(-1)
    log_ratio = torch.where(q > 0, q.clamp(min=torch.finfo(q.dtype).tiny).log() - state.log_p, 0.0)
    kl = (q.clamp(min=0) * log_ratio).sum(-1)
    mass = q.sum(-1)
    entropy = -torch.special.xlogy(residual.clamp(min=0), residual.clamp(min=0)).sum(-1)
    residual_negative = (-residual).clamp(min=0).sum(-1)
    is_distribution = (negative <= rounding) & ((mass - 1).abs() <= 10 * rounding)
    return {
        "mass": mass,
        "negative_mass": negative,
        "total_variation": 0.5 * (q - state.p).abs().sum(-1),
        "kl_to_model": torch.where(is_distribution, kl, torch.nan),
        "residual_entropy": torch.where(residual_negative <= 1e3 * rounding, entropy, torch.nan),
        "q_label": q.gather(-1, state.labels.unsqueeze(-1)).squeeze(-1),
    }


def _rounding(reading: Decomposition) -> float:
    return 1e-9 if reading.q.dtype == torch.float64 else 1e-5


def _groups(batch: TokenBatch, resample: str) -> tuple[np.ndarray, str]:
    """[N] the unit that each token is resampled with, and what the units are."""
    if resample not in ("auto", "tokens", "sequences"):
        raise QTargetError(f"resample must be auto, tokens or sequences, not {resample!r}.")
    if resample == "sequences" and batch.sequence_ids is None:
        raise QTargetError("resample='sequences' needs TokenBatch(..., sequence_ids=...).")
    if batch.sequence_ids is not None and resample != "tokens":
        ids = batch.sequence_ids.cpu().numpy()
        if resample == "sequences" or len(np.unique(ids)) > 1:
            return np.unique(ids, return_inverse=True)[1], "sequences"
    return np.arange(len(batch)), "tokens"


def _mean_with_interval(
    name: str, values: np.ndarray, groups: np.ndarray, resamples: int, confidence: float, seed: int
) -> dict[str, float]:
    """Mean over the tokens with a value, with a percentile bootstrap over groups (ratio of sums)."""
    from scipy.stats import bootstrap

    known = np.isfinite(values)
    if not known.any():
        return {name: float("nan"), f"{name}_low": float("nan"), f"{name}_high": float("nan")}
    sums = np.bincount(groups, np.where(known, values, 0.0))
    counts = np.bincount(groups, known.astype(float))
    mean = float(values[known].mean())
    if len(sums) < 2:
        return {name: mean, f"{name}_low": float("nan"), f"{name}_high": float("nan")}
    if np.ptp(values[known]) <= 1e-12 * max(1.0, abs(mean)):
        return {name: mean, f"{name}_low": mean, f"{name}_high": mean}

    def ratio(total: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return total.sum(axis=axis) / count.sum(axis=axis)

    found = bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=max(1, int(1e7 // len(sums))),
    )
    return {
        name: mean,
        f"{name}_low": float(found.confidence_interval.low),
        f"{name}_high": float(found.confidence_interval.high),
    }


def _quantiles(gamma: np.ndarray) -> dict[str, float]:
    known = gamma[np.isfinite(gamma)]
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]) if known.size else (np.nan,) * 3
    return {"gamma_q05": float(low), "gamma_median": float(middle), "gamma_q95": float(high)}


def _share(mask: np.ndarray) -> float:
    return float(mask.mean())
