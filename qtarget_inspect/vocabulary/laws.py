"""Trust laws: the pull weights that losses of the field have, each a value [N] and a formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qtarget_inspect.core.state import State, sequence_mean
from qtarget_inspect.vocabulary.formula import DIGITS, Binding, Law, constant
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex

__all__ = [
    "constant",
    "critical_mask",
    "label_prob",
    "label_prob_above",
    "normalized_top_k_entropy",
    "ratio_below",
    "trajectory_weight",
]


def label_prob(exponent: float = 1.0) -> Law:
    """Confidence: p_y^a.

    Args:
        exponent: a; 1 is DFT's weight, 0 the constant 1.

    Returns:
        The law.
    """
    if exponent == 0:
        return constant(1.0)
    text, latex = "p_y", "p_y"
    if exponent != 1:
        text, latex = f"p_y^{rounded(exponent, DIGITS)}", f"p_y^{{{rounded_latex(exponent, DIGITS)}}}"

    def value(state: State) -> Tensor:
        return state.p_label if exponent == 1 else (exponent * state.log_p_label).exp()

    return Law(text, latex, value, row_local=True)


def label_prob_above(threshold: float) -> Law:
    """Indicator 1[p_y > t].

    Args:
        threshold: t in [0, 1).

    Returns:
        The law, 0 or 1.
    """
    return Law(
        f"1[p_y > {rounded(threshold, DIGITS)}]",
        rf"\mathbf{{1}}[p_y > {rounded_latex(threshold, DIGITS)}]",
        lambda s: (s.p_label > threshold).to(s.dtype),
        row_local=True,
    )


def normalized_top_k_entropy(top_k: int) -> Law:
    """Uncertainty: entropy of the renormalised top k over its maximum log k, in [0, 1]; k is cut to V.

    Args:
        top_k: k.

    Returns:
        The law.
    """

    def value(state: State) -> Tensor:
        size = min(top_k, state.batch.vocabulary)
        return state.top_k_entropy(size) / math.log(size) if size > 1 else torch.zeros_like(state.p_label)

    return Law(f"H_{top_k}/ln {top_k}", rf"H_{{{top_k}}}/\ln {top_k}", value, binding=Binding.QUOTIENT, row_local=True)


def trajectory_weight(maximum: float, of: str = "reference_logits") -> Law:
    """Importance of a whole sequence: w = min(exp(mean_t log p_y / ref_y), maximum), one value a sequence.

    Args:
        maximum: the upper clamp.
        of: which context model stands below the line.

    Returns:
        The law, in [0, maximum].
    """

    def value(state: State) -> Tensor:
        log_q, log_ref = state.log_p_label, state.log_prob_of_label(of)
        log_ratio = torch.where(log_q == log_ref, 0.0, log_q - log_ref)  # 0/0 of two impossible labels counts as 1
        return sequence_mean(log_ratio, state.context("sequence_ids")).exp().clamp(max=maximum)

    return Law("w(tau)", r"w(\tau)", value, (of, "sequence_ids"))


def critical_mask() -> Law:
    """Indicator c_t of critical tokens, given from outside.

    Returns:
        The law, 0 or 1.
    """
    return Law("c_t", "c_t", lambda s: s.context("critical").to(s.dtype), ("critical",), row_local=True)


def ratio_below(maximum: float, of: str = "old_logits") -> Law:
    """Clipped importance ratio: r 1[r <= maximum], r = p_y / old_y.

    At the maximum itself, a kink of the loss, the weight is r, as in autograd.

    Args:
        maximum: where the gradient stops, 1 + epsilon.
        of: which context model stands below the line.

    Returns:
        The law, in [0, maximum].
    """

    def value(state: State) -> Tensor:
        log_p = state.log_p_label
        log_ratio = torch.where(torch.isinf(log_p), log_p, log_p - state.log_prob_of_label(of))
        return torch.where(log_ratio <= math.log(maximum), log_ratio.exp(), 0.0)

    latex = rf"r\,\mathbf{{1}}[r \le {rounded_latex(maximum, DIGITS)}]"
    return Law(f"r 1[r <= {rounded(maximum, DIGITS)}]", latex, value, (of,), Binding.PRODUCT, row_local=True)
