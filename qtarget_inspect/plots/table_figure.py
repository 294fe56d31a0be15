"""A table as a figure: text between three rules, as books set it, for a slide or a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import INK, check_columns, colour_of, figure_style, legible, plain
from qtarget_inspect.tables.writers import display_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 1.3
"""Height of a line of text, in font sizes."""

_NARROW = 8
"""Letters after which cells are broken at the earliest, where letters would have to shrink otherwise."""

_ASCENT = 0.85  # from the top of a line to its baseline, in font sizes
_GAP = 1.6  # between columns, in font sizes
_ROW = 0.5  # between rows, in font sizes
_RULES = 0.8  # around a rule, in font sizes


@dataclass(frozen=True)
class _Layout:
    """Where everything stands, in font sizes from the upper left corner.

    Args:
        cells: row -> column -> lines of text; the head first.
        lefts: where each column begins.
        tops: where each row begins.
        width: of all.
        height: of all.
    """

    cells: list[list[list[str]]]
    lefts: list[float]
    tops: list[float]
    width: float
    height: float


def plot_table(
    frame: pd.DataFrame, *, columns: Sequence[str] | None = None, widest: int = 26, ax: Axes | None = None
) -> Axes:
    """A table as a figure, with the columns and the rounding that people read.

    Misread:
        What is printed is rounded: compute with the DataFrame. "-" is undefined or not claimed, and never zero. Rows
        may stand in different gauges, which the gauge column says: their gammas do not compare. In a comparison, means
        are over the tokens of one batch, and over those on which the number is defined where a share is given; the
        intervals are about resampled sequences of that batch, and no bounds for another text. In the unification table
        "holds" is about the states that were tried.

    Args:
        frame: what `qt.compare` or `qt.unification_table` gives, or any DataFrame.
        columns: which of the columns, by the names that are printed; all by default.
        widest: letters after which a cell goes on in another line, earlier where that lets letters be larger.
        ax: where to draw; by default a new figure, as large as the table. In given axes the letters have the
            style's size, or shrink until the table fits: leave out columns where they get too small to read.

    Returns:
        The axes: a text a line of a cell, its `gid` being "row, column", the head row 0; three rules as lines.

    Raises:
        QTargetError: it is no DataFrame, has no rows, or lacks a column.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> frame = pd.DataFrame({"loss": ["sft", "dft"], "gamma": [1.0, 0.123456]})
        >>> ax = plot_table(frame, ax=Figure().add_subplot())
        >>> [text.get_text() for text in ax.texts]
        ['loss', 'gamma', 'sft', '1', 'dft', '0.1235']
    """
    check_columns(frame, (), "plot_table", "qt.compare(losses, batch)")
    table = display_table(frame)
    chosen = list(table.columns) if columns is None else list(columns)
    missing = [name for name in chosen if name not in table.columns]
    if missing or not chosen:
        raise QTargetError(
            f"plot_table: the table has no column {', '.join(missing) or '(none was asked for)'}; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    size = mpl.rcParams["font.size"]
    if ax is None:
        with figure_style(8):
            layout = _layout(table[chosen], widest)
            ax, size = _new_axes(layout), 8.0
            _draw(ax, layout, size, _colours(frame))
        return ax
    layout, fits = _largest(ax, table[chosen], widest, size)
    _draw(ax, layout, size * fits, _colours(frame))
    return ax


def _largest(ax: Axes, table: pd.DataFrame, widest: int, size: float) -> tuple[_Layout, float]:
    """The layout with the largest letters in the axes, up to a size, and their share of it; cells break for that."""
    figure: Any = ax.get_figure(root=True)
    ax.set_axis_off()
    figure.draw_without_rendering()  # lays the figure out, so that the box is what it will be
    room, unit = ax.get_window_extent(), _pixels(ax, size)
    best: tuple[_Layout, float] | None = None
    for letters in sorted({widest, *range(_NARROW, widest, 3)}, reverse=True):
        layout = _layout(table, letters)
        fits = min(1.0, room.width / (layout.width * unit), room.height / (layout.height * unit))
        if best is None or fits > 1.02 * best[1]:
            best = layout, fits
    assert best is not None
    return best


def _layout(table: pd.DataFrame, widest: int) -> _Layout:
    texts = [[str(name) for name in table.columns], *table.to_numpy().tolist()]
    cells = [
        [wrap(plain(str(text)), widest, break_long_words=False, break_on_hyphens=False) or [""] for text in row]
        for row in texts
    ]
    widths = [max(_width(line) for row in cells for line in row[column]) for column in range(len(texts[0]))]
    lefts = [sum(widths[:column]) + column * _GAP for column in range(len(widths))]
    tops, top = [], _RULES
    for row in cells:
        tops.append(top)
        top += LINE * max(map(len, row)) + (2 * _RULES if len(tops) == 1 else _ROW)
    return _Layout(cells, lefts, tops, sum(widths) + _GAP * (len(widths) - 1), top - _ROW + _RULES)


def _width(text: str) -> float:
    """Width of a line, in font sizes; letters are rounded to pixels when they are drawn, so a little is added."""
    return _text_width(text, tuple(mpl.rcParams["font.family"])) if text.strip() else 0.0


@lru_cache(maxsize=4096)
def _text_width(text: str, families: tuple[str, ...]) -> float:
    path = TextPath((0, 0), text, size=10, prop=FontProperties(family=list(families)))
    return 1.02 * float(path.get_extents().x1) / 10


def _draw(ax: Axes, layout: _Layout, size: float, colours: Sequence[str]) -> None:
    """Text and rules, the axes' units being font sizes."""
    room, unit = ax.get_window_extent(), _pixels(ax, size)
    ax.set_xlim(0, room.width / unit)
    ax.set_ylim(room.height / unit, 0)
    ax.set_axis_off()
    for place, (row, top) in enumerate(zip(layout.cells, layout.tops, strict=True)):
        for column, (lines, left) in enumerate(zip(row, layout.lefts, strict=True)):
            for number, line in enumerate(lines):
                ax.text(
                    left,
                    top + _ASCENT + number * LINE,
                    line,
                    size=size,
                    va="baseline",
                    color=colours[place - 1] if column == 0 and place > 0 else INK,
                    weight="bold" if lines == ["NO"] else "normal",
                    gid=f"{place}, {column}",
                )
    for height, width in ((0.0, 0.9), (layout.tops[1] - _RULES, 0.5), (layout.height, 0.9)):
        ax.plot([0, layout.width], [height, height], color=INK, linewidth=width, clip_on=False)
    for artist in (*ax.texts, *ax.lines):
        artist.set_in_layout(False)  # all of it lies inside, and a layout need not make room


def _pixels(ax: Axes, size: float) -> float:
    """A font size in pixels."""
    figure: Any = ax.get_figure(root=True)
    return size * figure.dpi / 72


def _colours(frame: pd.DataFrame) -> list[str]:
    """The colour of each row's category, dark grey where it has none."""
    categories = frame["category"] if "category" in frame.columns else [""] * len(frame)
    return [legible(colour_of(category)) if category else INK for category in categories]


def _new_axes(layout: _Layout) -> Axes:
    import matplotlib.pyplot as plt

    margin = 1.0  # in font sizes
    width, height = ((side + 2 * margin) * 8 / 72 for side in (layout.width, layout.height))
    figure = plt.figure(figsize=(width, height))
    inside = (margin * 8 / 72 / width, margin * 8 / 72 / height)
    return figure.add_axes((*inside, 1 - 2 * inside[0], 1 - 2 * inside[1]))
