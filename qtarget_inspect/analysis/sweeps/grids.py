"""Grids: the values that are swept where none are given, dense where curves bend, off round numbers."""

from __future__ import annotations

import math

import numpy as np

from qtarget_inspect.variants.ranges import Range

ENDS = (1e-3, 1.25e-3, 1.6e-3, 2e-3)
"""p_y below the even grid; mirrored above it."""

LINE, MAP, PARAMETER = 200, 80, 41
"""Points of a state's number along a line, along each side of a map, and of a loss's parameter."""

VOCABULARIES = (16, 32, 64, 128, 256, 512, 1024)


def cells(low: float, high: float, count: int) -> np.ndarray:
    """Middles of equal cells: no value lies on the ends, nor on a round number in between.

    Args:
        low: where the first cell begins.
        high: where the last one ends.
        count: how many cells.

    Returns:
        [count] values.

    Examples:
        >>> cells(0, 1, 4).tolist()
        [0.125, 0.375, 0.625, 0.875]
    """
    return low + (high - low) * (np.arange(count) + 0.5) / count


def probability_values(as_map: bool) -> np.ndarray:
    """Values of a probability: steps of 0.005 from 0.0025, closer at the ends, from 0.001 to 0.999; 80 in a map.

    A threshold at a round number, such as ProFiT's 0.1, lies between two values, and shows as a step.

    Args:
        as_map: whether they are one side of a map, whose cells tile [0, 1].

    Returns:
        Rising values in (0, 1).
    """
    if as_map:
        return cells(0, 1, MAP)
    ends = np.array(ENDS)
    return np.concatenate([ends, cells(0, 1, LINE), (1 - ends)[::-1]])


def entropy_values(low: float, high: float, as_map: bool) -> np.ndarray:
    """Values of an entropy: middles of equal cells of what can be reached.

    Args:
        low: nats.
        high: nats.
        as_map: whether they are one side of a map.

    Returns:
        Rising values, nats.
    """
    return cells(low, high, MAP if as_map else LINE)


def parameter_values(default: float, allowed: Range) -> np.ndarray:
    """Values of a loss's parameter around its default, within its range.

    Both ends finite: even steps from end to end, an end that is left out replaced by one a hundredth of the way in.
    One end finite: a tenth of the default's distance from that end to ten times, evenly in its log, the default in
    the middle. None: from 0 to twice the default. Four digits are kept; whole numbers are rounded.

    Args:
        default: the parameter's default.
        allowed: its range.

    Returns:
        Rising values, 41 or fewer.

    Examples:
        >>> parameter_values(0.5, Range(0, 1))[[0, 1, -1]].tolist()
        [0.0, 0.025, 1.0]
        >>> parameter_values(0.05, Range(0))[[0, 20, -1]].round(6).tolist()
        [0.005, 0.05, 0.5]
        >>> parameter_values(20, Range(2, integer=True))[:4].tolist()
        [4, 5, 6, 7]
    """
    low, high = allowed.low, allowed.high
    if math.isfinite(low) and math.isfinite(high):
        inset = (high - low) / 100
        values = np.linspace(low + inset * allowed.low_open, high - inset * allowed.high_open, PARAMETER)
    elif math.isfinite(low) or math.isfinite(high):
        end, sign = (low, 1.0) if math.isfinite(low) else (high, -1.0)
        distance = abs(default - end) or 1.0
        values = np.sort(end + sign * distance * np.logspace(-1, 1, PARAMETER))
    else:
        first, last = sorted((0.0, 2 * default)) if default else (-1.0, 1.0)
        values = np.linspace(first, last, PARAMETER)
    rounded = np.array([float(f"{value:.4g}") for value in values])
    return np.unique(rounded.round().astype(int)) if allowed.integer else rounded
