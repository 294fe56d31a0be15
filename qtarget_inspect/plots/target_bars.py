"""The induced target beside the model on one token: bars of Q over bars of p, the residual as a tick, Q < 0 hatched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import (
    INK,
    MODEL_COLOUR,
    MONO,
    check_columns,
    colour_of,
    dress,
    figure_style,
    legible,
    new_axes,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("method", "category", "gauge", "gamma", "token", "is_label", "p", "q", "residual", "change")

MARKED = 0.01
"""The least change of a probability that is written at its bar."""

PANEL_COLUMNS = ("loss", "method", "position", "gauge", "reading")
"""What one panel has one of."""

_WHOLE, _HALF = 0.84, 0.44
"""Heights of the bars of p and Q."""

_SEEN = 1e-3
"""A bar shorter than this cannot be seen, and rounding is no negative mass: the key is silent about it."""

_FAR = 0.25
"""How far beyond [0, 1] and all bars a residual may lie to be drawn where it is."""

_FEW_TICKS = 3.0
"""Span of the axis up to which ticks at 0, a half and 1 are enough."""


def plot_target(records: pd.DataFrame, *, key: bool = True, ax: Axes | None = None) -> Axes:
    """Bars of Q under one loss, over wider grey bars of p; the first entry stands on top.

        Q = gamma onehot(y) + (1 - gamma) residual

    The label is in bold. The number at a bar is its change Q - p, where that is 0.01 or more. The upright tick is the
    residual, where there is one (gamma is not 1); where it lies far off the bars, since 1 - gamma is small, a triangle
    at the side says so. Negative mass is hatched.

    Misread:
        Q is where the loss pulls p, not where p will be after a step: a bar of Q = 1 is no promise. The bars shown need
        not sum to 1, since the rest of the vocabulary is left out. Q is drawn in the gauge that the title names: in
        another gauge the same loss has other bars. The tick is no second target: it says how the part of Q that is not
        label trust is shared out, so that a residual equal to p means that the loss favours no other token. A negative
        bar is no probability; it says that the pull is away from a token by more than p has there.

    Args:
        records: rows of `qt.target_table` of one loss on one token; `plot_targets` takes several.
        key: whether to say below what bar, tick and hatching are.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; containers are p, Q where it is not negative, and Q where it is; texts are the changes.

    Raises:
        QTargetError: columns are missing, the rows are of several losses, tokens, gauges or readings, or the axes share
            their rows with a panel of other entries.
    """
    check_columns(records, COLUMNS, "plot_target", "qt.target_table(reading, token)")
    several = [name for name in PANEL_COLUMNS if name in records.columns and records[name].nunique() > 1]
    if several or records.duplicated("entry").any():
        raise QTargetError(
            "plot_target draws one loss on one token in one gauge and reading, and the table has several: "
            f"{', '.join(map(str, _found(records, several)))}. Pass e.g. table[table.method == 'DFT'], or draw "
            "all of them with plot_targets."
        )
    if ax is None:
        with figure_style(8):
            return plot_target(records, key=key, ax=new_axes(3.4, 2.2))
    draw_target(ax, records, bar_limits(records, ax))
    if key:
        ax.legend(
            handles=key_handles(records, colour_of(records["category"].iloc[0])),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=4,
            frameon=False,
            handlelength=1.2,
            columnspacing=1.0,
        )
    return ax


def _found(records: pd.DataFrame, several: Sequence[str]) -> list[Any]:
    """What a table has several of: methods, positions, ...; else the entries that stand in it twice."""
    if not several:
        return records.loc[records.duplicated("entry"), "token"].unique().tolist()
    name = "method" if several[0] == "loss" else several[0]
    return [f"{name} {value}" if name == "position" else value for value in records[name].unique()]


def draw_target(ax: Axes, records: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Draw one panel, without a key.

    Args:
        ax: where to draw; it may share its axes with panels of the same entries.
        records: rows of `qt.target_table` of one loss on one token.
        limits: ends of the axis of probabilities.

    Raises:
        QTargetError: the axes share their rows with a panel of other entries.
    """
    first = records.iloc[0]
    colour = colour_of(first["category"])
    _write_entries(ax, records)
    _bars(ax, records, colour)
    _residual_ticks(ax, records)
    ax.axvline(0, color="black", linewidth=0.6, zorder=4)
    dress(ax)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(*limits)
    if limits[1] - limits[0] < _FEW_TICKS:
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    _changes(ax, records, colour)
    ax.set_title(
        f"{plain(first['method'])}\n$\\gamma$ = {_number(first['gamma'])}, {first['gauge']}", color=legible(colour)
    )


def _write_entries(ax: Axes, records: pd.DataFrame) -> None:
    """The entries' texts, a row each, the label in bold."""
    texts = [plain(text, MONO) for text in records["token"]]
    for other in ax.get_shared_y_axes().get_siblings(ax):
        if other is not ax and other.containers and [text.get_text() for text in _row_names(other)] != texts:
            raise QTargetError(
                f"plot_target: these axes share their rows with a panel of other entries than {', '.join(texts)}. "
                "Pass axes made with sharey=False."
            )
    ax.set_yticks(np.arange(len(texts)), texts, family=MONO)
    for name, is_label in zip(_row_names(ax), records["is_label"], strict=True):
        name.set(fontweight="bold" if is_label else "normal", family=MONO)
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def _row_names(ax: Axes) -> list[Any]:
    """Tick labels of all rows, those included that shared axes do not show."""
    return [tick.label1 for tick in ax.yaxis.get_major_ticks()]


def bar_limits(records: pd.DataFrame, ax: Axes) -> tuple[float, float]:
    """How far the axis goes, so that bars, ticks and the numbers at them have room.

    Args:
        records: rows of `qt.target_table`, of one loss or of several that share their axis.
        ax: the axes, as wide as they will be, about.

    Returns:
        Left and right end.
    """
    drawn = np.stack([records["p"], records["q"], _near(records)])
    low, high = min(-0.02, 1.25 * float(np.nanmin(drawn))), max(1.02, 1.02 * float(np.nanmax(drawn)))
    numbers = records[records["change"].abs() >= MARKED]
    if len(numbers) == 0:
        return low, high
    figure: Any = ax.get_figure(root=True)
    width = 72 * ax.bbox.width / figure.dpi  # points
    share = min(0.45, 3.4 * mpl.rcParams["font.size"] / width)  # of a number such as +0.12
    reach = float(_reach(numbers).max())
    return low, max(high, (reach - share * low) / (1 - share))


def key_handles(records: pd.DataFrame, colour: str = "#555555") -> list[Any]:
    """What a key shows: p, Q, the residual and negative mass, as far as they occur.

    Args:
        records: rows of `qt.target_table`.
        colour: of Q.

    Returns:
        Legend handles.
    """
    handles: list[Any] = [Patch(color=MODEL_COLOUR, label="p"), Patch(color=colour, label="Q")]
    near = _near(records).notna()
    if near.any():
        handles.append(Line2D([], [], color=INK, marker="|", ls="none", ms=7, mew=1.3, label="residual"))
    if (records["residual"].notna() & ~near).any():
        handles.append(Line2D([], [], color=INK, marker=">", ls="none", ms=3, label="residual far off"))
    if (records["q"] < -_SEEN).any():
        handles.append(Patch(facecolor="white", edgecolor=colour, hatch="//////", label="Q < 0"))
    return handles


def _bars(ax: Axes, records: pd.DataFrame, colour: str) -> None:
    places, q = np.arange(len(records)), records["q"].to_numpy()
    ax.barh(places, records["p"], height=_WHOLE, color=MODEL_COLOUR, label="p")
    ax.barh(places, np.where(q >= 0, q, 0), height=_HALF, color=colour, label="Q")
    ax.barh(
        places,
        np.where(q < 0, q, 0),
        height=_HALF,
        facecolor="white",
        edgecolor=colour,
        linewidth=np.where(q < 0, 0.8, 0),
        hatch="//////",
        label="Q < 0",
    )


def _residual_ticks(ax: Axes, records: pd.DataFrame) -> None:
    """An upright tick as high as the bar of p, a triangle at the side for what is far off; none where undefined."""
    places, residual, near = np.arange(len(records)), records["residual"].to_numpy(), _near(records).to_numpy()
    known = ~np.isnan(near)
    if known.any():
        ticks = ax.vlines(
            near[known],
            places[known] - _WHOLE / 2,
            places[known] + _WHOLE / 2,
            color=INK,
            linewidth=1.1,
            label="residual",
            zorder=3,
        )
        ticks.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
    for side, marker, off in ((0, "<", residual < 0), (1, ">", residual > 1)):
        far = off & ~known
        if far.any():
            where = ax.get_yaxis_transform()
            ax.plot(
                np.full(int(far.sum()), side),
                places[far],
                marker,
                color=INK,
                markersize=3,
                transform=where,
                clip_on=False,
                label="residual far off",
            )


def _near(records: pd.DataFrame) -> pd.Series:
    """The residual, NaN where it lies far off the bars."""
    low = min(0.0, float(np.nanmin(records[["p", "q"]]))) - _FAR
    high = max(1.0, float(np.nanmax(records[["p", "q"]]))) + _FAR
    return records["residual"].where(records["residual"].between(low, high))


def _changes(ax: Axes, records: pd.DataFrame, colour: str) -> None:
    """Q - p right of everything in its row; gains in the loss's colour, what is lost in grey."""
    gap = 0.25 * mpl.rcParams["font.size"]
    for place, (change, reach) in enumerate(zip(records["change"], _reach(records), strict=True)):
        if abs(change) >= MARKED:
            ax.annotate(
                f"{change:+.2f}".replace("-", "−"),
                (reach, place),
                xytext=(gap, 0),
                textcoords="offset points",
                va="center",
                size=0.9 * mpl.rcParams["font.size"],
                color=legible(colour) if change > 0 else "#666666",
            )


def _reach(records: pd.DataFrame) -> pd.Series:
    """How far right each row is drawn."""
    return records[["p", "q"]].assign(residual=_near(records)).max(axis=1).clip(lower=0)


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2g}"
