"""Label trust over two swept numbers, as a heat map with contour lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.curves import AXIS_NAMES, SOURCE, one_loss
from qtarget_inspect.plots.style import (
    GAMMA_COLOURS,
    INK,
    check_columns,
    display_names,
    dress,
    figure_style,
    fitting_text,
    new_axes,
    plain,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.5, 2.0, 3.0)
"""Contour lines of label trust."""

DARK = (0.6, 1.0)
"""Between these the tints are dark, and lines on them white."""

UNREACHABLE = "#b5b5b5"


def plot_trust_map(
    sweep: pd.DataFrame, *, loss: str | None = None, colour_bar: bool = True, ax: Axes | None = None
) -> Axes:
    """Label trust of one loss over two numbers, usually p_y and the entropy of p: tinted, with contour lines.

    States that cannot be are hatched: the entropy is at least H(p_y) and at most H(p_y) + (1 - p_y) ln(V - 1). Where
    gamma is undefined the cell is white. Above 1 and below 0 the colour leaves the scale.

    Misread:
        Area is not frequency: the map shows each state once, while the tokens of a text crowd where the model is sure
        and right. Vertical contours say that the loss looks at p_y alone, horizontal ones that it looks at the entropy
        alone; but entropy moves with p_y in real text, so a loss of the one can look like a loss of the other there.
        The others are geometric here: a loss of another feature of p (its top 20, its sum of squares) has another map
        for others of another shape. Tints compare between maps only within one gauge.

    Args:
        sweep: what `qt.sweep` gives over a pair; columns loss, title, over, value, over_y, value_y, others_entropy,
            gauge, gamma.
        loss: which loss, by name or title, where there are several.
        colour_bar: whether to add the scale beside the axes.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the tinted mesh is its last QuadMesh.

    Raises:
        QTargetError: columns are missing, the table is no grid, or no loss of several is named.
    """
    columns = ("loss", "title", "over", "value", "over_y", "value_y", "others_entropy", "gauge", "gamma")
    check_columns(sweep, columns, "plot_trust_map", "qt.sweep(loss, over=('p_y', 'entropy'))")
    if ax is None:
        with figure_style(8):
            return plot_trust_map(sweep, loss=loss, colour_bar=colour_bar, ax=new_axes(4.2, 3.2))
    rows = one_loss(sweep, loss, "plot_trust_map")
    gamma, others = (_grid(rows, column) for column in ("gamma", "others_entropy"))
    x, y = gamma.columns.to_numpy(float), gamma.index.to_numpy(float)
    edges = _edges(x), _edges(y)
    ax.patch.set(facecolor="white", edgecolor=UNREACHABLE, hatch="//////", linewidth=0)
    blank = mpl.colors.ListedColormap(["white"])
    ax.pcolormesh(*edges, np.where(others.isna(), np.nan, 0.0), cmap=blank, rasterized=True)
    tints = mpl.colormaps[GAMMA_COLOURS].with_extremes(over="#d55e00", under="#cc79a7", bad=(0, 0, 0, 0))
    mesh = ax.pcolormesh(*edges, gamma.to_numpy(), cmap=tints, vmin=0, vmax=1, rasterized=True)
    _contours(ax, x, y, gamma.to_numpy())
    first = rows.iloc[0]
    ax.set_xlabel(fitting_text(ax, AXIS_NAMES.get(first["over"], (plain(first["over"]),)), ax.bbox.width))
    ax.set_ylabel(fitting_text(ax, AXIS_NAMES.get(first["over_y"], (plain(first["over_y"]),)), ax.bbox.height))
    dress(ax)
    ax.set_xlim(edges[0][0], edges[0][-1])
    ax.set_ylim(edges[1][0], edges[1][-1])
    ax.set_title(display_names(sweep)[first["loss"]], loc="left")
    _name_unreachable(ax, x, y, others.isna().to_numpy())
    if colour_bar:
        _colour_bar(ax, mesh, first["gauge"], gamma.to_numpy())
    return ax


def _grid(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """[values of y, values of x] one column of a grid in long format."""
    if rows.duplicated(["value", "value_y"]).any() or len(rows) != rows["value"].nunique() * rows["value_y"].nunique():
        raise QTargetError(
            f"plot_trust_map needs one row for every pair of values, as {SOURCE} over a pair gives them."
        )
    return rows.pivot(index="value_y", columns="value", values=column)


def _edges(middles: np.ndarray) -> np.ndarray:
    """Edges of cells around their middles: half way between them, and as far beyond the ends."""
    if len(middles) == 1:
        return middles[0] + np.array([-0.5, 0.5])
    between = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[2 * middles[0] - between[0]], between, [2 * middles[-1] - between[-1]]])


def _contours(ax: Axes, x: np.ndarray, y: np.ndarray, gamma: np.ndarray) -> None:
    """Contour lines with their levels, where the tints cross any; none along a step, which needs none."""
    known = gamma[np.isfinite(gamma)]
    levels = [level for level in LEVELS if known.size and known.min() < level < known.max()]
    is_step = len(np.unique(known.round(9))) <= 2
    if levels and not is_step and min(gamma.shape) > 1:
        colours = ["white" if DARK[0] < level < DARK[1] else INK for level in levels]
        lines = ax.contour(x, y, np.ma.masked_invalid(gamma), levels=levels, colors=colours, linewidths=0.6)
        for text in ax.clabel(lines, fmt="%.1f", fontsize=0.85 * mpl.rcParams["font.size"]):
            text.set_rotation(0)
            text.set_visible(ax.bbox.containsx(text.get_window_extent().x0))


def _name_unreachable(ax: Axes, x: np.ndarray, y: np.ndarray, unreachable: np.ndarray) -> None:
    """Say what the hatches are, in the upper right corner, where it covers nothing else."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    text = ax.text(0.97, 0.95, "no such state", transform=ax.transAxes, ha="right", va="top", color=INK, bbox=box)
    left, bottom = ax.transData.inverted().transform(text.get_window_extent().min)
    margin = 0.1 * np.ptp(ax.get_xlim()), 0.1 * np.ptp(ax.get_ylim())  # a layout may still shrink the axes
    covered = unreachable[np.ix_(y >= bottom - margin[1], x >= left - margin[0])]
    if not covered.size or not covered.all():
        text.remove()


def _colour_bar(ax: Axes, mesh: QuadMesh, gauge: str, gamma: np.ndarray) -> None:
    over, under = (bool(np.any(one)) for one in (gamma > 1, gamma < 0))
    extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((over, under), "neither")
    bar = ax.figure.colorbar(mesh, ax=ax, extend=extend, pad=0.02, aspect=25)
    wordings = f"label trust $\\gamma$ ({gauge} gauge)", f"$\\gamma$ ({gauge} gauge)"
    bar.set_label(fitting_text(ax, wordings, ax.bbox.height))
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=mpl.rcParams["ytick.labelsize"], width=mpl.rcParams["ytick.major.width"])
