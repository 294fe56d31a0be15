"""Fast paths: one switch that turns all of them off, so that every result can be had the plain way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ENVIRONMENT = "QTARGET_INSPECT_FAST_PATHS"
"""Environment variable of the switch: 0 turns every fast path off for the whole process."""

_wanted: ContextVar[bool | None] = ContextVar("fast_paths", default=None)


def fast_paths_enabled() -> bool:
    """Whether fast paths may be taken here.

    Returns:
        False inside `fast_paths(False)`, or where QTARGET_INSPECT_FAST_PATHS=0; else True.
    """
    wanted = _wanted.get()
    return os.environ.get(ENVIRONMENT, "1") != "0" if wanted is None else wanted


@contextmanager
def fast_paths(enabled: bool) -> Iterator[None]:
    """Turn all fast paths on or off inside a with block, in this thread.

    Off, every number is computed the plain way: weights on the whole batch first, one softmax and one logsumexp at a
    time, torch's own top-k, fits in float64, nothing compiled. Results agree within rounding; the tests hold them
    together. The environment variable QTARGET_INSPECT_FAST_PATHS=0 does the same for a process.

    Args:
        enabled: whether fast paths may be taken.

    Yields:
        Nothing.

    Examples:
        >>> import qtarget_inspect as qt
        >>> batch = qt.probe_batch(8)
        >>> with fast_paths(False):
        ...     plain = qt.invert("dft", batch).q
        >>> bool((plain - qt.invert("dft", batch).q).abs().max() < 1e-12)
        True
    """
    token = _wanted.set(bool(enabled))
    try:
        yield
    finally:
        _wanted.reset(token)
