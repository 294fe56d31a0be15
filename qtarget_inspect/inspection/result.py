"""Inspection: the one object that a notebook shows, in text and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.comparison import per_token_values
from qtarget_inspect.analysis.decomposition import Decomposition
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.analysis.identification import Identification
from qtarget_inspect.analysis.loss_audit import LossAudit
from qtarget_inspect.analysis.population.summary import Learned
from qtarget_inspect.core.showing import in_html, in_text
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.inspection.text import describe, unique_tokens
from qtarget_inspect.variants import Variant

if TYPE_CHECKING:
    from qtarget_inspect.plots.shown_figure import ShownFigure

P_LABEL_EDGES = (0.0, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1.0)
"""Bins of p_y in which gamma is shown."""


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """What a loss teaches: its row, found by calling it; its numbers on some tokens; what a population learns.

    Args:
        name: the loss.
        target: the induced target.
        reading: the decomposition that is shown: the loss's natural gauge and the attractor reading; the unit gauge and
            the label-free reading where the known attractors do not explain the gradient.
        pulls: the attractor reading, whether it explains the gradient or not.
        identification: the loss as a black box: laws of its pulls, nearest registered losses; None where the loss can
            be run neither on made-up states nor on these.
        learned: what labels drawn from a q* make of it; None where there is no view at one context, and why is in
            `unsaid`.
        audit: how it behaves as code; None where it could not be tried.
        unsaid: part -> why it is missing.
        states: what it was inspected on, in words.
        dtype: the type that the loss computes in, float32 where it casts inside.
        warnings: what to know before trusting the numbers.
        loss: the loss itself, as `invert` takes it.
    """

    name: str
    target: InducedTarget
    reading: Decomposition
    pulls: Decomposition
    identification: Identification | None
    learned: Learned | None
    audit: LossAudit | None
    unsaid: Mapping[str, str]
    states: str
    dtype: torch.dtype
    warnings: tuple[str, ...]
    loss: Any

    def __repr__(self) -> str:
        """The same text that `text` gives."""
        return self.text()

    @property
    def variant(self) -> Variant | None:
        """The registered variant, None for other losses."""
        return self.target.variant

    @property
    def unexplained(self) -> float:
        """Largest entry of Q that the pulls leave unexplained."""
        return float(self.pulls.unexplained.max())

    @property
    def explained(self) -> bool:
        """Whether the pulls explain the gradient, up to a share of 1e-4 of its largest entry."""
        return explains(self.pulls)

    @cached_property
    def noise(self) -> np.ndarray:
        """[N] what counts as rounding in Q, given the type that the loss computes in."""
        return (rounding(self.dtype) * row_size(self.reading.q)).cpu().numpy()

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Numbers of every token, name -> [N]: gamma, mass, negative_mass, p_label, q_label ..."""
        return per_token_values(self.reading, self.dtype)

    @cached_property
    def unique(self) -> np.ndarray:
        """[N] bool, tokens on which the pulls are unique; all of them where they are so on none."""
        return unique_tokens(self.pulls).cpu().numpy()

    def headline(self) -> str:
        """Category as inversion gives it, gauge, reading, and how far the pulls explain Q."""
        share = f"explained to {self.unexplained:.0e}" if self.explained else "NOT explained by the known attractors"
        parts = [f"{self.reading.gauge} gauge", f"{self.reading.reading} reading", share]
        return " · ".join([self.identification.category, *parts] if self.identification is not None else parts)

    def text(self) -> str:
        """The inspection as aligned plain text."""
        return in_text(self.name, self.headline(), describe(self), self.warnings)

    @cached_property
    def _pictures(self) -> str:
        """The page as HTML, drawn when it is first shown."""
        from qtarget_inspect.inspection.pictures import page_in_html

        return page_in_html(self)

    def _repr_html_(self) -> str:
        curve = self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}", border=0)
        more = f"{self._pictures}<details><summary>gamma over p_y</summary>{curve}</details>"
        return in_html(self.name, self.headline(), describe(self), self.warnings, more)

    def to_latex(self) -> str:
        """The row as a LaTeX table row: loss, category, gamma, residual and gauge, with the line's end.

        Returns:
            One line.
        """
        found = self.identification
        category, gamma, residual = ("unknown", r"\text{unknown}", r"\text{unknown}")
        if found is not None:
            category, gamma, residual = found.category, found.gamma_law.latex, found.residual.latex
        name = self.name.replace("_", r"\_")
        return rf"{name} & {category} & ${gamma}$ & ${residual}$ & {self.reading.gauge} \\"

    def table(self) -> pd.DataFrame:
        """gamma over p_y: a row a bin of p_y, with the range and mean of gamma, Q on the label and negative mass.

        Returns:
            Columns p_y_from, p_y_to, tokens, gamma_min, gamma_mean, gamma_max, q_label, negative_mass, reading, gauge;
            NaN where gamma is defined on no token of the bin.
        """
        values, rows = self.values, []
        for low, high in pairwise(P_LABEL_EDGES):
            inside = (values["p_label"] >= low) & ((values["p_label"] < high) | (high == 1.0))
            known = inside & np.isfinite(values["gamma"])
            gamma = values["gamma"][known] if known.any() else np.array([np.nan])
            if inside.any():
                rows.append({
                    "p_y_from": low,
                    "p_y_to": high,
                    "tokens": int(inside.sum()),
                    "gamma_min": gamma.min(),
                    "gamma_mean": gamma.mean(),
                    "gamma_max": gamma.max(),
                    "q_label": values["q_label"][known].mean() if known.any() else np.nan,
                    "negative_mass": values["negative_mass"][known].mean() if known.any() else np.nan,
                    "reading": self.reading.reading,
                    "gauge": self.reading.gauge,
                })
        return pd.DataFrame(rows)

    def row(self) -> pd.DataFrame:
        """The loss as one row: category, gauge, gamma, residual, pulls, mass, negative mass, reduction, coupling.

        Returns:
            A DataFrame with one row.
        """
        facts, gamma = dict(describe(self)), self.values["gamma"][np.isfinite(self.values["gamma"])]
        return pd.DataFrame([
            {
                "loss": self.name,
                "category": self.identification.category if self.identification is not None else "unknown",
                "gauge": self.reading.gauge,
                "reading": self.reading.reading,
                "gamma": self.identification.gamma_law.text if self.identification is not None else "unknown law",
                "gamma_min": gamma.min() if gamma.size else np.nan,
                "gamma_max": gamma.max() if gamma.size else np.nan,
                "residual": facts["residual"],
                "pulls": facts["pulls"],
                "mass_error": float(np.nanmax(np.abs(self.values["mass"] - 1))),
                "min_q": float(torch.nan_to_num(self.reading.q, nan=torch.inf).min()),
                "unexplained": self.unexplained,
                "nearest": facts.get("nearest", ""),
                "learns": facts.get("learns", ""),
                "reduction": self.target.reduction.text,
                "coupled": self.target.coupled,
                "method": self.target.method,
            }
        ])

    def plot(self, *, token: int | None = None, layout: str = "slide") -> ShownFigure:
        """The inspection as a page of four panels.

        gamma against p_y (`plot_gamma`), the gradient on the label and on the model's favourite other token
        (`plot_gradient`), p, Q and residual on one token (`plot_target`), and the flow on three tokens whose labels are
        drawn from [0.5, 0.3, 0.2] (`plot_simplex`). A panel that cannot be had says why in its place.

        Misread:
            The panels show different tokens: the curves and, unless `token` is given, the bars are of made-up states
            (`qt.sweep`), whatever batch was inspected; the triangle has a vocabulary of three. Each panel's own plot
            says how it is misread.

        Args:
            token: which of the inspected tokens to draw as bars; by default a made-up one with p_y = 0.3.
            layout: "slide" (8 x 4.5 inches), "column" (3.4 wide) or "strip" (11 wide, the panels side by side).

        Returns:
            A figure that belongs to no window; a notebook shows it.

        Raises:
            QTargetError: `layout` is unknown, or there is no such token.

        Examples:
            >>> import qtarget_inspect as qt
            >>> [round(float(side), 1) for side in qt.inspect("dft").plot().get_size_inches()]
            [8.0, 4.5]
        """
        from qtarget_inspect.inspection.pictures import page_data
        from qtarget_inspect.plots.inspection_page import inspection_page

        return inspection_page(page_data(self, token), layout=layout)
