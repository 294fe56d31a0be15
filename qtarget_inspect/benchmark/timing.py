"""Timing: contenders called in turn, round after round, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

Call = Callable[[], object]
Clock = Callable[[], float]

SHORTEST = 1e-3
"""Seconds that one sample takes at least: what is faster is called several times for one."""

LONGEST = 6.0
"""Seconds above which a call is not repeated: the sample is that of one call, and a notice says so."""


@dataclass(frozen=True)
class Samples:
    """Times of one contender.

    Args:
        seconds: seconds a call, one a round, the drop of its result included.
        repeated: False where a call took too long for the rounds, so that `seconds` holds one call.
    """

    seconds: tuple[float, ...]
    repeated: bool = True


def interleaved(
    calls: Mapping[str, Call],
    rounds: int,
    *,
    clock: Clock = time.perf_counter,
    synchronize: Callable[[], object] = lambda: None,
    longest: float = LONGEST,
) -> dict[str, Samples]:
    """Time contenders in turn: every round calls each of them once, in order.

    Each is called once before the rounds, so that nothing is set up in them, and to see how long it takes. A result is
    dropped within the time of its call, as a loop over batches would: giving memory back is part of taking it fresh.

    Args:
        calls: name -> function of no arguments.
        rounds: how many, at least 1.
        clock: seconds, increasing.
        synchronize: waits until the device is done; called before the clock is read.
        longest: seconds above which a call stays out of the rounds.

    Returns:
        name -> its times.

    Examples:
        >>> order = []
        >>> calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
        >>> seconds = iter(range(100))
        >>> times = interleaved(calls, 2, clock=lambda: next(seconds))
        >>> "".join(order), times["a"].seconds  # the first "ab" is not timed
        ('ababab', (1.0, 1.0))
    """
    seconds: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for name, call in calls.items():
        once = _sample(call, 1, clock, synchronize)
        seconds[name] = [once] if once > longest else []
        counts[name] = max(1, math.ceil(SHORTEST / once)) if once > 0 else 1
    repeated = [name for name in calls if not seconds[name]]
    for _ in range(rounds):
        with _no_collection():
            for name in repeated:
                seconds[name].append(_sample(calls[name], counts[name], clock, synchronize))
    return {name: Samples(tuple(seconds[name]), name in repeated) for name in calls}


def _sample(call: Call, count: int, clock: Clock, synchronize: Callable[[], object]) -> float:
    """Seconds a call, over `count` of them."""
    synchronize()
    start = clock()
    for _ in range(count):
        call()  # its result is dropped here
    synchronize()
    return (clock() - start) / count


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and not while the clock runs."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
