"""Checks of a number that is to be set so that something measured comes out as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.teaching.check import Check, is_empty, not_filled_in, not_yet, right


def check_setting(value: Any, measure: Callable[[float], float], wanted: float, *, tolerance: float = 0.005) -> Check:
    """Is a number set so that something measured comes out as wanted?

    Args:
        value: the student's number; None is not filled in.
        measure: the number -> what comes of it, say a mean label trust on real tokens.
        wanted: what should come of it.
        tolerance: how far off still counts as right.

    Returns:
        Right, or what came of the student's number and whether that is too much.

    Examples:
        >>> check_setting(0.5, lambda x: x**2, 0.09)
        not yet: 0.5 gives 0.25: too much, 0.09 is wanted.
        >>> check_setting(0.3, lambda x: x**2, 0.09)
        right: 0.3 gives 0.09.
    """
    if is_empty(value):
        return not_filled_in("choose the number")
    try:
        found = float(measure(float(value)))
    except (QTargetError, TypeError, ValueError) as error:
        return not_yet(f"{value!r} cannot be used: {error}")
    if abs(found - wanted) <= tolerance:
        return right(f"{value:.4g} gives {found:.4g}.")
    return not_yet(
        f"{value:.4g} gives {found:.4g}: too {'much' if found > wanted else 'little'}, {wanted:.4g} is wanted."
    )
