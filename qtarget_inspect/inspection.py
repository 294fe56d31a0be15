"""inspect(loss) -> Inspection: the one object that a notebook shows, in text and HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.comparison import per_token_values
from qtarget_inspect.analysis.decomposition import FLAG_DEPENDENT, FLAG_FULL_TRUST, Decomposition, decompose
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.tables.notes import pulls_in_words
from qtarget_inspect.variants import Variant, resolve
from qtarget_inspect.vocabulary.pulls import LABEL

P_LABEL_EDGES = (0.0, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1.0)
"""Bins of p_y in which gamma is shown."""

_NOISE = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """What a loss teaches on some tokens: one row, its curve over p_y, its flags and warnings.

    Args:
        name: the loss.
        target: the induced target.
        reading: the decomposition in the loss's natural gauge, attractor reading.
        readings: the other readings, "self" and "label-free", in the same gauge.
        states: what it was inspected on, in words.
        warnings: what a user should know before trusting the numbers.
    """

    name: str
    target: InducedTarget
    reading: Decomposition
    readings: dict[str, Decomposition]
    states: str
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """The same text that `text` gives."""
        return self.text()

    @property
    def variant(self) -> Variant | None:
        """The registered variant, None for other losses."""
        return self.target.variant

    def text(self) -> str:
        """The inspection as aligned plain text."""
        head = f"{self.reading.gauge} gauge · {self.reading.reading} reading · explained to {self._explained:.0e}"
        lines = [f"{self.name:<48}{head}"]
        lines += [f"  {label:<10}{text}" for label, text in self._facts()]
        lines += [f"  ! {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='padding-right:1.5em;vertical-align:top'>{escape(label)}</td>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for label, text in self._facts()
        )
        warnings = "".join(f"<div>&#9888; {escape(warning)}</div>" for warning in self.warnings)
        curve = self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}", border=0)
        head = f"{self.reading.gauge} gauge · {self.reading.reading} reading · explained to {self._explained:.0e}"
        return (
            f"<div><b>{escape(self.name)}</b> &nbsp; {escape(head)}<table>{rows}</table>{warnings}"
            f"<details><summary>gamma over p_y</summary>{curve}</details></div>"
        )

    def table(self) -> pd.DataFrame:
        """gamma over p_y: a row a bin of p_y, with the range and mean of gamma, Q on the label and negative mass.

        Returns:
            Columns p_y_from, p_y_to, tokens, gamma_min, gamma_mean, gamma_max, q_label, negative_mass, reading, gauge.
        """
        values, rows = self._values, []
        for low, high in pairwise(P_LABEL_EDGES):
            inside = (values["p_label"] >= low) & ((values["p_label"] < high) | (high == 1.0))
            gamma = values["gamma"][inside]
            gamma = gamma[np.isfinite(gamma)]
            if inside.any():
                rows.append({
                    "p_y_from": low,
                    "p_y_to": high,
                    "tokens": int(inside.sum()),
                    "gamma_min": gamma.min() if gamma.size else np.nan,
                    "gamma_mean": gamma.mean() if gamma.size else np.nan,
                    "gamma_max": gamma.max() if gamma.size else np.nan,
                    "q_label": np.nanmean(values["q_label"][inside]) if gamma.size else np.nan,
                    "negative_mass": np.nanmean(values["negative_mass"][inside]) if gamma.size else np.nan,
                    "reading": self.reading.reading,
                    "gauge": self.reading.gauge,
                })
        return pd.DataFrame(rows)

    def row(self) -> pd.DataFrame:
        """The loss as one row: gauge, gamma, pulls, mass, negative mass, reduction, coupling, unexplained.

        Returns:
            A DataFrame with one row.
        """
        gamma = self._finite_gamma
        return pd.DataFrame([
            {
                "loss": self.name,
                "gauge": self.reading.gauge,
                "reading": self.reading.reading,
                "gamma_min": gamma.min() if gamma.size else np.nan,
                "gamma_max": gamma.max() if gamma.size else np.nan,
                "pulls": self._pulls_text,
                "mass_error": self._mass_error,
                "min_q": float(torch.nan_to_num(self.reading.q, nan=torch.inf).min()),
                "unexplained": self._explained,
                "reduction": self.target.reduction.text,
                "coupled": self.target.coupled,
                "method": self.target.method,
            }
        ])

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        values = per_token_values(self.reading)
        values["gamma"] = np.where(_determined(self.reading).cpu().numpy(), values["gamma"], np.nan)
        return values

    @property
    def _finite_gamma(self) -> np.ndarray:
        gamma = self._values["gamma"]
        return gamma[np.isfinite(gamma)]

    @property
    def _explained(self) -> float:
        return float(self.reading.unexplained.max())

    @property
    def _noise(self) -> float:
        return _NOISE[self.reading.q.dtype]

    @property
    def _mass_error(self) -> float:
        return float(np.nanmax(np.abs(self._values["mass"] - 1)))

    @property
    def _pulls_text(self) -> str:
        if self.variant is not None and self.variant.pulls is not None and self.reading.source == "declared":
            return self.variant.pulls.text
        parts = [f"{name} {_span(weight.cpu().numpy())}" for name, weight in self._live_pulls().items()]
        return ", ".join(parts) if parts else "none: nothing moves"

    def _live_pulls(self) -> dict[str, torch.Tensor]:
        """Pulls that are not zero, on the tokens where they are unique."""
        unique = _determined(self.reading)
        pulls = {name: weight[unique] for name, weight in self.reading.pulls.items()}
        return {name: weight for name, weight in pulls.items() if bool((weight.abs() > 10 * self._noise).any())}

    def _facts(self) -> list[tuple[str, str]]:
        """Label and text of every line below the head."""
        facts = []
        if self.variant is not None:
            facts.append(("loss", f"{self.variant.formula}   ({self.variant.category}, {self.variant.reference})"))
        facts += [("gamma", self._gamma_text()), ("over p_y", self._curve_text()), ("residual", self._residual_text())]
        facts += [("pulls", f"{self._pulls_text}   ({self.reading.source}; total pull {self._total_text()})")]
        facts += [("Q", self._q_text()), ("readings", self._readings_text())]
        facts.append(("reduction", self.target.reduction.text))
        facts.append(("tokens", f"coupled: {self.target.coupled}" if self.target.coupled else "no coupling found"))
        facts.append(("states", f"{self.states}; gradient by {self.target.method}"))
        facts += [("note", note) for note in self.target.notes]
        return facts

    def _gamma_text(self) -> str:
        text = _span(self._finite_gamma) if self._finite_gamma.size else "undefined on every token"
        if self.variant is not None and self.variant.pulls is not None:
            formula = pulls_in_words(self.variant.pulls, self.reading.gauge, self.reading.total_pull)[0]
            text = text if formula == text else f"{formula}   ({text})"
        undefined = len(self._values["gamma"]) - self._finite_gamma.size
        return text + (f"; undetermined on {undefined} tokens" if undefined and self._finite_gamma.size else "")

    def _curve_text(self) -> str:
        table = self.table()
        picked = table[table["gamma_mean"].notna()]
        if picked.empty or picked["gamma_max"].max() - picked["gamma_min"].min() <= 1e-6:
            return "the same at every p_y"
        bins = [f"<{row.p_y_to:g}: {row.gamma_mean:.2g}" for row in picked.itertuples(index=False)]
        return "mean gamma at p_y " + "  ".join(bins)

    def _residual_text(self) -> str:
        if self.variant is not None and self.variant.pulls is not None:
            text = pulls_in_words(self.variant.pulls, self.reading.gauge, self.reading.total_pull)[1]
        else:
            others = [name for name in self._live_pulls() if name != LABEL]
            if self._explained > 1e3 * self._noise:
                text = f"not explained by {', '.join(self.reading.pulls)}: up to {self._explained:.2g} of Q is left"
            elif not others:
                text = "the model itself: nothing but the label is pulled to"
            else:
                text = self._mixture(others)
        full = self.reading.flags.get(FLAG_FULL_TRUST)
        if full is None:
            return text
        if bool(full.all()):
            others = [name for name in self._live_pulls() if name != LABEL]
            return "none: gamma is 1" + (
                f"; the remainder is not 0, it comes from the pull to {', '.join(others)}" if others else ""
            )
        return f"{text}   (none where gamma is 1, {100 * float(full.double().mean()):.0f} % of tokens)"

    def _mixture(self, others: list[str]) -> str:
        """The residual of a fit: the pulls besides the label's, and the model where it has a share."""
        total = self.reading.total_pull[_determined(self.reading)]
        complete = self.reading.gauge == "normalized" or bool(((total - 1).abs() <= 1e4 * self._noise).all())
        parts = others if complete else ["the model", *others]
        return parts[0] if len(parts) == 1 else f"mix of {', '.join(parts)}"

    def _total_text(self) -> str:
        return _span(self.reading.total_pull[_determined(self.reading)].cpu().numpy())

    def _q_text(self) -> str:
        values, noise = self._values, self._noise
        signed = values["negative_mass"] > noise
        if not signed.any() and self._mass_error <= 10 * noise:
            return "a distribution everywhere (sum 1, no negative mass)"
        parts = []
        if signed.any():
            q = torch.nan_to_num(self.reading.q, nan=torch.inf)
            row = int(q.amin(-1).argmin())
            column = int(q[row].argmin())
            where = f"{self._token(column, row)} at p_y = {values['p_label'][row]:.2g}"
            parts.append(
                f"negative mass on {100 * signed.mean():.0f} % of tokens, down to {float(q[row, column]):.2g} ({where})"
            )
            if self._finite_gamma.size and self._finite_gamma.max() > 1 + noise:
                parts.append(f"the pull to the label exceeds 1 (up to {self._finite_gamma.max():.3g})")
        if self._mass_error > 10 * noise:
            parts.append(f"its sum is off 1 by up to {self._mass_error:.2g}: the loss is not shift invariant")
        return "NOT a distribution: " + "; ".join(parts)

    def _token(self, column: int, row: int) -> str:
        return "the label" if column == int(self.target.batch.labels[row]) else f"token {column}"

    def _readings_text(self) -> str:
        readings = {self.reading.reading: self.reading, **self.readings}
        parts = []
        for name, reading in readings.items():
            gamma = reading.gamma[torch.isfinite(reading.gamma) & _determined(self.reading)]
            left = float(torch.nan_to_num(reading.unexplained).max())
            mean = f"{float(gamma.mean()):.4g}" if gamma.numel() else "undefined"
            fits = left <= 1e3 * self._noise
            parts.append(f"{name} {mean}" if fits else f"{name} does not fit (leaves {left:.1g})")
        return "mean gamma: " + ", ".join(parts)


def inspect(loss: Any, batch: TokenBatch | None = None, *, reduction: str | float = "auto") -> Inspection:
    """Look at a loss: its gauge, gamma over p_y, residual, mass, flags, and the reduction that was undone.

    Args:
        loss: any loss that `invert` takes; it is differentiated, also where it is registered with a closed form.
        batch: the tokens; default the built-in probe states in float64, which sweep p_y from 1e-8 to 1 - 1e-8.
        reduction: as in `invert`.

    Returns:
        An object that shows itself in a notebook, with `.text()`, `.table()`, `.row()` and `.warnings`.

    Raises:
        QTargetError: as `invert`.

    Examples:
        >>> import qtarget_inspect as qt
        >>> seen = inspect("dft")
        >>> seen.reading.gauge, seen.warnings
        ('unit', ())
        >>> print(seen.text().splitlines()[1].strip())
        loss      -sg[p_y] log p_y   (label trust, arXiv 2508.05629)
    """
    states = "your batch" if batch is not None else "probe states"
    batch = batch if batch is not None else probe_batch()
    resolved = resolve(loss)
    if isinstance(resolved, Variant):
        target = invert(resolved, batch, method="torch.func", reduction=reduction)
    else:
        target = invert(resolved, batch, reduction=reduction)
    reading = decompose(target, gauge="natural")
    gauge: Any = reading.gauge
    readings = {name: decompose(target, gauge=gauge, reading=name) for name in ("self", "label-free")}
    words = f"{len(batch)} {states if states != 'your batch' else 'tokens of your batch'}, V = {batch.vocabulary}"
    return Inspection(target.loss, target, reading, readings, words, _warnings(resolved, target, reading, batch))


def _warnings(loss: Any, target: InducedTarget, reading: Decomposition, batch: TokenBatch) -> tuple[str, ...]:
    """What a user should know before trusting the numbers."""
    found = []
    for flag, mask in reading.flags.items():
        if flag != FLAG_FULL_TRUST:
            found.append(f"{flag} ({int(mask.sum())} of {len(batch)} tokens)")
    if target.coupled and "leaks" in target.coupled:
        found.append("gradient leaks between tokens: Q of a token is not its own")
    if any("num_items_in_batch" in note for note in target.notes):
        found += _num_items_warning(loss, batch)
    gamma = reading.gamma[torch.isfinite(reading.gamma) & _determined(reading)]
    if bool((gamma < -1e-6).any()):
        found.append(f"gamma is negative (down to {float(gamma.min()):.2g}): the label is pushed away")
    return tuple(found)


def _num_items_warning(loss: Any, batch: TokenBatch) -> list[str]:
    """How the step changes with num_items_in_batch; the loss is called again, with 8."""
    few = batch.select(slice(0, min(16, len(batch))))
    one, eight = (adapt(loss, num_items_in_batch=number) for number in (1, 8))
    try:
        first, second = (invert(fn, few, reduction="sum").g for fn in (one, eight))
    except QTargetError:
        return []
    ratio = float((first * second).sum() / first.square().sum())
    if math.isclose(ratio, 1.0, rel_tol=1e-3):
        return []
    return [
        f"with num_items_in_batch = 8 the gradient is {ratio:.4g} of this: its step, not its target, "
        "depends on the batch"
    ]


def _determined(reading: Decomposition) -> torch.Tensor:
    """[N] tokens on which the pulls are unique; all of them where they are unique on none."""
    dependent = reading.flags.get(FLAG_DEPENDENT)
    if dependent is None or bool(dependent.all()):
        return torch.ones_like(reading.gamma, dtype=torch.bool)
    return ~dependent


def _span(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    if not values.size:
        return "undefined"
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if high - low <= 1e-6 * max(1.0, abs(high)) else f"{low:.3g} to {high:.4g}"
