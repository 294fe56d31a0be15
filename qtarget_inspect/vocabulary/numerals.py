"""Numbers in names and formulas: exact where they tell things apart, rounded where they are read."""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import Any

from qtarget_inspect.core.errors import QTargetError

_LONG = re.compile(r"\d+\.\d{5,}(e[+-]?\d+)?|\d+\.\d*e[+-]?\d+")


def exact(number: float) -> str:
    """A number with all its digits, whole numbers without a point.

    Args:
        number: the number.

    Returns:
        Text that gives the same number back.

    Examples:
        >>> exact(2.0), exact(0.7), exact(1 / 0.7)
        ('2', '0.7', '1.4285714285714286')
    """
    return repr(float(number)).removesuffix(".0")


def rounded(number: float, digits: int = 4) -> str:
    """A number as it is read.

    Args:
        number: the number.
        digits: significant digits.

    Returns:
        Plain text.
    """
    return f"{number:.{digits}g}"


def rounded_latex(number: float, digits: int = 4) -> str:
    r"""A number as it is read, in LaTeX.

    Args:
        number: the number.
        digits: significant digits.

    Returns:
        LaTeX for math mode.

    Examples:
        >>> rounded_latex(0.25), rounded_latex(1e-7)
        ('0.25', '10^{-7}')
    """
    mantissa, found, exponent = rounded(number, digits).partition("e")
    if not found:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(mantissa, rf"{mantissa}\cdot {power}")


def short_name(name: str) -> str:
    """A direction's name with its long numbers rounded, for printing.

    Args:
        name: a direction's name, the key of weights in results.

    Returns:
        The name as it is read.

    Examples:
        >>> short_name("p^1.4285714285714286"), short_name("path(0.5 to teacher)")
        ('p^1.429', 'path(0.5 to teacher)')
    """
    return _LONG.sub(lambda found: rounded(float(found[0])), name)


def finite(number: Any, meaning: str) -> float:
    """A number that was handed over, checked.

    Args:
        number: what was handed over.
        meaning: what it is, for the message.

    Returns:
        The number.

    Raises:
        QTargetError: it is no finite number.
    """
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
        raise QTargetError(f"{meaning} must be a finite number, not {number!r:.60}.")
    return float(number)
