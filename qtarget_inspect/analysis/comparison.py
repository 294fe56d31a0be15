"""Comparison: what several losses teach on one batch, a row a loss, with bootstrap intervals."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.decomposition import Decomposition, Gauge
from qtarget_inspect.analysis.measurement.plain import per_token_tensors
from qtarget_inspect.analysis.measurement.procedure import measure
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import is_whole
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.variants import Variant, resolve

Resample = Literal["auto", "tokens", "sequences"]

_AVERAGED = ("gamma", "total_variation", "kl_to_model", "residual_entropy", "negative_mass")

_DRAWS = 5_000_000  # resampled units held at once


def compare(
    losses: Sequence[Any],
    batch: TokenBatch,
    *,
    baseline: Any = None,
    gauge: Gauge = "natural",
    resample: Resample = "auto",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> pd.DataFrame:
    """What losses teach on the same tokens: spread of gamma, and how far Q lies from the model.

    Means over tokens stand beside a percentile bootstrap interval, resampled over sequences where the batch has several
    (tokens of one text are not independent), else over tokens. Only units (sequences or tokens) that hold a defined
    value are resampled; where fewer than two do, the interval is NaN. Equal values in two or more units give an
    interval of no width.

    Warning:
        An interval from fewer than about ten units is poor: it is too narrow, and says little about other texts. Look
        at `units` before you read one.

    All losses run on the same tokens, so intervals of two rows may overlap where the losses clearly differ. With
    `baseline`, each row also holds its difference to that loss, averaged and resampled over the tokens on which both
    are defined. Each loss is taken in the gauge of its own row: set `gauge` to compare gammas within one.

    A loss without declared pulls is fitted. Where the fit leaves more than 1e-4 of the largest gradient
    (`unexplained`), its label pull means nothing: gamma and the residual are NaN, gamma_defined is 0, and the loss is
    shown in the unit gauge, whose Q needs no pulls. Asked for the normalized gauge, all numbers of its Q are NaN.

    Args:
        losses: a list of losses as `invert` takes them.
        batch: the tokens.
        baseline: one of `losses`, to take differences to; None for no differences.
        gauge: "natural" (each loss's own, named in its row), "unit" or "normalized".
        resample: "tokens", "sequences", or "auto".
        resamples: bootstrap resamples, at least 1.
        confidence: level of the intervals, between 0 and 1.
        seed: of the resampling, a non-negative integer.
        dtype: type to compute in; default the logits' own.

    Returns:
        A row a loss. Columns: loss, category ("" for a loss that is not registered), gauge, tokens, resampled (what),
        units (how many); gamma (mean), gamma_low, gamma_high (interval), gamma_q05, gamma_median, gamma_q95;
        total_variation, kl_to_model (KL(Q‖p), nats), residual_entropy (nats), negative_mass, each a mean with _low and
        _high. gamma_defined, kl_defined and
        residual_defined are the shares of tokens that the means are over: gamma is undefined where the gauge is, where
        the pulls are not unique, or where they do not explain the gradient; KL of a signed Q and the entropy of a
        residual that is absent or no distribution are undefined. signed is the share with negative mass, of the tokens
        where Q is defined; mass_error the largest |sum Q - 1|; unexplained the largest entry of Q that the pulls leave
        over; method and reduction tell what inversion did. With a baseline also its name, and for each mean NAME the
        columns NAME_diff, NAME_diff_low, NAME_diff_high.

    Raises:
        QTargetError: an argument is none of the above.
        BatchError: `batch` is no TokenBatch.

    Examples:
        >>> import qtarget_inspect as qt
        >>> table = compare(["sft", "dft"], qt.probe_batch(64), resamples=100)
        >>> table[["loss", "gauge", "kl_defined"]].values.tolist()
        [['sft', 'unit', 1.0], ['dft', 'unit', 1.0]]
        >>> table = compare(["sft", "dft"], qt.probe_batch(64), resamples=100, baseline="sft")
        >>> table[["loss", "gamma", "gamma_diff"]].round(2).values.tolist()
        [['sft', 1.0, 0.0], ['dft', 0.5, -0.5]]
        >>> table = compare(["logit-norm"], qt.probe_batch(64), resamples=100)  # a loss that is no pulls at all
        >>> table[["gamma", "gamma_defined"]].values.tolist()
        [[nan, 0.0]]
    """
    _check_arguments(losses, batch, resample, resamples, confidence, seed)
    base = None if baseline is None else _position(baseline, losses)
    units, resampled = _units(batch, resample)
    bootstrap = _Bootstrap(units, int(resamples), float(confidence), operator.index(seed))
    rows, values = [], []
    categories = [loss.category if isinstance(loss, Variant) else "" for loss in map(resolve, losses)]
    for found, category in zip(measure(losses, batch, gauge=gauge, dtype=dtype), categories, strict=True):
        values.append({name: value.cpu().numpy() for name, value in found.values.items()})
        rows.append({
            "loss": found.loss,
            "category": category,
            "gauge": found.gauge,
            "tokens": len(batch),
            "resampled": resampled,
            "units": bootstrap.units,
            **_summary(values[-1], bootstrap),
            "unexplained": _largest(found.unexplained.cpu().numpy()),
            "method": found.method,
            "reduction": found.reduction,
        })
    if base is not None:
        for row, own in zip(rows, values, strict=True):
            row["baseline"] = rows[base]["loss"]
            with np.errstate(invalid="ignore"):  # inf - inf is undefined, and NaN says so
                differences = {f"{name}_diff": own[name] - values[base][name] for name in _AVERAGED}
            row.update(bootstrap.means(differences))
    return pd.DataFrame(rows)


def per_token_values(reading: Decomposition, dtype: torch.dtype | None = None) -> dict[str, np.ndarray]:
    """Numbers of every token under one reading.

    Args:
        reading: a decomposition.
        dtype: the type whose rounding is forgiven; default Q's own, float32 for a loss that casts to it inside.

    Returns:
        name -> [N], as in `measure`: nats, NaN where the gauge is undefined, or the pulls are not unique or explain
        nothing.
    """
    return {name: value.cpu().numpy() for name, value in per_token_tensors(reading, dtype).items()}


def _summary(values: dict[str, np.ndarray], bootstrap: _Bootstrap) -> dict[str, Any]:
    """Means with intervals, quantiles of gamma, and shares of tokens."""
    known = {name: ~np.isnan(value) for name, value in values.items()}
    means = bootstrap.means({name: values[name] for name in _AVERAGED})
    gamma = values["gamma"][known["gamma"]]
    low, middle, high = np.quantile(gamma, [0.05, 0.5, 0.95]) if gamma.size else (np.nan,) * 3
    signed = values["signed"][known["signed"]]
    head = ("gamma", "gamma_low", "gamma_high")
    return {
        **{name: means[name] for name in head},
        "gamma_q05": float(low),
        "gamma_median": float(middle),
        "gamma_q95": float(high),
        **{name: value for name, value in means.items() if name not in head},
        "gamma_defined": float(known["gamma"].mean()),
        "kl_defined": float(known["kl_to_model"].mean()),
        "residual_defined": float(known["residual_entropy"].mean()),
        "signed": float(signed.mean()) if signed.size else float("nan"),
        "mass_error": _largest(np.abs(values["mass"] - 1)),
    }


def _largest(values: np.ndarray) -> float:
    """The largest value that is not NaN; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else float("nan")


def _check_arguments(losses: Any, batch: Any, resample: Any, resamples: Any, confidence: Any, seed: Any) -> None:
    if isinstance(losses, (str, bytes)) or not isinstance(losses, Sequence):
        given = repr(losses) if isinstance(losses, (str, bytes)) else type(losses).__name__
        raise QTargetError(f"losses: compare takes a list of losses, not {given}. Pass e.g. ['sft', 'dft'].")
    if not losses:
        raise QTargetError("losses is empty: compare takes a list of losses. Pass e.g. ['sft', 'dft'].")
    if not isinstance(batch, TokenBatch):
        raise BatchError(f"batch must be a TokenBatch, not {type(batch).__name__}: qt.TokenBatch(logits, labels).")
    if resample not in ("auto", "tokens", "sequences"):
        raise QTargetError(f"resample must be auto, tokens or sequences, not {resample!r}.")
    if resample == "sequences" and batch.sequence_ids is None:
        raise QTargetError("resample='sequences' needs TokenBatch(..., sequence_ids=...).")
    if not is_whole(resamples) or resamples < 1:
        raise QTargetError(f"resamples must be an integer of at least 1, not {resamples!r}; 1000 is usual.")
    if not isinstance(confidence, (float, np.floating)) or not 0 < confidence < 1:
        raise QTargetError(f"confidence must lie between 0 and 1, not be {confidence!r}; 0.95 is usual.")
    if not is_whole(seed) or seed < 0:
        raise QTargetError(f"seed must be a non-negative integer, not {seed!r}; equal seeds give equal intervals.")


def _position(baseline: Any, losses: Sequence[Any]) -> int:
    """Where the baseline stands in the list."""
    for i, loss in enumerate(losses):
        if loss is baseline or (isinstance(loss, str) and isinstance(baseline, str) and loss == baseline):
            return i
    named = ", ".join(loss if isinstance(loss, str) else getattr(loss, "__name__", str(loss)) for loss in losses)
    raise QTargetError(f"baseline must be one of the losses compared ({named}), not {baseline!r}. Add it to the list.")


def _units(batch: TokenBatch, resample: str) -> tuple[np.ndarray, str]:
    """[N] the unit that each token is resampled with, and what the units are."""
    if batch.sequence_ids is not None and resample != "tokens":
        ids, unit = np.unique(batch.sequence_ids.cpu().numpy(), return_inverse=True)
        if resample == "sequences" or len(ids) > 1:
            return unit, "sequences"
    return np.arange(len(batch)), "tokens"


@dataclass(frozen=True)
class _Bootstrap:
    """Percentile bootstrap over units of a mean over tokens (a ratio of sums).

    Args:
        unit: [N] the unit of each token, from 0 on without gaps.
        resamples: how many resamples.
        confidence: level of the intervals.
        seed: of the resampling.
    """

    unit: np.ndarray
    resamples: int
    confidence: float
    seed: int

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.unit.max()) + 1

    def means(self, columns: dict[str, np.ndarray]) -> dict[str, float]:
        """Mean, NAME_low and NAME_high of each column, over the tokens where it is not NaN."""
        found: dict[str, float] = {}
        for name, values in columns.items():
            known = ~np.isnan(values)
            mean = float(values[known].mean()) if known.any() else float("nan")
            low, high = self._interval(values, known, mean)
            found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return found

    def _interval(self, values: np.ndarray, known: np.ndarray, mean: float) -> tuple[float, float]:
        counts = np.bincount(self.unit, known)
        held = counts > 0
        if held.sum() < 2:
            return float("nan"), float("nan")
        if np.isfinite(mean) and np.ptp(values[known]) <= 1e-12 * max(1.0, abs(mean)):
            return mean, mean
        sums = np.bincount(self.unit, np.where(known, values, 0.0))
        if not np.isfinite(mean):  # KL may be infinite; an interval around that says nothing
            return float("nan"), float("nan")
        import scipy.stats  # takes a second

        found = scipy.stats.bootstrap(
            (sums[held], counts[held]),
            lambda total, count, axis: total.sum(axis) / count.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=self.resamples,
            confidence_level=self.confidence,
            method="percentile",
            rng=np.random.default_rng(self.seed),
            batch=max(1, _DRAWS // int(held.sum())),
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)
