"""Weighted directions: powers of the model that lean to tokens likelier than the label, as in GEM's script."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.vocabulary.directions import Direction, RowFunction
from qtarget_inspect.vocabulary.formula import DIGITS, Law
from qtarget_inspect.vocabulary.numerals import exact, finite, rounded, rounded_latex
from qtarget_inspect.vocabulary.rows import scaled_log_probs


def weighted_power(exponent: float, scale: float) -> Direction:
    """Toward a power of the model that leans to tokens likelier than the label: b ~ p_k^a sigmoid(c (z_k - z_y)).

    GEM's script pushes away from it where the paper's GEM pushes away from `directions.power`.

    Args:
        exponent: a.
        scale: c; 0 is `directions.power`.

    Returns:
        The direction, named "p^a sigmoid(c)".
    """
    exponent, scale = finite(exponent, "the exponent"), finite(scale, "the scale")
    return Direction(
        f"p^{exact(exponent)} sigmoid({exact(scale)})",
        f"p^{rounded(exponent)} sigmoid({rounded(scale)} (z - z_y)) / Z",
        rf"p^{{{rounded_latex(exponent)}}}\sigma({rounded_latex(scale)}(z-z_y))/Z",
        "toward",
        RowFunction(_weighted_power_rows, (exponent, scale)),
    )


def sigmoid_mass(exponent: float, scale: float) -> Law:
    """Mean of sigmoid(c (z_k - z_y)) over q proportional to p^a: the pull of GEM's script, about one half.

    Args:
        exponent: a, one over GEM's beta.
        scale: c.

    Returns:
        The law, in (0, 1).
    """

    def value(state: State) -> Tensor:
        key = ("sigmoid_mass", exponent, scale)
        return state.per_token(key, lambda rows: _unnormalized(rows, exponent, scale).sum(-1))

    number = rounded(scale, DIGITS)
    latex = rf"\mathrm{{E}}_{{k\sim p^{{{rounded_latex(exponent)}}}/Z}}\,\sigma({number}(z_k - z_y))"
    return Law(f"E_q sigmoid({number} (z - z_y))", latex, value, row_local=True)


def _weighted_power_rows(state: State, exponent: float, scale: float) -> Tensor:
    weighted = _unnormalized(state, exponent, scale)
    return weighted / weighted.sum(-1, keepdim=True)


def _unnormalized(state: State, exponent: float, scale: float) -> Tensor:
    """[N, V] q_k sigmoid(c (z_k - z_y)), q proportional to p^a."""
    logits = state.context(MODEL)
    q = scaled_log_probs(state.log_p, exponent).softmax(-1)
    margin = logits - logits.gather(-1, state.labels.unsqueeze(-1))
    return torch.where(q == 0, 0.0, q * torch.sigmoid(scale * margin))
