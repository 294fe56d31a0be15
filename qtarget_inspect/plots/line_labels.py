"""Names of lines: written beside the lines where they fit without touching anything, else in a legend outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.transforms import ScaledTranslation

from qtarget_inspect.plots.style import OwnFigure, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_STEP = 3.0
"""Pixels between the points at which a line is looked at."""

_GAP = 0.35
"""Room between a name and anything else, in heights of the text."""

_SPREAD = 0.6
"""How far a name at a line's end may be moved up or down, in heights of the text."""

_MEETING = 0.4
"""Lines whose ends lie nearer than this, in heights of the text, cannot be told apart by names at the ends."""

_CLOSER = 0.6
"""A name belongs to its line if it is nearer to it than to any other by this factor."""

_BESIDE = 1.2
"""A legend stands beside the axes, unless its share of their width is this many times that of their height below."""

_HANDLE = 4.2
"""Width of a line in the legend with the room around it, in font sizes."""

_LINE = 1.3
"""Height of an entry of the legend, in font sizes."""

_ASIDE = 1.0
"""Room between the axes and a legend beside them, in font sizes: half a tick label stands in it."""

_TEXT = 1.0
"""Height of its text, in font sizes."""

_BELOW = 0.7
"""Room between the axis label and a legend below it, in font sizes."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""


def label_lines(
    ax: Axes,
    named: Mapping[str, Sequence[Line2D]],
    *,
    others: Sequence[Line2D] = (),
    colours: Mapping[str, str] | None = None,
) -> bool:
    """Write the name of each line beside it, in its colour.

    At the right ends, if all names fit there; else along the lines, each where it touches no line and no other name and
    is nearest to its own; else in a legend to the right of the axes, never over the data. Draw everything and set the
    limits first: names are placed for the axes as they are then.

    Args:
        ax: the axes.
        named: name -> its line, or the lines that share it in several colours.
        others: more lines that no name may touch.
        colours: name -> its colour; the line's own by default.

    Returns:
        True where the names stand beside the lines, False where there is a legend.
    """
    if not named:
        return True
    ax.get_xlim(), ax.get_ylim()  # limits that matplotlib has put off are set now
    sizes = {name: _size(ax, name) for name in named}
    paths = {name: _pixels(ax, lines[0]) for name, lines in named.items()}
    crowd = [*paths.values(), *(_pixels(ax, line) for line in others)]
    places = _at_ends(ax, paths, crowd, sizes) or _along(ax, paths, crowd, sizes)
    if places is None:
        _legend(ax, named, [width for width, _ in sizes.values()])
        return False
    to_axes = ax.transAxes.inverted()
    for name, (x, y) in places.items():
        left, middle = to_axes.transform((x, y))
        ax.text(
            left,
            middle,
            name,
            transform=ax.transAxes,
            color=legible((colours or {}).get(name, named[name][0].get_color())),
            ha="left",
            va="center",
        )
    return True


def _legend(ax: Axes, named: Mapping[str, Sequence[Line2D]], widths: Sequence[float]) -> None:
    """A legend outside: right of the axes, or below them where that takes much less of their size."""
    figure: Any = ax.get_figure(root=True)
    font = mpl.rcParams["font.size"] * figure.dpi / 72
    entries = np.asarray(widths) + _HANDLE * font
    columns = max([1, *(n for n in range(2, len(entries) + 1) if _across(entries, n) <= ax.bbox.width)])
    axis = ax.xaxis.get_tightbbox()
    drop = max(0.0, ax.bbox.y0 - axis.y0) if axis else 0.0  # ticks and label
    beside = -(-len(entries) // (1 + int((ax.bbox.height + drop) / (_LINE * font))))
    rows = -(-len(entries) // columns)
    aside = ax.transAxes + ScaledTranslation(_ASIDE * font / figure.dpi, 0, figure.dpi_scale_trans)
    where: dict[str, Any] = {"bbox_to_anchor": (1.0, 1.0), "bbox_transform": aside, "ncols": beside}
    if _across(entries, beside) / ax.bbox.width > _BESIDE * _LINE * rows * font / ax.bbox.height:
        below = ax.transAxes + ScaledTranslation(0, -(drop + _BELOW * font) / figure.dpi, figure.dpi_scale_trans)
        where = {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": below, "ncols": columns}
    ax.legend(
        [tuple(lines) for lines in named.values()],
        list(named),
        **where,
        loc="upper left",
        borderaxespad=0.0,
        borderpad=0.0,
        frameon=False,
        handlelength=2.4,
        labelspacing=_LINE - _TEXT,
        columnspacing=1.0,
    )
    if isinstance(figure, OwnFigure):
        width, height = figure.get_size_inches() + np.array(_legend_size(ax)) / figure.dpi
        figure.set_size_inches(width, height)


def height_left(ax: Axes) -> float:
    """Height of the axes when a layout has found room for the legend below them.

    Args:
        ax: the axes, with their legend, if they have one.

    Returns:
        Pixels; a figure of their own has grown instead.
    """
    return ax.bbox.height - (0.0 if isinstance(ax.get_figure(root=True), OwnFigure) else _legend_size(ax)[1])


def _legend_size(ax: Axes) -> tuple[float, float]:
    """What a legend outside takes of width or height, in pixels."""
    legend = ax.get_legend()
    if legend is None:
        return 0.0, 0.0
    box = legend.get_window_extent()
    return (float(box.width), 0.0) if box.x0 >= ax.bbox.x1 else (0.0, float(box.height))


def _across(entries: np.ndarray, columns: int) -> float:
    """Width of a legend in pixels: its entries fill column by column, each as wide as its widest."""
    return float(sum(one.max() for one in np.array_split(entries, columns) if one.size))


def _at_ends(
    ax: Axes, paths: dict[str, np.ndarray], crowd: list[np.ndarray], sizes: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]] | None:
    """Right of the last points, moved a little apart; None where that is not enough, or lines end early or together."""
    right = ax.bbox.x1
    if any(len(path) == 0 or path[-1, 0] < right - 0.1 * ax.bbox.width for path in paths.values()):
        return None
    height = max(size[1] for size in sizes.values())
    names = sorted(paths, key=lambda name: paths[name][-1, 1])
    wanted = np.array([paths[name][-1, 1] for name in names])
    placed = _apart(wanted, 1.05 * height)
    if (np.diff(wanted) < _MEETING * height).any() or np.abs(placed - wanted).max() > _SPREAD * height:
        return None
    return {name: (right + 1.5 * _GAP * height, float(y)) for name, y in zip(names, placed, strict=True)}


def _apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places at least `gap` apart, nearest to the wanted ones in least squares: pool what overlaps, keep its middle."""
    pools: list[list[float]] = []  # sums and counts of wanted places less their rank times the gap
    for rank, place in enumerate(wanted):
        pools.append([place - rank * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + count]
    level = np.concatenate([np.full(int(count), total / count) for total, count in pools])
    return level + gap * np.arange(len(wanted))


def _along(
    ax: Axes, paths: dict[str, np.ndarray], crowd: list[np.ndarray], sizes: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]] | None:
    """Beside the lines, the name with the fewest places first; None where one has no place."""
    inside: Box = (ax.bbox.x0, ax.bbox.y0, ax.bbox.x1, ax.bbox.y1)
    found = {name: _candidates(paths[name], crowd, sizes[name], inside) for name in paths}
    places: dict[str, tuple[float, float]] = {}
    taken: list[Box] = []
    while found:
        free = {name: [one for one in found[name] if not any(_overlap(one[1], box) for box in taken)] for name in found}
        name = min(free, key=lambda name: len(free[name]))
        if not free[name]:
            return None
        _, box = min(free.pop(name))
        taken.append(box)
        gap = _GAP * sizes[name][1]
        places[name] = (box[0] + gap, (box[1] + box[3]) / 2)
        found = free
    return places


def _candidates(
    path: np.ndarray, crowd: list[np.ndarray], size: tuple[float, float], inside: Box
) -> list[tuple[float, Box]]:
    """(cost, box) of every place beside a line where a name touches nothing: low where other lines are far away."""
    width, height = size
    gap = _GAP * height
    rest = np.concatenate([other for other in crowd if other is not path] or [np.empty((0, 2))])
    found = []
    for x, y in path[:: max(1, int(height / _STEP / 2))]:
        for left, middle in (
            (x - width / 2, y + height / 2 + 1.2 * gap),
            (x - width / 2, y - height / 2 - 1.2 * gap),
            (x + 1.5 * gap, y),
            (x - width - 1.5 * gap, y),
            (x + gap, y - height / 2 - gap),
            (x + gap, y + height / 2 + gap),
            (x - width - gap, y - height / 2 - gap),
            (x - width - gap, y + height / 2 + gap),
        ):
            box = (left - gap, middle - height / 2 - gap / 2, left + width + gap, middle + height / 2 + gap / 2)
            if not _within(box, inside):
                continue
            own, other = _distance(box, path), _distance(box, rest)
            if own > 0 and other > 0 and own + gap < _CLOSER * (other + gap):
                found.append(((own + gap) / (min(other, 6 * height) + gap), box))
    return found


def _pixels(ax: Axes, line: Line2D) -> np.ndarray:
    """[n, 2] a line in pixels, filled up to a point every few pixels, without what is not drawn."""
    points = ax.transData.transform(np.column_stack([np.asarray(one, dtype=float) for one in line.get_data()]))
    points = points[np.isfinite(points).all(-1)]
    if len(points) < 2:
        return points
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    even = np.linspace(0, along[-1], max(2, int(along[-1] / _STEP)))
    return np.column_stack([np.interp(even, along, points[:, side]) for side in (0, 1)])


def _size(ax: Axes, name: str) -> tuple[float, float]:
    """Width and height of a name, in pixels."""
    probe = ax.text(0, 0, name)
    extent = probe.get_window_extent()
    probe.remove()
    return extent.width, max(extent.height, mpl.rcParams["font.size"] * ax.figure.dpi / 72)


def _distance(box: Box, points: np.ndarray) -> float:
    """From a box to the nearest of some points, in pixels; 0 where one lies in it, inf where there is none."""
    if len(points) == 0:
        return float("inf")
    across = np.maximum(np.maximum(box[0] - points[:, 0], points[:, 0] - box[2]), 0)
    up = np.maximum(np.maximum(box[1] - points[:, 1], points[:, 1] - box[3]), 0)
    return float(np.hypot(across, up).min())


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
