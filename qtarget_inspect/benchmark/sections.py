"""Sections: the contenders of a setting, prepared, timed in turn, and their peak memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from qtarget_inspect.benchmark.contenders.collection import contenders
from qtarget_inspect.benchmark.contenders.contender import FLOOR, Contender
from qtarget_inspect.benchmark.contenders.identify_cases import identify_calls
from qtarget_inspect.benchmark.memory import system_peak, torch_peak
from qtarget_inspect.benchmark.results import Peak, Section, Timing
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.spread import spread
from qtarget_inspect.benchmark.timing import Call, Samples, interleaved
from qtarget_inspect.benchmark.workload import Workload, make_workload
from qtarget_inspect.core.errors import QTargetError

Notify = Callable[[str], None]

IDENTIFY_ROUNDS = 3
"""Calls of `identify` per loss: they take seconds, not milliseconds."""

RESTLESS = 1.5
"""Ratio of the floor's quartiles above which the machine was not quiet."""


def shape_section(
    setting: Setting,
    groups: Collection[str],
    rounds: int,
    *,
    whole: bool = True,
    names: Collection[str] | None = None,
    peaks: bool = True,
    notify: Notify = lambda _: None,
) -> Section:
    """Everything on one shape.

    Args:
        setting: on what.
        groups: which groups of contenders.
        rounds: how many.
        whole: every plain loss and paper row, or few of them.
        names: only these contenders.
        peaks: whether to measure memory too.
        notify: is told what is going on.

    Returns:
        The section.
    """
    notify(f"{setting.text}: making the logits")
    work = make_workload(setting)
    chosen = [c for c in contenders(setting, groups, whole=whole) if names is None or c.name in names]
    notify(f"{setting.text}: first calls")
    ready, notices = _ready(chosen, work)
    notify(f"{setting.text}: {rounds} rounds of {len(ready)} contenders")
    samples = interleaved({c.name: call for c, call, _ in ready}, rounds, synchronize=synchronizer(setting.device))
    timings = []
    for contender, _, first in ready:
        scale = contender.scale(setting.rows)
        seconds = tuple(scale * value for value in samples[contender.name].seconds)
        timings.append(Timing(contender.name, contender.group, seconds, scale * first, contender.about))
    notices += [*_too_long(samples), *_restless(timings)]
    if peaks:
        notify(f"{setting.text}: peak memory")
        gc.collect()
    measured = [_peak(contender, call, setting) for contender, call, _ in ready] if peaks else []
    return Section("shape", setting, tuple(timings), tuple(measured), tuple(notices))


def identify_section(setting: Setting, own_batch: bool, notify: Notify = lambda _: None) -> Section:
    """`identify` on losses from easy to unexplained, and on a batch of one's own.

    Args:
        setting: of that batch.
        own_batch: whether to time that too.
        notify: is told what is going on.

    Returns:
        The section.
    """
    notify("identify: a few losses, three times each")
    calls = identify_calls(make_workload(setting) if own_batch else None)
    firsts: dict[str, float] = {}
    for name, call in calls.items():
        firsts[name] = seconds_of(call)
    samples = interleaved(calls, IDENTIFY_ROUNDS)
    timings = tuple(Timing(name, "identify", samples[name].seconds, firsts[name]) for name in calls)
    return Section("identify", setting, timings, (), tuple(_too_long(samples)))


def _ready(chosen: Sequence[Contender], work: Workload) -> tuple[list[tuple[Contender, Call, float]], list[str]]:
    """Contenders that could be called once, with the seconds of that call; and why others could not."""
    ready, notices = [], []
    for contender in chosen:
        try:
            call = contender.prepare(work)
            first = seconds_of(call, synchronizer(work.setting.device))
        except (QTargetError, MemoryError, torch.OutOfMemoryError) as error:
            notices.append(f"{contender.name}: left out, {str(error).splitlines()[0]}")
        else:
            ready.append((contender, call, first))
    return ready, notices


def _peak(contender: Contender, call: Call, setting: Setting) -> Peak:
    """Peak memory beyond the inputs and the result."""
    result = contender.fresh_bytes(setting)
    own = torch_peak(call, setting.device)
    whole = system_peak(call) if setting.device == "cpu" else None
    return Peak(contender.name, max(0, own - result), None if whole is None else max(0, whole - result))


def _too_long(samples: Mapping[str, Samples]) -> list[str]:
    return [
        f"{name}: one call takes {times.seconds[0]:.1f} s, so that it was called once, outside the rounds"
        for name, times in samples.items()
        if not times.repeated
    ]


def _restless(timings: Sequence[Timing]) -> list[str]:
    """A notice where the floor's own times spread so far that something else was running."""
    floor = next((spread(timing.seconds) for timing in timings if timing.name == FLOOR), None)
    if floor is None or floor.high <= RESTLESS * floor.low:
        return []
    return [
        f"the floor took {1e3 * floor.low:.3g} to {1e3 * floor.high:.3g} ms (quartiles): the machine was busy with "
        "something else, and the ratios are rough"
    ]


def seconds_of(call: Call, synchronize: Callable[[], object] = lambda: None) -> float:
    """Seconds of one call.

    Args:
        call: the call.
        synchronize: waits until the device is done.

    Returns:
        Seconds.
    """
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def synchronizer(device: str) -> Callable[[], object]:
    """What waits until a device is done.

    Args:
        device: "cpu" or "cuda".

    Returns:
        A function of no arguments.
    """
    return torch.cuda.synchronize if device == "cuda" else lambda: None
