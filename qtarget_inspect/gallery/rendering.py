"""Scripts run and their figures saved: small files, the same for the same script."""

from __future__ import annotations

import runpy
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError
from qtarget_inspect.gallery.scripts import Script

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = {"png": 150_000, "svg": 300_000}
"""Bytes that a rendered file may have."""

COLOURS = 256


@dataclass(frozen=True)
class Rendering:
    """What became of a script.

    Args:
        script: the script.
        seconds: how long it took.
        files: what was written, PNG and SVG; empty where it failed.
        error: what went wrong, and where; empty where nothing did.
        missing: whether it failed because a package is not installed.
    """

    script: Script
    seconds: float
    files: tuple[Path, ...] = ()
    error: str = ""
    missing: bool = False


def render(scripts: Iterable[Script], folder: Path) -> Iterator[Rendering]:
    """Run scripts and save the figure of each; one that raises does not keep the others from running.

    Matplotlib draws without windows (Agg) from then on.

    Args:
        scripts: which, in order.
        folder: where the files go.

    Yields:
        What became of each, as it is done.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for script in scripts:
        start = time.perf_counter()
        try:
            with drawn(script) as figure:
                files = _save(figure, script, folder)
        except Exception as error:  # whatever a script raises is reported, and the next one has its turn
            missing = isinstance(error, MissingDependencyError)
            yield Rendering(script, time.perf_counter() - start, error=_told(error, script), missing=missing)
        else:
            yield Rendering(script, time.perf_counter() - start, files)


@contextmanager
def drawn(script: Script) -> Iterator[Figure]:
    """Run a script as a user would, without a window; its figure is closed at the end of the block.

    Random numbers start at seed 0, and go on after the block where they were before it.

    Args:
        script: the script.

    Yields:
        Its figure.

    Raises:
        QTargetError: it draws no figure, or several.
    """
    import matplotlib.pyplot as plt
    import torch
    from matplotlib.figure import Figure

    show, before = plt.show, set(plt.get_fignums())
    plt.show = lambda *_, **__: None
    try:
        with plt.rc_context(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = runpy.run_path(str(script.path)).values()
            windows = [plt.figure(number) for number in plt.get_fignums() if number not in before]
            others = [one for one in made if isinstance(one, Figure)]  # a figure may belong to no window
            figures = list(dict.fromkeys([*windows, *others]))
            if len(figures) != 1:
                raise QTargetError(f"{script.path.name} draws {len(figures)} figures; a gallery script draws one.")
            yield figures[0]
    finally:
        plt.show = show
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def rendered_files(folder: Path, script: Script) -> tuple[Path, ...]:
    """Where the files of a script go.

    Args:
        folder: the folder of rendered files.
        script: the script.

    Returns:
        One path a format.
    """
    return tuple(folder / f"{script.name}.{format}" for format in LARGEST)


def stale_files(folder: Path, scripts: Iterable[Script]) -> list[Path]:
    """Rendered files whose script is gone.

    Args:
        folder: the folder of rendered files.
        scripts: all there are.

    Returns:
        The files.
    """
    kept = {path for script in scripts for path in rendered_files(folder, script)}
    return sorted(path for format in LARGEST for path in folder.glob(f"[0-9][0-9]_*.{format}") if path not in kept)


def rendered_from(path: Path) -> str:
    """The fingerprint of the script that a PNG was rendered from.

    Args:
        path: a PNG of the gallery.

    Returns:
        Sixteen letters, as `Script.fingerprint`.
    """
    from PIL import Image

    with Image.open(path) as image:
        return str(image.info["Source"])


def _save(figure: Figure, script: Script, folder: Path) -> tuple[Path, ...]:
    from qtarget_inspect.plots import save_figure

    files = rendered_files(folder, script)
    save_figure(figure, folder / script.name, tuple(LARGEST))
    _shrink(files[0], script.fingerprint)
    for path in files:
        size, most = path.stat().st_size, LARGEST[path.suffix[1:]]
        if size > most:
            raise QTargetError(
                f"{path.name} has {size / 1e3:.0f} kB; {most / 1e3:.0f} are the limit. "
                "Draw fewer points, or rasterise what is heavy."
            )
    return files


def _shrink(path: Path, source: str) -> None:
    """A PNG in 256 colours, which says what it was rendered from."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    with Image.open(path) as image:
        flat = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        info = PngInfo()
        info.add_text("Source", source)
        flat.save(path, optimize=True, pnginfo=info, dpi=image.info.get("dpi"))


def _told(error: Exception, script: Script) -> str:
    """The error with the script's line that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script.path)]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {error}"
