"""Spread: median and quartiles of a benchmark's samples, and ratios taken round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it.

    Args:
        median: half of the samples lie below.
        low: a quarter lies below.
        high: a quarter lies above.
    """

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles.

    Args:
        values: at least one sample.

    Returns:
        The spread.

    Examples:
        >>> spread([1.0, 2.0, 3.0, 4.0, 50.0])
        Spread(median=3.0, low=2.0, high=4.0)
    """
    low, median, high = (float(value) for value in np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75]))
    return Spread(median, low, high)


def ratios(times: Sequence[float], reference: Sequence[float], less: Sequence[float] | None = None) -> list[float]:
    """Ratios of the same rounds: (times - less) / reference.

    A slow moment of the machine hits both, so the ratio of a round varies less than either time. Where one of them has
    a single sample (it took too long for the rounds), its median with the others' medians is all there is.

    Args:
        times: seconds of a contender, a round each.
        reference: seconds of what it is held against.
        less: seconds of another contender that are taken off first.

    Returns:
        One ratio a round.

    Examples:
        >>> ratios([3.0, 8.0], [1.0, 2.0])
        [3.0, 4.0]
        >>> ratios([3.0, 8.0], [1.0, 2.0], less=[1.0, 2.0])
        [2.0, 3.0]
    """
    columns = [np.asarray(column, dtype=float) for column in (times, reference, [0.0] * len(times)) if len(column)]
    if less is not None:
        columns[2] = np.asarray(less, dtype=float)
    if len({len(column) for column in columns}) > 1:
        columns = [np.median(column, keepdims=True) for column in columns]
    return [float(ratio) for ratio in (columns[0] - columns[2]) / columns[1]]
