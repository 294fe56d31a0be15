"""Running: a whole benchmark, section after section."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch

from qtarget_inspect.benchmark.contenders.collection import GROUPS, NEEDED
from qtarget_inspect.benchmark.contenders.contender import FLOOR, FLOOR_FRESH
from qtarget_inspect.benchmark.contenders.generic import generic_name
from qtarget_inspect.benchmark.contenders.plain import CROSS_ENTROPY, naive_name
from qtarget_inspect.benchmark.machine import available_memory, this_machine
from qtarget_inspect.benchmark.own_process import compile_time_section, kept_memory_section
from qtarget_inspect.benchmark.results import Results, Section
from qtarget_inspect.benchmark.sections import Notify, identify_section, shape_section
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.core import chunks
from qtarget_inspect.core.errors import QTargetError

PARTS = (*GROUPS, "identify", "page-faults", "compile-time")
"""What a benchmark can be narrowed down to."""


def run_benchmark(
    settings: Sequence[Setting],
    *,
    rounds: int = 15,
    only: Collection[str] = PARTS,
    threads: int | None = None,
    whole: Collection[Setting] | None = None,
    notify: Notify = lambda _: None,
) -> Results:
    """Time every way to a target on some settings, in turn, and measure its memory.

    Page faults, compile time and `identify` are measured once, on the first setting.

    Args:
        settings: shapes, types, sources; at least one.
        rounds: rounds of each section, at least 1; medians want 15.
        only: parts of `PARTS`; what their goals are held against is added.
        threads: threads of torch; by default as they are.
        whole: settings that get every plain loss and paper row; by default all. The others get one loss, and six rows.
        notify: is told what is going on.

    Returns:
        The results.

    Raises:
        QTargetError: a part is unknown, a number is below 1, or there is no setting.

    Examples:
        >>> results = run_benchmark([Setting(4, 64)], rounds=2, only=["top-k"])
        >>> [timing.name for timing in results.sections[0].timings][-2:]
        ['torch.topk(20)', 'top_tokens(20)']
    """
    groups = _with_needed(only)
    if rounds < 1 or (threads is not None and threads < 1):
        raise QTargetError(f"rounds and threads must be at least 1, not {rounds} and {threads}.")
    if not settings:
        raise QTargetError("a benchmark needs one setting at least.")
    with _threads(threads):
        sections = [
            shape_section(setting, groups, rounds, whole=whole is None or setting in whole, notify=notify)
            for setting in settings
            if groups & set(GROUPS)
        ]
        sections += _others(settings[0], groups, rounds, notify)
        device = settings[0].device
        budget = chunks.CUDA_CHUNK_BYTES if device == "cuda" else chunks.CHUNK_BYTES
        return Results(this_machine(device), rounds, budget, tuple(sections))


def fitting(settings: Sequence[Setting], notify: Notify = lambda _: None) -> list[Setting]:
    """The settings that fit the memory that is free now.

    Args:
        settings: settings.
        notify: is told what does not fit.

    Returns:
        Those that fit.

    Raises:
        QTargetError: none does.
    """
    sizes = [(setting, available_memory(setting.device)) for setting in settings]
    found = [setting for setting, free in sizes if setting.bytes_needed <= free]
    if not found:
        setting, free = min(sizes, key=lambda size: size[0].bytes_needed)
        raise QTargetError(f"{_too_large(setting, free)}: name a smaller shape.")
    for setting, free in sizes:
        if setting not in found:
            notify(f"left out: {_too_large(setting, free)}")
    return found


def _too_large(setting: Setting, free: int) -> str:
    return f"{setting.text} needs {setting.bytes_needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free"


def check_parts(only: Collection[str] | None) -> list[str]:
    """The parts asked for, if there are such.

    Args:
        only: names of `PARTS`; None for all.

    Returns:
        The parts.

    Raises:
        QTargetError: one is unknown.
    """
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise QTargetError(f"a benchmark has no part {', '.join(unknown)}; it has {', '.join(PARTS)}.")
    return list(PARTS if only is None else only)


def _with_needed(only: Collection[str]) -> set[str]:
    check_parts(only)
    return set(only).union(*(NEEDED.get(part, set()) for part in only))


def _others(setting: Setting, groups: set[str], rounds: int, notify: Notify) -> Iterator[Section]:
    """The sections that are measured once."""
    random = Setting(setting.rows, setting.vocabulary, setting.dtype, device=setting.device)
    if "page-faults" in groups:
        names = [FLOOR, FLOOR_FRESH, CROSS_ENTROPY, naive_name("dft")]
        names += [generic_name("dft", compiled=compiled, fresh=True) for compiled in (False, True)]
        section = kept_memory_section(random, names, rounds, notify)
        if section is not None:
            yield section
    if "compile-time" in groups:
        yield compile_time_section(random, notify)
    if "identify" in groups:
        yield identify_section(random, random.device == "cpu", notify)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
