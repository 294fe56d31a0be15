"""Page: one self-contained HTML file from markup, style, scripts and data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.explorer.catalogue import losses_of_the_page
from qtarget_inspect.explorer.colours import palette
from qtarget_inspect.explorer.formulas import FORMULAS, NO_PULLS, NOT_ONE_TOKEN
from qtarget_inspect.explorer.grid import name_of_loss, precomputed
from qtarget_inspect.explorer.positions import (
    DEFAULTS,
    POSITIONS,
    SENTENCE,
    TOKENS,
    TRIANGLE_STEPS,
)
from qtarget_inspect.explorer.scenes import SCENES
from qtarget_inspect.variants import Variant, resolve

SCRIPTS = (
    "numerals",
    "state",
    "laws",
    "directions",
    "reading",
    "own",
    "flow",
    "view",
    "fragment",
    "style",
    "chart",
    "triangles",
    "curves",
    "figures",
    "table",
    "python",
    "export",
    "controls",
    "app",
)
"""Files in assets/, in the order in which they are joined: modules cannot be imported from a file that lies on disk."""

STYLES = ("base", "controls", "figures")
"""The same for style sheets."""

FIRST = ("sft", "dft")
"""Losses that are chosen at first, as far as there is room beside those that were asked for."""

MOST_CHOSEN = 4


def explorer_page(losses: Sequence[Any] = ()) -> str:
    """The explorer as one HTML page that needs no network.

    Args:
        losses: losses beside the registered ones, in any form that `invert` takes. A registered loss that the page has
            formulas for is chosen at first, at its parameters; all others are worked out at every position of the
            sliders, about 3 MB for a loss that takes a teacher, 0.04 MB for one that takes none.

    Returns:
        HTML.

    Raises:
        QTargetError: a loss fails, or needs what the page has not.

    Examples:
        >>> explorer_page(["dpo"])
        Traceback (most recent call last):
        qtarget_inspect.core.errors.QTargetError: the explorer cannot show dpo(beta=0.1): it compares two sequences, ...
    """
    own, chosen = _split(losses)
    _check_names([name_of_loss(loss) for loss in own])
    records = [precomputed(loss) for loss in own]
    chosen += [{"name": record["name"], "parameters": {}} for record in records]
    named = {one["name"] for one in chosen}
    before = [{"name": name, "parameters": {}} for name in FIRST if name not in named][: MOST_CHOSEN - len(chosen)]
    data = {
        "sentence": SENTENCE,
        "tokens": TOKENS,
        "positions": POSITIONS,
        "defaults": DEFAULTS,
        "triangleSteps": TRIANGLE_STEPS,
        "losses": losses_of_the_page(),
        "own": records,
        "first": [*before, *chosen],
        "mostChosen": MOST_CHOSEN,
        "notOffered": {**NO_PULLS, **NOT_ONE_TOKEN},
        "palette": palette(),
        "scenes": [dict(zip(("title", "fragment", "sentence"), scene, strict=True)) for scene in SCENES],
    }
    parts = {
        "style": "\n".join(_asset(f"{name}.css") for name in STYLES),
        "data": json.dumps(data, ensure_ascii=False, allow_nan=False).replace("</", "<\\/"),
        "script": "\n".join(_asset(f"{name}.js") for name in SCRIPTS),
    }
    page = _asset("page.html")
    for name, text in parts.items():
        page = page.replace(f"@@{name}@@", text)
    return page


def write_explorer(path: str | Path, losses: Sequence[Any] = ()) -> Path:
    """Write the explorer to a file; nothing is written where a loss is refused.

    Args:
        path: where to.
        losses: losses beside the registered ones, see `explorer_page`.

    Returns:
        The path.

    Raises:
        QTargetError: a loss is refused.
    """
    page = explorer_page(losses)
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def _split(losses: Sequence[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Losses to be worked out, and those that the page has formulas for, with their parameters."""
    own: list[Any] = []
    chosen: list[dict[str, Any]] = []
    for loss in losses:
        resolved = resolve(loss)
        if isinstance(resolved, Variant) and resolved.name in FORMULAS:
            one = {"name": resolved.name, "parameters": dict(resolved.parameters)}
            chosen += [] if one in chosen else [one]
        else:
            own.append(loss)
    if len(own) + len(chosen) > MOST_CHOSEN:
        raise QTargetError(f"the explorer shows up to {MOST_CHOSEN} losses at once; {len(losses)} were given.")
    return own, chosen


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QTargetError(f"explorer: two losses are called {', '.join(twice)}; give one of them another name.")


def _asset(name: str) -> str:
    return files("qtarget_inspect.explorer").joinpath("assets", name).read_text(encoding="utf-8")
