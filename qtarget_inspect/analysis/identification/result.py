"""Identification: what a black box teaches, in the table's own words, with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.showing import in_html, in_text
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, Pulls, total_pull

UNKNOWN_LAW = "unknown law"

SAME_GRADIENT = "the same gradient"
PROPORTIONAL = "the same up to a constant factor"

Number = float | tuple[float, float]


@dataclass(frozen=True)
class Formula:
    """A formula in plain text and in LaTeX.

    Args:
        text: plain text.
        latex: LaTeX for math mode.
    """

    text: str
    latex: str

    def __str__(self) -> str:
        """The plain text."""
        return self.text

    def _repr_latex_(self) -> str:
        return f"${self.latex}$"


@dataclass(frozen=True)
class Neighbour:
    """A registered variant near to a loss.

    Args:
        name: the variant, with parameters.
        relation: "the same gradient", "the same up to a constant factor", or "" where it is only near.
        distance: largest difference between the two gradients, as a share of the loss's own largest entry.
        factor: the loss's gradient over the variant's where they are proportional, else 1.
    """

    name: str
    relation: str
    distance: float
    factor: float = 1.0

    @property
    def text(self) -> str:
        """In words."""
        if self.relation == PROPORTIONAL:
            return f"{self.name}: the same up to the factor {self.factor:.6g}"
        if self.relation:
            return f"{self.name}: {self.relation}"
        return f"{self.name}: off by {100 * self.distance:.2g} % of the largest gradient"


@dataclass(frozen=True, eq=False, repr=False)
class Identification:
    """A loss in the table's words, found by calling it.

    Args:
        name: the loss.
        category: what inversion gives; "unknown" where no known directions explain the gradient, "nothing" where there
            is none.
        gauge: the gauge in which gamma and residual are read, the natural one.
        gamma_law: label trust as a formula, "unknown law" where no law predicts a weight that it needs.
        gamma_params: numbers in that law: name -> number, or an interval where the loss could not be asked again.
        residual: where the other mass goes, as a formula.
        residual_params: numbers in it: eta, exponent, temperature, share, top_k, and those of its weights.
        pulls: the directions with their laws; None where no known directions explain the gradient.
        unknown: names of the directions whose weight has no known law.
        unexplained: largest entry of Q that directions (and laws, where all are known) leave; per token in `.table()`.
            Where no directions explain the gradient, the largest share of a token's gradient that all of them leave.
        precision: the type that the loss computes in.
        warnings: what to know before trusting it.
        nearest: registered variants by distance between gradients, nearest first.
        states: what it rests on, in words.
        tokens: one row a token, what `.table()` returns.
        twins: other sets of directions that explain the gradient as well.
    """

    name: str
    category: str
    gauge: PullGauge
    gamma_law: Formula
    gamma_params: dict[str, Number]
    residual: Formula
    residual_params: dict[str, Number]
    pulls: Pulls | None
    unknown: tuple[str, ...]
    unexplained: float
    precision: torch.dtype
    warnings: tuple[str, ...]
    nearest: tuple[Neighbour, ...]
    states: str
    tokens: pd.DataFrame
    twins: tuple[tuple[str, ...], ...] = ()

    @property
    def has_law(self) -> bool:
        """Whether every pull has a law, so that gamma and Q can be predicted."""
        return self.pulls is not None and not self.unknown

    def predict_gamma(self, batch: TokenBatch) -> Tensor:
        """Label trust of other tokens, from the laws alone: the loss is not called.

        Args:
            batch: N tokens with the context that the laws need.

        Returns:
            [N] gamma in `.gauge`, float64; NaN where that gauge is undefined (total pull not above 0).

        Raises:
            QTargetError: there is no law to predict it from.
        """
        pulls = self._known_pulls("gamma")
        weights = pulls.weights(State(batch, torch.float64))
        gamma = weights.get(LABEL, torch.zeros(len(batch), dtype=torch.float64))
        return gamma if self.gauge == "unit" else gamma / _positive(total_pull(pulls.directions, weights))

    def predict_q(self, batch: TokenBatch, gauge: PullGauge = "unit") -> Tensor:
        """Induced target of other tokens, from the laws alone: the loss is not called.

        Args:
            batch: N tokens with the context that the laws need.
            gauge: "unit", as `invert` gives Q, or "normalized".

        Returns:
            [N, V] Q, float64; NaN where the normalized gauge is undefined.

        Raises:
            QTargetError: there is no law to predict it from, or no such gauge.
        """
        pulls, state = self._known_pulls("Q"), State(batch, torch.float64)
        weights = pulls.weights(state)
        if gauge == "unit":
            return pulls.target(state, weights)
        if gauge != "normalized":
            raise QTargetError(f"predict_q: gauge must be unit or normalized, not {gauge!r}.")
        total = _positive(total_pull(pulls.directions, weights))
        return state.p - pulls.gradient(state, weights) / total.unsqueeze(-1)

    def _known_pulls(self, what: str) -> Pulls:
        if self.pulls is None:
            raise QTargetError(
                f"{self.name}: no known directions explain the gradient, so {what} cannot be predicted without calling "
                "the loss; use qt.invert(loss, batch)."
            )
        if self.unknown:
            raise QTargetError(
                f"{self.name}: no law was found for the pull to {', '.join(self.unknown)}, so {what} cannot be "
                "predicted without calling the loss; use qt.invert(loss, batch), and look at .table()."
            )
        return self.pulls

    def headline(self) -> str:
        """Category, gauge and how much is explained."""
        left = f"unexplained {self.unexplained:.0e}" if self.unexplained else "unexplained 0"
        return f"{self.category} · {self.gauge} gauge · {left}"

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of every line below the head."""
        found = [("gamma", self.gamma_law.text), ("residual", self.residual.text)]
        if self.pulls is not None:
            found.append(("pulls", self.pulls.text))
        if self.nearest:
            found.append(("nearest", self.nearest[0].text))
        found.append(("precision", _precision_words(self.precision)))
        return [*found, ("states", self.states)]

    @property
    def text(self) -> str:
        """The identification as aligned plain text."""
        return in_text(self.name, self.headline(), self.lines(), self.warnings)

    def __repr__(self) -> str:
        """The same text that `text` gives."""
        return self.text

    def _repr_html_(self) -> str:
        return in_html(self.name, self.headline(), self.lines(), self.warnings)

    def row(self) -> pd.DataFrame:
        """The loss as one row of the table.

        Returns:
            One row: loss, category, gauge, gamma, residual, unexplained, nearest, precision, gamma_latex,
            residual_latex.
        """
        return pd.DataFrame([
            {
                "loss": self.name,
                "category": self.category,
                "gauge": self.gauge,
                "gamma": self.gamma_law.text,
                "residual": self.residual.text,
                "unexplained": self.unexplained,
                "nearest": self.nearest[0].text if self.nearest else "",
                "precision": str(self.precision).removeprefix("torch."),
                "gamma_latex": self.gamma_law.latex,
                "residual_latex": self.residual.latex,
            }
        ])

    def table(self) -> pd.DataFrame:
        """The weights behind the laws, ready to be plotted against p_y, entropy and the rest.

        Returns:
            A row a token: p_y, entropy (nats), vocabulary, held_back, the label's probability under the other models
            that the loss sees, its other context, for each direction NAME its weight "pull NAME" with the rounding that
            it may be off by, "rounding NAME", and what its law says, "law NAME" (NaN without a law); unexplained, the
            the
            largest entry of the token's Q that the directions leave.
        """
        return self.tokens.copy()


def _positive(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, torch.nan)


def _precision_words(precision: torch.dtype) -> str:
    if precision == torch.float64:
        return "the loss computes in float64"
    return f"the loss computes in {str(precision).removeprefix('torch.')}: laws are judged against its rounding"
