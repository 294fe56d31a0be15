"""Ranges: what values a parameter may take, said and checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from qtarget_inspect.core.errors import RegistryError


@dataclass(frozen=True)
class Range:
    """The finite numbers that a parameter may take.

    Args:
        low: the smallest.
        high: the largest.
        low_open: whether `low` itself is left out.
        high_open: whether `high` itself is left out.
        integer: whether only whole numbers count.

    Examples:
        >>> Range(0, 1, high_open=True).text, Range(2, integer=True).text, Range(0, low_open=True).text, Range().text
        ('a number in [0, 1)', 'a whole number >= 2', 'a number > 0', 'a finite number')
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    integer: bool = False

    @property
    def text(self) -> str:
        """The range in words."""
        kind = "a whole number" if self.integer else "a number"
        if math.isfinite(self.low) and math.isfinite(self.high):
            ends = ("(" if self.low_open else "["), (")" if self.high_open else "]")
            return f"{kind} in {ends[0]}{self.low:g}, {self.high:g}{ends[1]}"
        if math.isfinite(self.low):
            return f"{kind} {'>' if self.low_open else '>='} {self.low:g}"
        if math.isfinite(self.high):
            return f"{kind} {'<' if self.high_open else '<='} {self.high:g}"
        return kind if self.integer else "a finite number"

    def checked(self, value: Any, name: str, of: str) -> float | int:
        """A value that lies in the range, as a plain number.

        Args:
            value: what was given.
            name: the parameter's name.
            of: whose parameter it is.

        Returns:
            The value; numbers of other libraries become Python's own.

        Raises:
            RegistryError: it is no number, or outside the range; the message names parameter, value and range.

        Examples:
            >>> Range(0, 1).checked(0.5, "eta", "target-sft")
            0.5
        """
        number = isinstance(value, Integral if self.integer else Real) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and self._holds(value)):
            raise RegistryError(f"{name} of {of} must be {self.text}, not {value!r:.60}.")
        if isinstance(value, int | float):
            return value if type(value) in (int, float) else float(value)
        return int(value) if isinstance(value, Integral) else float(value)

    def _holds(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below


POSITIVE = Range(0, low_open=True)
"""Numbers above 0."""

NOT_NEGATIVE = Range(0)
"""Numbers from 0."""

SHARE = Range(0, 1)
"""Numbers from 0 to 1."""

SHARE_BELOW_ONE = Range(0, 1, high_open=True)
"""Numbers from 0 to below 1."""
