"""A solution as a strip of tokens: each tinted by gamma under several losses, p_y above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from qtarget_inspect.plots.style import GAMMA_COLOURS, check_columns, colour_of, figure_style, legible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

COLUMNS = ("position", "token", "p_label", "method", "gauge", "gamma")

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

LETTER = 0.602
"""Width of a letter of DejaVu Sans Mono, in font sizes."""

ROW = 1.5
"""Height of a row, in font sizes."""

KEY = 5.0
"""Height of the colour bar and the marks below a strip, in font sizes."""


def plot_tokens(records: pd.DataFrame, *, columns: int = 100, size: float = 7.0, ax: Axes | None = None) -> Axes:
    """Tokens as they are read, under each a row a loss, tinted by gamma.

    Tokens are as wide as their text, and lines are broken where they are full. A cell without gamma stays white with
    a cross; gamma above 1 is orange, below 0 pink. Telling tokens are bold, with a mark above. A method in the
    normalized gauge among others in the unit gauge has an asterisk.

    Misread:
        A dark cell says that the target trusts the label, not that the loss moves p much: where p_y is near 1 nothing
        moves, however dark. A light cell need not be a token that is ignored: its target may come from a teacher.
        Wide cells are long words and no more important. Rows in different gauges do not compare cell by cell. A mark
        is about the token under the models, and the same in all rows; it does not say what a loss makes of it.

    Args:
        records: rows of `qt.token_table`: position, token, p_label, method, gauge, gamma; category (for the colour of
            the method's name) and telling (a key of `MARKERS`, or "") where there are such columns.
        columns: letters in a line, of `size` in a fixed-width font.
        size: font size in points.
        ax: where to draw; by default a new figure, as large as the text, with its key.

    Returns:
        The axes; the tinted cells are its first collection, one value a token and method.

    Raises:
        QTargetError: columns are missing.
    """
    check_columns(records, COLUMNS, "plot_tokens", "qt.token_table(losses, batch)")
    if ax is None:
        return _with_key(records, columns, size)
    methods = records.drop_duplicates("method")
    names, shown = methods["method"].tolist(), _marked_names(methods)
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
    colours = [legible(colour_of(category)) for category in methods.get("category", [""] * len(names))]
    for line in range(places[-1][0] + 1):
        _write_names(ax, line * height, shown, colours, size)
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


def strip_height(records: pd.DataFrame, columns: int, size: float) -> float:
    """How high a strip is.

    Args:
        records: rows of `qt.token_table`.
        columns: letters in a line.
        size: font size in points.

    Returns:
        Inches.
    """
    texts = records.drop_duplicates("position").sort_values("position")["token"].tolist()
    lines = _places(texts, columns)[-1][0] + 1
    rows = lines * (records["method"].nunique() + ABOVE + 1.4) - 0.4
    return rows * ROW * size / 72


def strip_key(figure: FigureBase, ax: Axes, records: pd.DataFrame, *, size: float) -> None:
    """The colour bar of gamma below a strip, and below that the marks that occur.

    Args:
        figure: the figure or subfigure of the strip.
        ax: the strip.
        records: rows of `qt.token_table`.
        size: font size in points.
    """
    low, high = records["gamma"].min() < 0, records["gamma"].max() > 1 + 1e-9
    bar = figure.colorbar(
        ax.collections[0],
        ax=ax,
        location="bottom",
        aspect=40,
        shrink=0.35,
        pad=0.01,
        anchor=(1.0, 0.5),
        extend={(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither"),
    )
    bar.set_ticks([0, 0.5, 1], labels=["0", ".5", "1"])
    bar.outline.set_linewidth(0.4)
    gauges = records["gauge"].unique().tolist()
    words = f"{gauges[0]} gauge" if len(gauges) == 1 else "unit gauge; * normalized"
    bar.ax.set_ylabel(f"label trust $\\gamma$ ({words})  ", rotation=0, ha="right", va="center")
    marked = [name for name in MARKERS if name in set(records.get("telling", ()))]
    if marked:
        handles = [
            Line2D([], [], marker=MARKERS[name], color=MARKER_COLOURS[name], ls="none", ms=size * 0.6, label=name)
            for name in marked
        ]
        figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=len(marked),
            frameon=False,
            handletextpad=0.1,
            columnspacing=1.0,
        )


def _marked_names(methods: pd.DataFrame) -> list[str]:
    """Titles, with an asterisk in the normalized gauge where others are in the unit gauge."""
    mixed = methods["gauge"].nunique() > 1
    return [
        f"{method}*" if mixed and gauge == "normalized" else method
        for method, gauge in zip(methods["method"], methods["gauge"], strict=True)
    ]


def _with_key(records: pd.DataFrame, columns: int, size: float) -> Axes:
    """The strip in a figure of its own, just large enough."""
    import matplotlib.pyplot as plt

    width = ((columns + LABEL_COLUMNS) * LETTER * size + 14) / 72
    with figure_style(size):
        height = strip_height(records, columns, size) + KEY * size / 72
        figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
        plot_tokens(records, columns=columns, size=size, ax=ax)
        strip_key(figure, ax, records, size=size)
    return ax
