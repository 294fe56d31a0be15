"""Memory: how much a call takes at its peak, by torch's own accounting and by the system's."""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

Call = Callable[[], object]


def torch_peak(call: Call, device: str = "cpu") -> int:
    """Peak bytes that torch's allocators hold during a call, over what they held before.

    On a GPU `torch.cuda.max_memory_allocated`; on a CPU the sum of what torch's profiler reports of every allocation.

    Args:
        call: the function; its result counts.
        device: "cpu" or "cuda".

    Returns:
        Bytes.

    Examples:
        >>> torch_peak(lambda: torch.zeros(1000) + torch.zeros(1000))
        12000
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    peak = held = 0
    for size in _allocations(call):
        held += size
        peak = max(peak, held)
    return peak


def system_peak(call: Call) -> int | None:
    """Peak bytes of the process during a call, over what it held before: Linux' VmHWM, put back before the call.

    Memory that the C library holds without need is given back first. What a call reuses of it is not seen, so that this
    is a few pages off either way.

    Args:
        call: the function; its result counts.

    Returns:
        Bytes, or None where the system has no such account (macOS, Windows, some containers).
    """
    if hasattr(ctypes, "CDLL") and os.name == "posix":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    before = _status("VmHWM")
    call()
    after = _status("VmHWM")
    return None if before is None or after is None else after - before


def _status(key: str) -> int | None:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _allocations(call: Call) -> list[int]:
    """Bytes of every allocation of torch on the CPU, negative where they are given back, in order."""
    with _quiet_profiler():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            call()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profile.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    seen = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    return [event["args"]["Bytes"] for event in sorted(seen, key=lambda event: event["ts"])]


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """The profiler's library writes a line to stderr when it starts, unless its own variable says otherwise."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "99")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
