"""Policy laws: label pulls of policy-gradient losses: advantages, clipped advantages, ratios to another policy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import quantities
from qtarget_inspect.vocabulary.formula import DIGITS, Binding, Law
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex


def advantage() -> Law:
    """The advantage A of a token, given from outside.

    Returns:
        The law, signed.
    """
    return Law("A", "A", lambda s: s.context("advantages"), ("advantages",), row_local=True)


def clipped_advantage(low: float, high: float, of: str = "old_logits") -> Law:
    """PPO: A r where the clip lets the gradient through, r = p_y / old_y.

    That is where r <= high for A > 0, and r >= low for A < 0. At the ends themselves, kinks of the loss, the weight is
    A r, as in autograd.

    Args:
        low: 1 - epsilon.
        high: 1 + epsilon.
        of: which context model stands below the line.

    Returns:
        The law, signed; at most A high for A > 0, unbounded for A < 0.
    """

    def value(state: State) -> Tensor:
        log_p, weight = state.log_p_label, state.context("advantages")
        log_ratio = torch.where(torch.isinf(log_p), log_p, log_p - state.log_prob_of_label(of))
        lower = math.log(low) if low > 0 else -math.inf
        passes = torch.where(weight > 0, log_ratio <= math.log(high), log_ratio >= lower) & (weight != 0)
        return weight * log_ratio.where(passes, -torch.inf).exp()

    ends = f"[{rounded(low, DIGITS)}, {rounded(high, DIGITS)}]"
    latex = rf"A\,r\,\mathbf{{1}}[{rounded_latex(low, DIGITS)}, {rounded_latex(high, DIGITS)}]"
    return Law(f"A r (clipped to {ends})", latex, value, (of, "advantages"), Binding.PRODUCT, row_local=True)


def label_log_ratio(state: State, of: str) -> Tensor:
    """log(p_y / b_y), nats; 0 where both models exclude the label.

    Args:
        state: the tokens.
        of: which context model stands below the line.

    Returns:
        [N] values.
    """
    log_p, log_b = state.log_p_label, state.log_prob_of_label(of)
    return (log_p - log_b).where(log_p != log_b, 0.0)


def ratio_of(model: str) -> Law:
    """Another model's probability of the label over the model's own: b_y / p_y; 1 where both are 0.

    Args:
        model: which context model.

    Returns:
        The law, >= 0.
    """
    other = quantities.label_prob(model)
    return Law(
        f"{other.text} / p_y",
        f"{other.latex} / p_y",
        lambda s: (-label_log_ratio(s, model)).exp(),
        (model,),
        Binding.QUOTIENT,
        row_local=True,
    )
