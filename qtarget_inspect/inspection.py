"""inspect(loss) -> Inspection: the one object that a notebook shows, in text and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.comparison import per_token_values
from qtarget_inspect.analysis.decomposition import (
    FLAG_FULL_TRUST,
    Decomposition,
    decompose,
)
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.analysis.identification import Identification, identify
from qtarget_inspect.analysis.identification.holding import largest_error
from qtarget_inspect.analysis.loss_audit import LossAudit, audit_loss
from qtarget_inspect.analysis.population.summary import Learned, learned_by
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.core.showing import in_html, in_text
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.inspection_text import describe, unique_tokens
from qtarget_inspect.variants import Variant, resolve
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.pulls import LABEL

if TYPE_CHECKING:
    from qtarget_inspect.plots.shown_figure import ShownFigure

P_LABEL_EDGES = (0.0, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1.0)
"""Bins of p_y in which gamma is shown."""


Part = TypeVar("Part")


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

    def _repr_html_(self) -> str:
        from qtarget_inspect.inspection_pictures import page_in_html

        curve = self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}", border=0)
        more = f"{page_in_html(self)}<details><summary>gamma over p_y</summary>{curve}</details>"
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
        from qtarget_inspect.inspection_pictures import page_data
        from qtarget_inspect.plots.inspection_page import inspection_page

        return inspection_page(page_data(self, token), layout=layout)


def inspect(loss: Any, batch: TokenBatch | None = None, *, reduction: str | float = "auto") -> Inspection:
    """Look at a loss: its row of the table, gamma over p_y, mass, flags, what a population learns, how it behaves.

    The loss is named as a black box on states made for the purpose (`identify`), whatever batch is given; its numbers
    are those of the batch. Where it cannot be run on made-up states (it is bound to a vocabulary, or to certain rows),
    it is named on the batch.

    Args:
        loss: any loss that `invert` takes; it is differentiated, also where it is registered with a closed form.
        batch: the tokens; default the built-in probe states in float64, which sweep p_y from 1e-8 to 1 - 1e-8.
        reduction: as in `invert`.

    Returns:
        An object that shows itself in a notebook, with `.text()`, `.table()`, `.row()`, `.to_latex()`, `.warnings`, and
        the parts it is made of: `.target`, `.reading`, `.identification`, `.learned`, `.audit`.

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
    words = "tokens of your batch" if batch is not None else "probe states"
    tokens = batch if batch is not None else probe_batch()
    resolved = resolve(loss)
    method: Any = "torch.func" if isinstance(resolved, Variant) else "auto"
    target = invert(resolved, tokens, method=method, reduction=reduction)
    unsaid: dict[str, str] = {}
    found = _tried("law", unsaid, lambda: _identified(resolved, tokens, batch is not None, reduction))
    learned = _tried("learns", unsaid, lambda: learned_by(resolved))
    audit = _tried("audit", unsaid, lambda: audit_loss(resolved))
    pulls = _pulls(target, found)
    reading = _shown(pulls)
    states = f"{len(tokens)} {words}, V = {tokens.vocabulary}"
    dtype = working_dtype(resolved, tokens)
    warnings = _warnings(resolved, target, pulls, tokens) + _of_the_law(found, target, pulls)
    return Inspection(
        target.loss, target, reading, pulls, found, learned, audit, unsaid, states, dtype, warnings, resolved
    )


def _tried(part: str, unsaid: dict[str, str], make: Callable[[], Part]) -> Part | None:
    """A part of the inspection; where it cannot be had, why not goes into `unsaid`."""
    try:
        return make()
    except QTargetError as error:
        unsaid[part] = str(error).splitlines()[0]
        return None


def _identified(loss: Any, tokens: TokenBatch, own: bool, reduction: str | float) -> Identification:
    """The loss as a black box: on made-up states, or on the user's tokens where it cannot be run on others."""
    made_up = reduction if isinstance(reduction, str) else "auto"  # a divisor belongs to the batch it was declared for
    try:
        return identify(loss, reduction=made_up)
    except QTargetError:
        if not own:
            raise
        return identify(loss, tokens, reduction=reduction)


def read_like(seen: Inspection, target: InducedTarget) -> Decomposition:
    """Another target of the same loss, read as the inspection reads.

    Args:
        seen: an inspection.
        target: the loss's target on other tokens.

    Returns:
        Its decomposition.
    """
    return _shown(_pulls(target, seen.identification))


def _shown(pulls: Decomposition) -> Decomposition:
    """The attractor reading where it explains the gradient, else the label-free one in the unit gauge."""
    return pulls if explains(pulls) else decompose(pulls.target, gauge="unit", reading="label-free")


def _pulls(target: InducedTarget, found: Identification | None) -> Decomposition:
    """The attractor reading: declared pulls, or a fit over the directions that were found, or over the known ones."""
    declared = target.variant is not None and target.variant.pulls is not None
    if declared or found is None or found.pulls is None:
        return decompose(target, gauge="natural")
    needed = dict.fromkeys(found.pulls.requires)
    if any(getattr(target.batch, name) is None for name in needed):
        return decompose(target, gauge="natural")
    chosen = [directions.label(), *(term.direction for term in found.pulls if term.direction.name != LABEL)]
    fitted = decompose(target, gauge=found.gauge, attractors=chosen)
    return fitted if explains(fitted) else decompose(target, gauge="natural")


def _of_the_law(found: Identification | None, target: InducedTarget, pulls: Decomposition) -> tuple[str, ...]:
    """Warnings of the identification, and whether its laws hold on the tokens that were inspected."""
    if found is None or target.variant is not None:
        return ()
    said = [warning for warning in found.warnings if "coupled" not in warning and "no known directions" not in warning]
    if (
        found.has_law
        and found.pulls is not None
        and all(getattr(target.batch, name) is not None for name in found.pulls.requires)
    ):
        off = largest_error(found.pulls, target)
        if off > 100 * rounding(torch.float32 if found.precision != torch.float64 else target.q.dtype):
            said.append(
                f"the laws found on probe states are off Q by up to {off:.2g} on these tokens: here the loss does "
                "something that the probes did not show"
            )
    return tuple(said)


def _warnings(loss: Any, target: InducedTarget, pulls: Decomposition, batch: TokenBatch) -> tuple[str, ...]:
    """What to know before trusting the numbers."""
    found = []
    explained = explains(pulls)
    if not explained:
        share = float(pulls.unexplained.max()) / float(target.g.abs().max())
        what = "the declared pulls" if pulls.source == "declared" else f"pulls to {', '.join(pulls.pulls)}"
        found.append(
            f"{what} leave up to {100 * share:.2g} % of the gradient unexplained: gamma is Q on the label here"
        )
    for flag, mask in pulls.flags.items():
        if flag != FLAG_FULL_TRUST and explained:
            found.append(f"{flag} ({int(mask.sum())} of {len(batch)} tokens)")
    if target.coupled and "leaks" in target.coupled:
        found.append("gradient leaks between tokens: Q of a token is not its own")
    if target.coupled and target.coupled.startswith("every token is scaled"):
        found.append(f"{target.coupled}; if that is a mean over tokens, reduction='mean' undoes it")
    if any("num_items_in_batch" in note for note in target.notes):
        found += _num_items_warning(loss, batch)
    gamma = pulls.gamma[torch.isfinite(pulls.gamma) & unique_tokens(pulls)]
    if explained and bool((gamma < -1e-6).any()):
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
