"""Machine: on what a benchmark ran, with which versions, and how much memory is free."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from qtarget_inspect.core.fast_paths import fast_paths_enabled


@dataclass(frozen=True)
class Machine:
    """Hardware and versions, as a table of results has to name them.

    Args:
        processor: name of the processor, and the vector instructions that torch uses.
        cores: processor cores that this process may use.
        threads: threads that torch computed with.
        memory_gib: physical memory, GiB.
        gpu: name of the GPU that was used, None without one.
        system: operating system.
        versions: package -> version, Python among them.
        fast_paths: whether fast paths were on.
        day: day of the run, ISO.
    """

    processor: str
    cores: int
    threads: int
    memory_gib: float
    gpu: str | None
    system: str
    versions: dict[str, str]
    fast_paths: bool
    day: str

    @property
    def text(self) -> str:
        """One line for below a table."""
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        gpu = f"{self.gpu}; " if self.gpu else ""
        off = "" if self.fast_paths else "; fast paths OFF"
        return (
            f"{gpu}{self.processor}, {self.cores} cores, {self.threads} threads, {self.memory_gib:.0f} GiB; "
            f"{self.system}; {packages}{off}; {self.day}"
        )


def this_machine(device: str = "cpu") -> Machine:
    """What this process runs on.

    Args:
        device: "cpu" or "cuda".

    Returns:
        The machine.

    Examples:
        >>> sorted(this_machine().versions)
        ['numpy', 'python', 'qtarget-inspect', 'torch']
    """
    versions = {"python": platform.python_version()}
    for name in ("torch", "numpy", "qtarget-inspect"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_gib=round(_physical_memory() / 2**30, 1),
        gpu=torch.cuda.get_device_name() if device == "cuda" else None,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
        fast_paths=fast_paths_enabled(),
        day=date.today().isoformat(),
    )


def available_memory(device: str) -> int:
    """Bytes that can be had now without pushing anything out.

    Args:
        device: "cpu" or "cuda".

    Returns:
        On a GPU what its driver says; on a CPU what the system says, or the limit of a container where that is less.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    limits = [_container_memory(), _meminfo("MemAvailable")]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else _physical_memory() // 2


def _processor() -> str:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system has these names
        return 8 * 2**30


def _meminfo(key: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _container_memory() -> int | None:
    """What a control group leaves of its limit; None where there is none."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
        used = int((folder / "memory.current").read_text(encoding="utf-8"))
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return int(limit) - used + cached
