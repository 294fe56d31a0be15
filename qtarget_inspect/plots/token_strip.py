"""A solution as a strip of tokens: each tinted by gamma under several losses, p_y above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection

from qtarget_inspect.plots.style import GAMMA_COLOURS, colour_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARKERS = {"rescue": "^", "filter": "v", "doubted": "D", "conflict": "o", "signed": "s"}
"""Telling tokens are marked by shape as well as by colour."""

MARKER_COLOURS = {
    "rescue": "#009e73",
    "filter": "#d55e00",
    "doubted": "#cc79a7",
    "conflict": "#e69f00",
    "signed": "#56b4e9",
}

LABEL_COLUMNS = 11
NARROWEST = 4
ABOVE = 2
"""Rows above the losses: the token, and p_y."""


def plot_tokens(records: pd.DataFrame, *, columns: int = 100, size: float = 7.0, ax: Axes | None = None) -> Axes:
    """Tokens as they are read, under each a row a loss, tinted by gamma.

    Tokens are as wide as their text, and lines are broken where they are full. A cell without gamma stays white with
    a cross.

    Args:
        records: a row a token and method: position, token, p_label, method, gamma; category (for the colour of the
            method's name) and telling (a key of `MARKERS`, or "") where there are such columns.
        columns: letters in a line, of `size` in a fixed-width font.
        size: font size in points.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the tinted cells are its first collection, one value a token and method.
    """
    ax = ax if ax is not None else _new_axes()
    methods = records.drop_duplicates("method")
    names = methods["method"].tolist()
    tokens = records.drop_duplicates("position").sort_values("position").to_dict("records")
    places = _places([token["token"] for token in tokens], columns)
    height = len(names) + ABOVE + 1.4
    gamma = records.pivot(index="position", columns="method", values="gamma")[names].to_numpy()  # [N, methods]
    cells, values = [], []
    for number, (line, left, width) in enumerate(places):
        top = line * height + ABOVE
        for row in range(len(names)):
            cells.append(_box(left, top + row, width - 0.3, 0.92))
            values.append(gamma[number, row])
    tint = PolyCollection(
        cells,
        array=np.ma.masked_invalid(values),
        cmap=_colours(),
        norm=mpl.colors.Normalize(0, 1),
        edgecolors="#9a9a9a",
        linewidths=0.25,
    )
    ax.add_collection(tint)
    for (left, top), value in zip((cell[0] for cell in cells), values, strict=True):
        if np.isnan(value):
            ax.text(left + 0.8, top + 0.5, "×", size=size, ha="center", va="center")
    _write_tokens(ax, tokens, places, height, size)
    colours = [colour_of(category) for category in methods.get("category", [""] * len(names))]
    for line in range(places[-1][0] + 1):
        _write_names(ax, line * height, names, colours, size)
    ax.set_xlim(-LABEL_COLUMNS, columns)
    ax.set_ylim((places[-1][0] + 1) * height - 1.3, -0.9)
    ax.set_axis_off()
    return ax


def _write_tokens(
    ax: Axes, tokens: Sequence[dict[str, Any]], places: Sequence[tuple[int, float, float]], height: float, size: float
) -> None:
    """Each token with p_y below it, and its mark, if it has one, above."""
    for token, (line, left, width) in zip(tokens, places, strict=True):
        middle, top = left + (width - 0.3) / 2, line * height
        bold = "bold" if token.get("telling") else "normal"
        ax.text(
            middle,
            top + 0.45,
            token["token"],
            size=size,
            family="DejaVu Sans Mono",
            ha="center",
            va="center",
            weight=bold,
        )
        ax.text(
            middle, top + 1.45, _short(token["p_label"]), size=size * 0.86, color="#555555", ha="center", va="center"
        )
        if token.get("telling") in MARKERS:
            name = token["telling"]
            style: dict[str, Any] = {
                "marker": MARKERS[name],
                "color": MARKER_COLOURS[name],
                "ls": "none",
                "ms": size * 0.6,
            }
            ax.plot(middle, top - 0.4, **style, clip_on=False, label=name)


def _write_names(ax: Axes, top: float, names: Sequence[str], colours: Sequence[str], size: float) -> None:
    """p_y and the methods, left of a line."""
    ax.text(-1, top + 1.45, "$p_y$", size=size, color="#555555", ha="right", va="center")
    for row, (name, colour) in enumerate(zip(names, colours, strict=True)):
        ax.text(-1, top + ABOVE + row + 0.45, name, size=size, color=colour, ha="right", va="center")


def _places(texts: Sequence[str], columns: int) -> list[tuple[int, float, float]]:
    """(line, left edge, width) of each token, in letters; a line break in the text ends no line of its own."""
    places: list[tuple[int, float, float]] = []
    line, left = 0, 0.0
    for text in texts:
        width = float(max(NARROWEST, len(text) + 1))
        if left + width > columns and left > 0:
            line, left = line + 1, 0.0
        places.append((line, left, width))
        left += width
    return places


def _box(left: float, top: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def _short(probability: float) -> str:
    """Two decimals without the zero in front; "<.01" and ">.99" at the ends, where two decimals would lie."""
    if probability < 0.01:
        return "<.01"
    return ">.99" if probability > 0.99 else f"{probability:.2f}"[1:]


def _colours() -> mpl.colors.Colormap:
    """Label trust from 0 to 1; what lies above 1 stands out."""
    return mpl.colormaps[GAMMA_COLOURS].with_extremes(over="#d55e00", under="#cc79a7", bad="white")


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(8, 3))[1]
