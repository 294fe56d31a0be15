"""A solution as a strip of tokens: each tinted by gamma under several losses, p_y above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from qtarget_inspect.plots.strip_layout import (
    ABOVE,
    BAR,
    KEY_LINE,
    MARGIN,
    Frame,
    cut_text,
    fit_strip,
    key_of,
    shown_names,
    strip_size,
)
from qtarget_inspect.plots.style import GAMMA_COLOURS, MONO, check_columns, colour_of, figure_style, legible, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLUMNS = ("loss", "position", "token", "p_label", "method", "gauge", "gamma")

MARKERS = {"rescue": "^", "filter": "v", "doubted": "D", "conflict": "o", "signed": "s"}
"""Telling tokens are marked by shape as well as by colour."""

MARKER_COLOURS = {
    "rescue": "#009e73",
    "filter": "#d55e00",
    "doubted": "#cc79a7",
    "conflict": "#e69f00",
    "signed": "#56b4e9",
}

_PAD = 8 / 72  # inches that a constrained layout leaves free

WIDEST = 100
"""Letters in a line of a new figure."""


_SEEN = 1e-5
"""A gamma beyond 0 or 1 by no more than this is so by rounding, and has the colour of 0 or 1."""


def plot_tokens(
    records: pd.DataFrame,
    *,
    columns: int | None = None,
    size: float | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Tokens as they are read, under each a row a loss, tinted by gamma.

    Tokens are as wide as their text, and lines are broken where they are full. A cell without gamma stays white with
    a cross; gamma above 1 is orange, below 0 pink. Telling tokens are bold, with a mark above. A method in the
    normalized gauge among others in the unit gauge has an asterisk. Texts of more than 24 letters are cut ("…").

    Misread:
        A dark cell says that the target trusts the label, not that the loss moves p much: where p_y is near 1 nothing
        moves, however dark. A light cell need not be a token that is ignored: its target may come from a teacher.
        Wide cells are long words and no more important. Rows in different gauges do not compare cell by cell. A mark
        is about the token under the models, and the same in all rows; it does not say what a loss makes of it.

    Args:
        records: rows of `qt.token_table`: loss, position, token, p_label, method, gauge, gamma; category (for the
            colour of the method's name) and telling (a key of `MARKERS`, or "") where there are such columns.
        columns: letters in a line, of a fixed-width font; by default as many as fit, 100 in a new figure.
        size: font size in points, by default that of the style, 7 in a new figure. Where `ax` is given, letters shrink
            until the text fits into it.
        key: whether to say below what tints and marks are.
        ax: where to draw, laid out as it will stay; by default a new figure, as large as the text.

    Returns:
        The axes; the tinted cells are its first collection, one value a token and method; the colour bar is its child,
        the marks' names its legend.

    Raises:
        QTargetError: columns are missing.
    """
    check_columns(records, COLUMNS, "plot_tokens", "qt.token_table(losses, batch)")
    if ax is None:
        return _in_new_figure(records, columns or WIDEST, size or 7.0, key)
    methods = records.drop_duplicates("loss")
    tokens = records.drop_duplicates("position").sort_values("position").to_dict("records")
    texts = [readable(token["token"], MONO) for token in tokens]
    names = shown_names(methods)
    ax.set_axis_off()
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()  # lays the figure out, so that the box is what it will be
    box = ax.get_window_extent()
    across, down = (72 * side / figure.dpi for side in (box.width, box.height))  # points
    shown = key_of(records, tuple(MARKERS), shown=key)
    frame = fit_strip(texts, names, columns, size or mpl.rcParams["font.size"], (across, down), shown)
    ax.set_xlim(-frame.names, frame.width - frame.names)
    ax.set_ylim(frame.height - MARGIN, -MARGIN)
    _tint(ax, records, methods["loss"].tolist(), tokens, frame)
    _write_tokens(ax, tokens, texts, frame)
    colours = [legible(colour_of(category)) for category in methods.get("category", [""] * len(names))]
    for line in range(frame.lines):
        _write_names(ax, line * frame.block, names, colours, frame.size)
    for artist in (*ax.texts, *ax.lines):
        artist.set_in_layout(False)  # all of it lies inside, and a layout need not make room
    if key:
        _key(ax, records, frame)
    return ax


def _tint(ax: Axes, records: pd.DataFrame, losses: list[str], tokens: Sequence[Any], frame: Frame) -> None:
    """A cell a token and loss, with a cross where gamma is undefined."""
    gamma = records.pivot(index="position", columns="loss", values="gamma")[losses]
    values = gamma.loc[[token["position"] for token in tokens]].to_numpy()  # [N, losses]
    corners = [
        (left, line * frame.block + ABOVE + row, width - 0.3)
        for line, left, width in frame.places
        for row in range(len(losses))
    ]
    tint = PolyCollection(
        [_box(left, top, width, 0.92) for left, top, width in corners],
        array=np.ma.masked_invalid(values.ravel()),
        cmap=_colours(),
        norm=mpl.colors.Normalize(-_SEEN, 1 + _SEEN),
        edgecolors="#9a9a9a",
        linewidths=0.25,
    )
    ax.add_collection(tint, autolim=False)
    for (left, top, _), value in zip(corners, values.ravel(), strict=True):
        if np.isnan(value):
            ax.text(left + 0.8, top + 0.5, "×", size=frame.size, ha="center", va="center")


def _write_tokens(ax: Axes, tokens: Sequence[dict[str, Any]], texts: Sequence[str], frame: Frame) -> None:
    """Each token with p_y below it, and its mark, if it has one, above."""
    for token, text, (line, left, width) in zip(tokens, texts, frame.places, strict=True):
        middle, top = left + (width - 0.3) / 2, line * frame.block
        ax.text(
            middle,
            top + 0.45,
            cut_text(text, frame.columns - 1),
            size=frame.size,
            family=MONO,
            ha="center",
            va="center",
            weight="bold" if token.get("telling") else "normal",
            parse_math=False,
        )
        ax.text(
            middle,
            top + 1.45,
            _short(token["p_label"]),
            size=0.86 * frame.size,
            color="#555555",
            ha="center",
            va="center",
        )
        if token.get("telling") in MARKERS:
            ax.plot(middle, top - 0.4, **_mark(token["telling"], frame.size))


def _mark(name: str, size: float) -> dict[str, Any]:
    """How a telling token is marked."""
    colour = MARKER_COLOURS[name]
    return {"marker": MARKERS[name], "color": colour, "ls": "none", "ms": size * 0.6, "label": name}


def _write_names(ax: Axes, top: float, names: Sequence[str], colours: Sequence[str], size: float) -> None:
    """p_y and the methods, left of a line."""
    ax.text(-1, top + 1.45, "$p_y$", size=size, color="#555555", ha="right", va="center")
    for row, (name, colour) in enumerate(zip(names, colours, strict=True)):
        ax.text(-1, top + ABOVE + row + 0.45, name, size=size, color=colour, ha="right", va="center", parse_math=False)


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


def _key(ax: Axes, records: pd.DataFrame, frame: Frame) -> None:
    """Below the tokens: the marks that occur on the left, the colour bar of gamma on the right, or below them."""
    size, marked = frame.size, frame.key.marks
    top = frame.bottom + MARGIN + 0.7  # rows from the top of the box
    if marked:
        legend = ax.legend(
            handles=[Line2D([], [], **_mark(name, size)) for name in marked],
            loc="center left",
            bbox_to_anchor=(0.0, 1 - (top + 0.4) / frame.height),
            ncols=len(marked),
            frameon=False,
            borderaxespad=0.0,
            handletextpad=0.1,
            columnspacing=1.0,
            fontsize=size,
        )
        legend.set_in_layout(False)
    place = top + KEY_LINE * (frame.key.lines(frame.width) - 1)
    wide = BAR / frame.width
    inset = ax.inset_axes((1 - wide - 1.5 / frame.width, 1 - (place + 0.75) / frame.height, wide, 0.7 / frame.height))
    inset.set_in_layout(False)
    low, high = records["gamma"].min() < -_SEEN, records["gamma"].max() > 1 + _SEEN
    figure: Any = ax.figure
    bar = figure.colorbar(
        ScalarMappable(mpl.colors.Normalize(0, 1), _colours()),
        cax=inset,
        orientation="horizontal",
        extend={(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither"),
    )
    bar.set_ticks([0, 0.5, 1], labels=["0", ".5", "1"])
    bar.ax.tick_params(labelsize=size, width=0.4, length=2, pad=1)
    bar.outline.set_linewidth(0.4)
    words = frame.key.text(frame.width)
    bar.ax.set_ylabel(f"{words}  ", rotation=0, ha="right", va="center", size=size)


def _in_new_figure(records: pd.DataFrame, columns: int, size: float, key: bool) -> Axes:
    """The strip in a figure of its own, just large enough."""
    import matplotlib.pyplot as plt

    with figure_style(size):
        width, height = strip_size(records, columns, size, key_of(records, tuple(MARKERS), shown=key))
        ax = plt.subplots(figsize=(width + _PAD, height + _PAD), layout="constrained")[1]
        return plot_tokens(records, columns=columns, size=size, key=key, ax=ax)
