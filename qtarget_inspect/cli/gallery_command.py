"""`qtarget-inspect gallery`: every script of the gallery run, its figure saved, and the two pages written."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtarget_inspect.cli.console import say
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    from qtarget_inspect.gallery.rendering import Rendering
    from qtarget_inspect.gallery.scripts import Script

EXAMPLES = """\b
Examples:
  qtarget-inspect gallery
  qtarget-inspect gallery --only 16 --only 20
  qtarget-inspect gallery --out pictures --skip-model
"""


def gallery(
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the pages and pictures; by default the gallery itself."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this script, by number or name, as often as you like."),
    ] = None,
    skip_model: Annotated[
        bool, typer.Option("--skip-model", help="Leave out the scripts that need the language model.")
    ] = False,
) -> int:
    """Draw the gallery anew: a course in pictures, by short scripts.

    Runs the scripts in gallery/ of a checkout, two minutes for all; writes rendered/NN_name.png and .svg, index.html
    (open it from disk) and README.md. The exit status is 1 where a script failed or was left out unasked.
    """  # noqa: DOC201  # the docstring is the help
    from qtarget_inspect.gallery.pages import RENDERED, write_pages
    from qtarget_inspect.gallery.rendering import render
    from qtarget_inspect.gallery.scripts import find_scripts

    source = _scripts_folder()
    out = _folder(out, source)
    scripts = find_scripts(source)
    asked = _chosen(scripts, only)
    chosen = [script for script in asked if not (skip_model and script.needs_model)]
    start = time.perf_counter()
    failed = 0
    for rendering in render(chosen, out / RENDERED):
        _tell(rendering)
        failed += bool(rendering.error)
    for path in write_pages(scripts, out):
        say(f"{path.name}: removed, its script is gone")
    seconds = time.perf_counter() - start
    say(f"\n{len(chosen) - failed} of {len(chosen)} scripts drawn in {seconds:.0f} s. Open {out / 'index.html'}")
    if len(chosen) < len(asked):
        names = ", ".join(script.number for script in asked if script not in chosen)
        say(f"Left out, as asked, for they need the language model: {names}.")
    return 1 if failed else 0


def _folder(out: Path | None, source: Path) -> Path:
    if out is not None and out.exists() and not out.is_dir():
        raise QTargetError(f"--out {out} is a file; name a folder.")
    return out if out is not None else source


def _scripts_folder() -> Path:
    """`gallery/` of the checkout that one stands in, or of the one that the package runs from."""
    import qtarget_inspect

    roots = (Path.cwd(), Path(qtarget_inspect.__file__).parents[1])
    for root in roots:
        if (root / "qtarget_inspect" / "__init__.py").is_file() and (root / "gallery").is_dir():
            return root / "gallery"
    raise QTargetError(
        f"the gallery's scripts come with the source, and {roots[0]} is no checkout of it.\n"
        "Run this in a checkout, where there is a folder gallery/."
    )


def _chosen(scripts: Sequence[Script], only: Sequence[str] | None) -> list[Script]:
    if not only:
        return list(scripts)
    by_name = {script.name: script for script in scripts} | {script.number: script for script in scripts}
    wanted = [name.removesuffix(".py").zfill(2) for name in only]
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        known = "\n".join(script.name for script in scripts)
        raise QTargetError(f"--only {unknown[0]}: there is no such script. There are:\n{known}")
    return [script for script in scripts if {script.name, script.number} & set(wanted)]


def _tell(rendering: Rendering) -> None:
    """A line a script: on stdout what was written, on stderr what failed."""
    name = rendering.script.name
    if rendering.error:
        word = "left out" if rendering.missing else "FAILED"
        print(f"{name}: {word}: {rendering.error}", file=sys.stderr, flush=True)
        return
    sizes = ", ".join(f"{path.suffix[1:]} {path.stat().st_size / 1e3:.0f} kB" for path in rendering.files)
    say(f"{name}: {rendering.seconds:.1f} s, {sizes}")
