"""Trust laws: pull weights as functions of the state, each a value [N] and a formula."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.state import State, sequence_mean

_OPERATIONS: dict[str, Callable[..., Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_SUM, _PRODUCT, _ATOM = 0, 1, 2  # how tightly a formula binds, for parentheses


@dataclass(frozen=True)
class Law:
    """A pull weight: [N] values with a formula; laws add, subtract and multiply.

    Args:
        text: formula in plain text.
        latex: formula in LaTeX.
        value: function of a state to [N] weights.
        requires: context it needs.
        binding: how tightly the formula binds.

    Examples:
        >>> (1 - constant(0.25)).text, (0.5 * label_prob(2.0)).text
        ('0.75', '0.5 p_y^2')
    """

    text: str
    latex: str
    value: Callable[[State], Tensor] = field(repr=False)
    requires: tuple[str, ...] = ()
    binding: int = field(default=_ATOM, repr=False)
    number: float | None = None

    def __call__(self, state: State) -> Tensor:
        """[N] the weights in this state."""
        return self.value(state)

    def __add__(self, other: Law | float) -> Law:
        """Sum of two laws."""
        return _combine(self, _law(other), "+")

    def __sub__(self, other: Law | float) -> Law:
        """Difference of two laws."""
        return _combine(self, _law(other), "-")

    def __rsub__(self, other: float) -> Law:
        """A number minus a law."""
        return _combine(_law(other), self, "-")

    def __mul__(self, other: Law | float) -> Law:
        """Product of two laws."""
        return _combine(self, _law(other), "*")

    def __radd__(self, other: float) -> Law:
        """A number plus a law."""
        return _combine(_law(other), self, "+")

    def __rmul__(self, other: float) -> Law:
        """A number times a law."""
        return _combine(_law(other), self, "*")

    def __neg__(self) -> Law:
        """The law with the opposite sign: it pushes away."""
        if self.number is not None:
            return constant(-self.number)
        left, left_latex = _parenthesised(self, _PRODUCT)
        return Law(f"-{left}", f"-{left_latex}", lambda s: -self.value(s), self.requires, _SUM)


def constant(number: float) -> Law:
    """The same weight for every token.

    Args:
        number: the weight.

    Returns:
        The law.
    """
    return Law(
        f"{number:.6g}",
        f"{number:.6g}",
        lambda s: torch.full((len(s.batch),), number, dtype=s.dtype, device=s.labels.device),
        number=number,
    )


def label_prob(exponent: float = 1.0) -> Law:
    """Confidence: p_y^a.

    Args:
        exponent: a; 1 is DFT's weight, 0 the constant 1.

    Returns:
        The law.
    """
    if exponent == 0:
        return constant(1.0)
    text, latex = ("p_y", "p_y") if exponent == 1 else (f"p_y^{exponent:.6g}", f"p_y^{{{exponent:.6g}}}")
    return Law(text, latex, lambda s: (exponent * s.log_p_label).exp())


def label_prob_above(threshold: float) -> Law:
    """Indicator 1[p_y > t].

    Args:
        threshold: t in [0, 1).

    Returns:
        The law, 0 or 1.
    """
    return Law(
        f"1[p_y > {threshold:.6g}]",
        rf"\mathbf{{1}}[p_y > {threshold:.6g}]",
        lambda s: (s.p_label > threshold).to(s.dtype),
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

    return Law(f"H_{top_k}/ln {top_k}", rf"H_{{{top_k}}}/\ln {top_k}", value)


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
    return Law("c_t", "c_t", lambda s: s.context("critical").to(s.dtype), ("critical",))


def ratio_below(maximum: float, of: str = "old_logits") -> Law:
    """Clipped importance ratio: r 1[r < maximum], r = p_y / old_y.

    Args:
        maximum: where the gradient stops, 1 + epsilon.
        of: which context model stands below the line.

    Returns:
        The law, in [0, maximum).
    """

    def value(state: State) -> Tensor:
        log_p = state.log_p_label
        log_ratio = torch.where(torch.isinf(log_p), log_p, log_p - state.log_prob_of_label(of))
        return torch.where(log_ratio < math.log(maximum), log_ratio.exp(), 0.0)

    return Law(f"r 1[r < {maximum:.6g}]", rf"r\,\mathbf{{1}}[r < {maximum:.6g}]", value, (of,), _PRODUCT)


def _law(value: Law | float) -> Law:
    return value if isinstance(value, Law) else constant(float(value))


def _parenthesised(law: Law, least: int) -> tuple[str, str]:
    if law.binding >= least:
        return law.text, law.latex
    return f"({law.text})", f"({law.latex})"


def _combine(left: Law, right: Law, operation: str) -> Law:
    """Value and formula of a sum, difference or product; constants are folded."""
    if left.number is not None and right.number is not None:
        return constant(_OPERATIONS[operation](left.number, right.number))
    if operation == "*":
        if left.number == 1:
            return right
        if right.number == 1:
            return left
        (a, a_latex), (b, b_latex) = _parenthesised(left, _PRODUCT), _parenthesised(right, _PRODUCT)
        text, latex, binding = f"{a} {b}", rf"{a_latex}\,{b_latex}", _PRODUCT
    else:
        b, b_latex = _parenthesised(right, _PRODUCT if operation == "-" else _SUM)
        text, latex, binding = f"{left.text} {operation} {b}", f"{left.latex} {operation} {b_latex}", _SUM

    def value(state: State) -> Tensor:
        return _OPERATIONS[operation](left.value(state), right.value(state))

    return Law(text, latex, value, tuple(dict.fromkeys(left.requires + right.requires)), binding)
