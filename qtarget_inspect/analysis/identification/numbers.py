"""Numbers: estimates refined to rounding, and shortened to the fewest digits that explain the data as well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DIGITS = (1, 2, 3, 4, 5, 6)

FEW_DIGITS = 4

NEAR = 1e-4
"""A shorter number lies no farther from the estimate, relatively, than this."""


def shortest(
    number: float,
    error: Callable[[float], float],
    tolerance: float,
    own_error: float,
    *,
    slack: float = 4.0,
    inverse: bool = False,
) -> float:
    """The shortest decimal number that explains the data as well as an estimate does.

    An exponent that comes out as 0.49999999998 is 0.5 where 0.5 leaves no more than rounding; one that is 1/0.7 stays.

    Args:
        number: the estimate.
        error: number -> what it leaves.
        tolerance: what counts as explained.
        own_error: what the estimate itself leaves.
        slack: how much more than the estimate a shorter number may leave.
        inverse: whether one over a short number counts as short.

    Returns:
        The number.

    Examples:
        >>> shortest(0.4999999, lambda a: abs(a - 0.5), 1e-6, 1e-7)
        0.5
        >>> 1 / shortest(1.42857, lambda a: abs(a - 1 / 0.7), 1e-5, 1e-5, inverse=True)
        0.7
    """
    allowed = min(tolerance, max(slack * own_error, 1e-3 * tolerance))
    for digits in DIGITS:
        candidates = [float(f"{number:.{digits}g}")]
        if inverse and number:
            candidates.append(1 / float(f"{1 / number:.{digits}g}"))
        for candidate in candidates:
            if abs(candidate - number) <= NEAR * abs(number) and error(candidate) <= allowed:
                return candidate
    return number


def digits_of(number: float) -> int:
    """Significant decimal digits that a number needs, up to 14.

    Args:
        number: the number.

    Returns:
        How many.

    Examples:
        >>> digits_of(0.05), digits_of(1.312686), digits_of(1 / 3)
        (1, 7, 13)
    """
    near = (digits for digits in range(1, 14) if abs(float(f"{number:.{digits}g}") - number) <= 1e-13 * abs(number))
    return next(near, 14)


def oddness(number: float) -> int:
    """How odd a number looks in a formula: 0 for 1 and -1, 1 for few digits (or one over few), 2 for many.

    Args:
        number: the number.

    Returns:
        0, 1 or 2.

    Examples:
        >>> oddness(-1.0), oddness(0.05), oddness(1 / 3), oddness(1.00142)
        (0, 1, 1, 2)
    """
    if abs(number) == 1:
        return 0
    return 1 if min(digits_of(number), digits_of(1 / number) if number else 1) <= FEW_DIGITS else 2


def polished(
    rests: Callable[[float], np.ndarray], number: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> float:
    """Gauss-Newton on what an estimate leaves: quadratic where that goes to zero.

    Args:
        rests: number -> what it leaves, [n].
        number: an estimate that is near.
        bounds: where the number lies; polishing stops at them.

    Returns:
        The number, to rounding.
    """
    for _ in range(5):
        step = 1e-5 * max(abs(number), 0.1)
        slope = (rests(number + step) - rests(number - step)) / (2 * step)
        squared = float((slope**2).sum())
        if squared == 0:
            break
        change = float((slope * rests(number)).sum()) / squared
        inside = bounds[0] + 2 * step < number - change < bounds[1] - 2 * step
        if not np.isfinite(change) or abs(change) > 0.1 * max(abs(number), 0.1) or not inside:
            break
        number -= change
        if abs(change) <= 1e-15 * abs(number):
            break
    return number
