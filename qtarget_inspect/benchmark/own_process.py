"""Own process: parts of a benchmark that are settled when a process starts, measured in a new one.

Kept memory: contenders timed where the C library's allocator keeps what it gets. Compile time: the first call with
compile=True, with and without code that an earlier process left on disk.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import qtarget_inspect
from qtarget_inspect.benchmark.results import Section, Timing, section_from_record
from qtarget_inspect.benchmark.sections import Notify
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.core.errors import QTargetError

KEEP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}
"""Settings of glibc's allocator: take nothing by mmap, give nothing back, so that a page faults once and then stays."""

MODULE = "qtarget_inspect.benchmark.worker"

FIRST, SECOND, AGAIN = "first call", "second call", "first call of a second process"


def kept_memory_section(setting: Setting, names: Collection[str], rounds: int, notify: Notify) -> Section | None:
    """Contenders timed in a process whose allocator keeps its memory: what is left of them without page faults.

    Args:
        setting: on what.
        names: the contenders.
        rounds: how many.
        notify: is told what is going on.

    Returns:
        The section; None where the C library is not glibc, or the device no CPU.
    """
    if setting.device != "cpu" or platform.libc_ver()[0] != "glibc":
        return None
    notify(f"{setting.text}: page faults, in a process that keeps its memory")
    task = {"task": "kept memory", "setting": asdict(setting), "names": sorted(names), "rounds": rounds}
    return section_from_record(_in_own_process(task, KEEP))


def compile_time_section(setting: Setting, notify: Notify) -> Section:
    """Seconds of the first calls with compile=True: nothing on disk, the same process again, another process.

    Args:
        setting: on what.
        notify: is told what is going on.

    Returns:
        The section; with a notice and no times where nothing can be compiled.
    """
    notify(f"{setting.text}: compile time, in two processes")
    task = {"task": "compile time", "setting": asdict(setting)}
    with tempfile.TemporaryDirectory() as cache:
        try:
            cold, warm = (_in_own_process(task, {"TORCHINDUCTOR_CACHE_DIR": cache}) for _ in range(2))
        except QTargetError as error:
            return Section("compile time", setting, (), (), (f"compile time: not measured, {error}",))
    found = {FIRST: cold["first"], SECOND: cold["second"], AGAIN: warm["first"]}
    timings = tuple(Timing(name, "compiled", (seconds,), seconds) for name, seconds in found.items())
    return Section("compile time", setting, timings)


def _in_own_process(task: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Run the worker on a task and return what it found."""
    root = str(Path(qtarget_inspect.__file__).resolve().parents[1])
    paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "task.json", Path(folder) / "found.json"
        given.write_text(json.dumps({**task, "threads": torch.get_num_threads()}), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(given), str(found)],
            env={**os.environ, **environment, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not found.is_file():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise QTargetError(f"a process of its own for {task['task']} failed: {last}")
        answer: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        return answer
