"""Converted models kept on disk: where, whether they are whole, and how they get there in one step."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

_MANIFEST = "manifest.json"
_DAY = 24 * 60 * 60


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder that holds converted models.

    Args:
        cache: a folder, or None for `QTARGET_INSPECT_CACHE`, and where that is not set the platform's place
            for caches.

    Returns:
        The folder; it need not exist.
    """
    chosen = cache or os.environ.get("QTARGET_INSPECT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "qtarget_inspect"


def is_whole(folder: Path) -> bool:
    """Whether every file of a kept copy is there with the size and checksum it was written with.

    Args:
        folder: the copy.

    Returns:
        False for a missing, incomplete or damaged copy.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return bool(manifest) and all(_fingerprint(folder / name) == mark for name, mark in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def keep(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a copy beside its place and rename it into place, so that no half-written copy is ever seen.

    A damaged copy in that place is replaced. Of two processes that write the same copy, the first wins.

    Args:
        folder: where the copy belongs.
        write: fills an empty folder.

    Raises:
        OSError: the copy cannot be written, e.g. because the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder.parent))
    try:
        write(work)
        manifest = {path.name: _fingerprint(path) for path in sorted(work.iterdir())}
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        if folder.exists() and not is_whole(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            try:
                work.rename(folder)
            except OSError:  # another process was faster
                if not is_whole(folder):
                    raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fingerprint(path: Path) -> list[int]:
    """Size and CRC-32 of a file: 0.15 s for 500 MB."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return [path.stat().st_size, checksum]


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left, once it is a day old."""
    for path in folder.glob("unfinished-*"):
        if time.time() - path.stat().st_mtime > _DAY:
            shutil.rmtree(path, ignore_errors=True)
