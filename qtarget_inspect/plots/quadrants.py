"""Quadrants: what the model thinks of each label against what the teacher thinks, and which way a loss moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.patches import FancyArrowPatch

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import INK, check_columns, colour_of, dress, figure_style, legible, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("method", "category", "gauge", "token", "p_label", "teacher_p_label", "q_label", "change")

SPLIT = 0.5
"""Where the quadrants part: from here on a label is more likely than all other tokens together."""

QUADRANTS = {"rescue": (0.25, 0.75), "agreed": (0.75, 0.75), "filter": (0.25, 0.25), "doubted": (0.75, 0.25)}
"""Names and middles: rescue: only the teacher believes in the label; doubted: only the model; filter: neither does."""

MOVED = 0.01
"""A change of the label's probability below this has no arrow."""


def plot_quadrants(records: pd.DataFrame, *, method: str | None = None, named: int = 8, ax: Axes | None = None) -> Axes:
    """The model's p_y against the teacher's, an arrow a token from p_y to Q_y under one loss.

    A dot is a token where model and teacher stand; its arrow, level since no loss moves the teacher, ends at the
    induced target of the label. Dots without an arrow move by less than 0.01.

    Misread:
        An arrow ends at the target and not where one step leads: all arrows of SFT end at 1. The quadrants part at
        one half by convention: a token at 0.49 is no other than one at 0.51. A teacher that is surer is not right for
        that; here "rescue" means only that it would have said so. What the loss does to the other tokens is not drawn:
        the same arrow may take its mass from a rival or from everywhere (`plot_target` shows it). Ends in different
        gauges do not compare.

    Args:
        records: rows of `qt.token_table` on a batch with a teacher.
        method: which method or loss; may be left out where the table has one.
        named: how many tokens are named, those that move most first, as far as there is room.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the dots are its first collection, the arrows its patches.

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
            return plot_quadrants(records, method=method, named=named, ax=new_axes(3.4, 3.4))
    first, colour = rows.iloc[0], colour_of(rows["category"].iloc[0])
    _frame(ax)
    ax.scatter(rows["p_label"], rows["teacher_p_label"], s=7, color=INK, linewidths=0, zorder=3)
    for row in rows[rows["change"].abs() >= MOVED].itertuples():
        _arrow(ax, row, colour)
    low, high = min(0.0, float(rows["q_label"].min())), max(1.0, float(rows["q_label"].max()))
    ax.set_xlim(low - 0.03, high + 0.03)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel(f"the model's $p_y$ $\\rightarrow$ $Q_y$ ({first['gauge']} gauge)")
    ax.set_ylabel("the teacher's $p_y$")
    ax.set_title(first["method"], color=legible(colour))
    _name(ax, rows.sort_values("change", key=lambda change: -change.abs()), named)
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
    """Four quadrants with their names behind everything."""
    dress(ax)
    for line in (ax.axhline, ax.axvline):
        line(SPLIT, color="#bbbbbb", linewidth=0.6, zorder=0)
    for name, (x, y) in QUADRANTS.items():
        size = 1.5 * mpl.rcParams["font.size"]
        ax.text(x, y, name, size=size, color="#d9d9d9", ha="center", va="center", zorder=0)
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_box_aspect(1)


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


def _name(ax: Axes, rows: pd.DataFrame, named: int) -> None:
    """Names beside the dots of those that move most; none that would lie on another, on a dot or on an arrow."""
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()  # lays the figure out, so that pixels are what they will be
    crowd = ax.transData.transform(_drawn(rows))
    taken: list[Any] = []
    for row in rows.itertuples():
        if len(taken) == named:
            return
        for (x, y), ha, va in _BESIDE:
            text = ax.annotate(
                row.token,
                (row.p_label, row.teacher_p_label),
                xytext=(x, y),
                textcoords="offset points",
                ha=ha,
                va=va,
                size=0.85 * mpl.rcParams["font.size"],
                family="DejaVu Sans Mono",
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
