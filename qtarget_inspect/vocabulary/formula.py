"""Law: a pull weight [N] as a function of the state, with its formula; laws add, subtract, multiply and divide."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
DIGITS = 6
"""Significant digits of numbers in formulas."""


class Binding(IntEnum):
    """How tightly a formula binds, for parentheses."""

    SUM = 0
    QUOTIENT = 1
    PRODUCT = 2
    ATOM = 3


@dataclass(frozen=True)
class Law:
    """A pull weight: [N] values with a formula; laws add, subtract, multiply and divide.

    Args:
        text: formula in plain text.
        latex: formula in LaTeX.
        value: function of a state to [N] weights.
        requires: context it needs.
        binding: how tightly the formula binds: `Binding.SUM` for "1 - p_y", `Binding.PRODUCT` for "2 p_y".
        number: the value where it is the same for every token.
        negative: whether the formula begins with a minus that holds for all of it, as in "-2 p_y".
        row_local: whether a token's weight follows from its own row alone, so that weights may be computed with the
            rows, chunk by chunk. A law that looks at other tokens (a mean over a sequence) must leave it False.

    Examples:
        >>> trust = Law("p_y", "p_y", lambda s: s.p_label)
        >>> (1 - constant(0.25)).text, (0.5 * trust).text
        ('0.75', '0.5 p_y')
        >>> ((1 - trust) / (1 - trust + 0.5)).text
        '(1 - p_y) / (1 - p_y + 0.5)'
    """

    text: str
    latex: str
    value: Callable[[State], Tensor] = field(repr=False)
    requires: tuple[str, ...] = ()
    binding: int = field(default=Binding.ATOM, repr=False)
    number: float | None = None
    negative: bool = field(default=False, repr=False)
    row_local: bool = field(default=False, repr=False)

    def __call__(self, state: State) -> Tensor:
        """[N] the weights in this state."""
        return self.value(state)

    def __add__(self, other: Law | float) -> Law:
        """Sum of two laws."""
        return _combine(self, other, "+")

    def __radd__(self, other: float) -> Law:
        """A number plus a law."""
        return _combine(other, self, "+")

    def __sub__(self, other: Law | float) -> Law:
        """Difference of two laws."""
        return _combine(self, other, "-")

    def __rsub__(self, other: float) -> Law:
        """A number minus a law."""
        return _combine(other, self, "-")

    def __mul__(self, other: Law | float) -> Law:
        """Product of two laws."""
        return _combine(self, other, "*")

    def __rmul__(self, other: float) -> Law:
        """A number times a law."""
        return _combine(other, self, "*")

    def __truediv__(self, other: Law | float) -> Law:
        """Quotient of two laws."""
        return _combine(self, other, "/")

    def __rtruediv__(self, other: float) -> Law:
        """A number over a law."""
        return _combine(other, self, "/")

    def __neg__(self) -> Law:
        """The law with the opposite sign: it pushes away."""
        if self.number is not None:
            return constant(-self.number)
        return replace(_with_sign(self, not self.negative), value=lambda s: -self.value(s))


def constant(number: float) -> Law:
    """The same weight for every token.

    Args:
        number: the weight, a plain number.

    Returns:
        The law.

    Raises:
        QTargetError: it is no number.
    """
    if isinstance(number, bool) or not isinstance(number, Real):
        raise QTargetError(f"a constant weight is a number, not {number!r:.60}.")
    number = float(number) + 0.0  # -0 is 0
    return Law(
        rounded(number, DIGITS),
        rounded_latex(number, DIGITS),
        lambda s: torch.full((len(s.batch),), number, dtype=s.dtype, device=s.labels.device),
        number=number,
        negative=number < 0,
        row_local=True,
    )


def clipped(law: Law, low: float | None = None, high: float | None = None) -> Law:
    """A law kept between two numbers: max(law, low), min(law, high).

    Args:
        law: the law.
        low: the least value, None for none.
        high: the largest value, None for none.

    Returns:
        The law.

    Examples:
        >>> clipped(Law("w", "w", lambda s: s.p_label), high=16.0).text
        'min(w, 16)'
    """
    text, latex = law.text, law.latex
    if low is not None:
        text, latex = f"max({text}, {rounded(low, DIGITS)})", rf"\max({latex}, {rounded_latex(low, DIGITS)})"
    if high is not None:
        text, latex = f"min({text}, {rounded(high, DIGITS)})", rf"\min({latex}, {rounded_latex(high, DIGITS)})"
    return Law(text, latex, lambda s: law.value(s).clamp(low, high), law.requires, row_local=law.row_local)


def power(base: Law, exponent: Law) -> Law:
    """A law to the power of another, as in p_y^(sum p^2).

    Args:
        base: a law with positive values.
        exponent: the exponent.

    Returns:
        The law.
    """
    base, exponent_text = _parenthesised(base, Binding.ATOM), f"({exponent.text})"
    return Law(
        f"{base.text}^{exponent_text}",
        f"{base.latex}^{{{exponent.latex}}}",
        lambda s: base.value(s) ** exponent.value(s),
        tuple(dict.fromkeys(base.requires + exponent.requires)),
        row_local=base.row_local and exponent.row_local,
    )


def _combine(left: Law | float, right: Law | float, operation: str) -> Any:
    """Value and formula of two laws; constants are folded, neutral ones dropped. NotImplemented where one is no law."""
    if not all(isinstance(side, Law | Real) and not isinstance(side, bool) for side in (left, right)):
        return NotImplemented
    a, b = (side if isinstance(side, Law) else constant(side) for side in (left, right))
    if operation == "/" and b.number == 0:
        raise QTargetError(f"the law {a.text} cannot be divided by 0.")
    if a.number is not None and b.number is not None:
        return constant(_OPERATIONS[operation](a.number, b.number))
    if b.number == (0 if operation in "+-" else 1):
        return a
    if (operation, a.number) in (("+", 0), ("*", 1)):
        return b
    if operation == "*" and b.number is not None:
        a, b = b, a  # numbers stand in front
    if (operation, a.number) in (("-", 0), ("*", -1)):
        return -b

    def value(state: State) -> Tensor:
        return _OPERATIONS[operation](a.value(state), b.value(state))

    formula = _added(a, b, operation) if operation in "+-" else _multiplied(a, b, operation)
    requires, row_local = tuple(dict.fromkeys(a.requires + b.requires)), a.row_local and b.row_local
    return replace(formula, value=value, requires=requires, row_local=row_local)


def _added(a: Law, b: Law, operation: str) -> Law:
    """Formula of a sum or difference: a minus in front of the second term turns the sign between them."""
    if b.negative:
        b, operation = _with_sign(b, negative=False), "-" if operation == "+" else "+"
    if operation == "-" or b.text.startswith("-"):
        b = _parenthesised(b, Binding.QUOTIENT)
    return replace(
        a,
        text=f"{a.text} {operation} {b.text}",
        latex=f"{a.latex} {operation} {b.latex}",
        binding=Binding.SUM,
        number=None,
        negative=False,
    )


def _multiplied(a: Law, b: Law, operation: str) -> Law:
    """Formula of a product or quotient: the sign stands in front, and what binds less tightly in parentheses."""
    negative = a.negative != b.negative
    a, b = (_with_sign(side, negative=False) for side in (a, b))
    a = _parenthesised(a, Binding.PRODUCT)
    loose = operation == "*" and not b.text[0].isdigit()  # "2 p_y / S", but "2 (3 p_y)"
    b = _parenthesised(b, Binding.QUOTIENT if loose else Binding.ATOM)
    if operation == "*":
        text, latex, binding = f"{a.text} {b.text}", rf"{a.latex}\,{b.latex}", min(b.binding, Binding.PRODUCT)
    else:
        text, latex, binding = f"{a.text} / {b.text}", f"{a.latex} / {b.latex}", Binding.QUOTIENT
    return _with_sign(replace(a, text=text, latex=latex, binding=binding, number=None), negative)


def _parenthesised(law: Law, least: Binding) -> Law:
    """The formula in parentheses where it binds less tightly than `least`."""
    if law.binding >= least:
        return law
    return replace(law, text=f"({law.text})", latex=f"({law.latex})", binding=Binding.ATOM)


def _with_sign(law: Law, negative: bool) -> Law:
    """The formula with or without a minus in front that holds for all of it."""
    if law.negative == negative:
        return law
    if not negative:
        return replace(law, text=law.text[1:], latex=law.latex[1:], negative=False)
    law = _parenthesised(law, Binding.QUOTIENT)
    return replace(law, text=f"-{law.text}", latex=f"-{law.latex}", negative=True)
