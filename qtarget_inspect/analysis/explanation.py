"""Explanation: when a reading accounts for a loss, and its numbers mean something."""

from __future__ import annotations

from qtarget_inspect.analysis.decomposition import Decomposition, may_leave


def explains(reading: Decomposition) -> bool:
    """Whether a reading leaves no more than 1e-4 of the largest gradient.

        max_{t,k} |Q_tk - Q_reading,tk|  <=  1e-4 max_{t,k} |g_tk|

    Where it does not, its gamma and its pulls are numbers of a fit that does not fit, and mean nothing.

    Args:
        reading: a decomposition, usually in the attractor reading.

    Returns:
        True or False; False where what is left is NaN.

    Examples:
        >>> import qtarget_inspect as qt
        >>> batch = qt.probe_batch(64)
        >>> [explains(qt.decompose(qt.invert(loss, batch))) for loss in ("dft", "logit-norm")]
        [True, False]
    """
    return float(reading.unexplained.max()) <= may_leave(reading.target.g)
