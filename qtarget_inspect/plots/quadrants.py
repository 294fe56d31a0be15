"""Quadrants: what the model thinks of each label against what the teacher thinks, and which way a loss moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.patches import FancyArrowPatch
from matplotlib.transforms import Bbox

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import (
    INK,
    MONO,
    check_columns,
    colour_of,
    dress,
    figure_style,
    legible,
    new_axes,
    plain,
)
from qtarget_inspect.plots.token_strip import MARKER_COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("method", "category", "gauge", "token", "p_label", "teacher_p_label", "q_label", "change")

SPLIT = 0.5
"""Where the quadrants part: from here on a label is more likely than all other tokens together."""

QUADRANTS = {"only the teacher": (0, 1), "both": (1, 1), "neither": (0, 0), "only the model": (1, 0)}
"""Who believes in the label, and the corner where it is so. Telling tokens are found by other rules, and marked."""

MOVED = 0.01
"""A change of the label's probability below this has no arrow."""


def plot_quadrants(
    records: pd.DataFrame, *, method: str | None = None, named: int = 8, key: bool = True, ax: Axes | None = None
) -> Axes:
    """The model's p_y against the teacher's, an arrow a token from p_y to Q_y under one loss.

    A dot is a token where model and teacher stand; its arrow, level since no loss moves the teacher, ends at the
    induced target of the label. Dots without an arrow move by less than 0.01. A quadrant is named after who gives the
    label more than one half. Telling tokens have the marks of `plot_tokens`.

    Misread:
        An arrow ends at the target and not where one step leads: all arrows of SFT end at 1. The quadrants part at
        one half by convention: a token at 0.49 is no other than one at 0.51. The marks go by other rules, of which
        `qt.token_table` tells: a rescue is a token whose teacher is surer by 0.3 or more, in whatever quadrant. A
        teacher that is surer is not right for that. What the loss does to the other tokens is not drawn:
        the same arrow may take its mass from a rival or from everywhere (`plot_target` shows it). Ends in different
        gauges do not compare.

    Args:
        records: rows of `qt.token_table` on a batch with a teacher; column telling may be missing.
        method: which method or loss; may be left out where the table has one.
        named: how many tokens are named, those that move most first, as far as there is room.
        key: whether to say below what the marks are, where the table has any.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the dots are its first collection, the marks those after it, the arrows its patches.

    Raises:
        QTargetError: columns are missing, there is no teacher, or the table has several methods and none is named.
    """
    check_columns(records, COLUMNS, "plot_quadrants", "qt.token_table(losses, batch)")
    rows = _of_method(records, method)
    if bool(rows["teacher_p_label"].isna().any()):
        raise QTargetError(
            "plot_quadrants needs the teacher's view of every token, and teacher_p_label is NaN. Pass "
            "qt.TokenBatch(..., teacher_logits=...) to qt.token_table."
        )
    if ax is None:
        with figure_style(8):
            return plot_quadrants(records, method=method, named=named, key=key, ax=new_axes(3.4, 3.6))
    first, colour = rows.iloc[0], colour_of(rows["category"].iloc[0])
    _frame(ax)
    ax.scatter(rows["p_label"], rows["teacher_p_label"], s=7, color=INK, linewidths=0, zorder=3)
    marked = _marks(ax, rows)
    for row in rows[rows["change"].abs() >= MOVED].itertuples():
        _arrow(ax, row, colour)
    low, high = min(0.0, float(rows["q_label"].min())), max(1.0, float(rows["q_label"].max()))
    ax.set_xlim(low - 0.03, high + 0.03)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel(f"the model's $p_y$ $\\rightarrow$ $Q_y$ ({first['gauge']} gauge)")
    ax.set_ylabel("the teacher's $p_y$")
    ax.set_title(plain(first["method"]), color=legible(colour))
    if key and marked:
        ax.legend(
            handles=marked,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.17),
            ncols=len(marked),
            frameon=False,
            borderaxespad=0.0,
            handletextpad=0.0,
            columnspacing=0.6,
        )
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()  # lays the figure out, so that pixels are what they will be
    crowd = ax.transData.transform(_drawn(rows))
    _name(ax, rows.sort_values("change", key=lambda change: -change.abs()), named, crowd)
    _name_quadrants(ax, crowd)
    return ax


def _of_method(records: pd.DataFrame, method: str | None) -> pd.DataFrame:
    names = records["method"].unique().tolist()
    if method is None and len(names) == 1:
        return records
    losses = records["loss"] if "loss" in records.columns else records["method"]
    rows = records[(records["method"] == method) | (losses == method)]
    if rows.empty:
        wrong = "draws one method" if method is None else f"finds no method {method!r}"
        raise QTargetError(f"plot_quadrants {wrong}; the table has {', '.join(names)}. Pass method={names[0]!r}.")
    return rows


def _frame(ax: Axes) -> None:
    """Four quadrants."""
    dress(ax)
    for line in (ax.axhline, ax.axvline):
        line(SPLIT, color="#bbbbbb", linewidth=0.6, zorder=0)
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_box_aspect(1)


def _marks(ax: Axes, rows: pd.DataFrame) -> list[Any]:
    """The marks of telling tokens, white-edged over the dots."""
    telling = rows["telling"] if "telling" in rows.columns else pd.Series("", index=rows.index)
    size = 0.6 * mpl.rcParams["font.size"]
    return [
        ax.scatter(
            rows.loc[telling == name, "p_label"],
            rows.loc[telling == name, "teacher_p_label"],
            s=size**2,
            marker=MARKERS[name],
            color=MARKER_COLOURS[name],
            edgecolors="white",
            linewidths=0.4,
            label=name,
            zorder=3.5,
        )
        for name in MARKERS
        if bool((telling == name).any())
    ]


def _name_quadrants(ax: Axes, crowd: np.ndarray) -> None:
    """Each quadrant's name as near to its corner as it covers no token's name and fewest dots and arrows."""
    taken = [text.get_window_extent() for text in ax.texts]
    for name, corner in QUADRANTS.items():
        text = ax.text(0, 0, name, size=1.1 * mpl.rcParams["font.size"], color="#8a8a8a", va="center", zorder=1)
        box = text.get_window_extent()
        to_data = ax.transData.inverted()
        half = np.abs(np.subtract(*to_data.transform([(0, 0), (box.width, box.height)]))) / 2
        low, high = np.array([0.0, 0.0]), np.array([SPLIT, SPLIT])
        low, high = (end + np.multiply(corner, SPLIT) + sign * 1.2 * half for end, sign in ((low, 1), (high, -1)))
        best = min(_spots(low, high, corner), key=lambda spot: _hits(ax, spot, half, crowd, taken))
        text.set(position=best, ha="center")
        taken.append(text.get_window_extent())


def _spots(low: np.ndarray, high: np.ndarray, corner: tuple[int, int]) -> list[tuple[float, float]]:
    """Places in a quadrant, those nearest to its outer corner first."""
    x, y = (np.linspace(*((b, a) if outer else (a, b)), 9) for a, b, outer in zip(low, high, corner, strict=True))
    places = [(float(one), float(other)) for one in x for other in y]
    return sorted(places, key=lambda place: abs(place[0] - x[0]) + abs(place[1] - y[0]))


def _hits(ax: Axes, spot: tuple[float, float], half: np.ndarray, crowd: np.ndarray, taken: list[Any]) -> int:
    """How much lies under a name: points of dots and arrows; other names weigh more."""
    box = Bbox(ax.transData.transform([np.subtract(spot, half), np.add(spot, half)]))
    marks = 0.04 * ax.figure.dpi  # half of a mark, in pixels
    return int(box.padded(marks).count_contains(crowd)) + 1000 * sum(box.overlaps(other) for other in taken)


def _arrow(ax: Axes, row: Any, colour: str) -> None:
    ax.add_patch(
        FancyArrowPatch(
            (row.p_label, row.teacher_p_label),
            (row.q_label, row.teacher_p_label),
            arrowstyle="-|>,head_length=2.4,head_width=1.2",
            mutation_scale=1,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linewidth=0.8,
            alpha=0.85,
            zorder=2,
        )
    )


def _name(ax: Axes, rows: pd.DataFrame, named: int, crowd: np.ndarray) -> None:
    """Names beside the dots of those that move most; none that would lie on another, on a dot or on an arrow."""
    taken: list[Any] = []
    for row in rows.itertuples():
        if len(taken) == named:
            return
        for (x, y), ha, va in _BESIDE:
            text = ax.annotate(
                plain(row.token, MONO),
                (row.p_label, row.teacher_p_label),
                xytext=(x, y),
                textcoords="offset points",
                ha=ha,
                va=va,
                size=0.85 * mpl.rcParams["font.size"],
                family=MONO,
                zorder=4,
            )
            box = text.get_window_extent().padded(1)
            inside = all(ax.bbox.contains(*corner) for corner in box.corners())
            if inside and not any(box.overlaps(other) for other in taken) and not box.count_contains(crowd):
                taken.append(box)
                break
            text.remove()


_BESIDE = (
    ((0, 2.5), "left", "bottom"),
    ((0, -2.5), "left", "top"),
    ((-3, 0), "right", "center_baseline"),
    ((0, 2.5), "right", "bottom"),
    ((0, -2.5), "right", "top"),
)
"""Where a name may stand: points off its dot, and how it is aligned there."""


def _drawn(rows: pd.DataFrame) -> np.ndarray:
    """[n, 2] points all along the arrows, dots included."""
    shares = np.linspace(0, 1, 60)
    x = rows["p_label"].to_numpy()[:, None] + rows["change"].to_numpy()[:, None] * shares
    return np.stack([x, np.broadcast_to(rows["teacher_p_label"].to_numpy()[:, None], x.shape)], -1).reshape(-1, 2)
