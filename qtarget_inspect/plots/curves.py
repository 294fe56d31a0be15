"""Curves: the lines of a sweep, those that coincide drawn as one under all their names; axes that say what is swept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import (
    INK,
    MODEL_LINE,
    ROLE_STYLES,
    check_columns,
    display_names,
    dress,
    fitting_text,
    line_styles,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

SOURCE = "qt.sweep(losses, over=...)"

SAME = 1e-9
"""Curves whose values differ by no more than this are one line."""

AXIS_NAMES = {
    "p_y": ("$p_y$, the model's probability of the label", "$p_y$ of the model", "$p_y$"),
    "teacher_p_y": ("the teacher's probability of the label", "teacher's $p_y$"),
    "reference_p_y": ("the reference's probability of the label", "reference's $p_y$"),
    "old_p_y": ("the old policy's probability of the label", "old policy's $p_y$"),
    "entropy": ("entropy of the model, $H(p)$ [nats]", "$H(p)$ [nats]"),
    "others_entropy": ("entropy of $p$ without the label [nats]", "others' entropy"),
    "vocabulary": ("vocabulary $V$", "$V$"),
}
"""What is swept, in words: the longest first, for axes of every size."""

_POINTS = {"-": "o", "--": "s", ":": "^"}
"""The mark of a single point, by the style that its line would have."""

_DASH = 6.0
"""Length of a colour's share of a line, in line widths."""

_LOG_RATIO = 20
"""A parameter whose values span this factor is drawn on a log axis."""


@dataclass(frozen=True)
class Curve:
    """One line, of one loss or of several that coincide.

    Args:
        name: the losses' names, joined by " = ".
        rows: the first loss's rows, by rising value.
        styles: keywords of `Axes.plot`, one a colour: the first loss's, and those of losses of other categories.
    """

    name: str
    rows: pd.DataFrame
    styles: tuple[dict[str, Any], ...]

    @property
    def colour(self) -> str:
        """The colour of its name: its own, dark grey where it has several."""
        return self.styles[0]["color"] if len(self.styles) == 1 else INK

    def draw(self, ax: Axes, column: str, linestyle: str = "-") -> tuple[Line2D, ...]:
        """Draw one column; several colours share a solid line in turn.

        Args:
            ax: where.
            column: what is drawn upward, NaN left out.
            linestyle: the style of its role.

        Returns:
            The lines, one a colour.
        """
        x, y = self.rows["value"].to_numpy(), self.rows[column].to_numpy()
        if len(self.styles) == 1 or linestyle != "-":
            return tuple(ax.plot(x, y, **{**self.styles[0], **point_style(y, linestyle), "linestyle": linestyle}))
        count = len(self.styles)
        dashes = [(-_DASH * place, (_DASH, _DASH * (count - 1))) for place in range(count)]
        drawn = zip(self.styles, dashes, strict=True)
        return tuple(
            ax.plot(x, y, **{**one, "marker": "", **point_style(y), "linestyle": dash})[0] for one, dash in drawn
        )


def point_style(y: np.ndarray, linestyle: str = "-") -> dict[str, Any]:
    """A mark for what would be a line of one point, which nobody would see; the marks tell roles apart, as dashes do.

    Args:
        y: [n] values, NaN left out.
        linestyle: the style of its role.

    Returns:
        Keywords of `Axes.plot`; none for a line.
    """
    if np.isfinite(y).sum() != 1:
        return {}
    return {"marker": _POINTS[linestyle], "markevery": None, "markersize": 0.45 * mpl.rcParams["font.size"]}


def curves_of(records: pd.DataFrame, columns: Sequence[str], marked: Sequence[str] = ()) -> list[Curve]:
    """The curves of a sweep, in the order of its losses.

    Args:
        records: rows of `sweep` over one number.
        columns: what is drawn; losses that agree in all of these are one curve.
        marked: losses whose name gets an asterisk.

    Returns:
        The curves. Losses without any value are left out.
    """
    groups: list[list[pd.DataFrame]] = []  # of losses that coincide
    for _, rows in records.groupby("loss", sort=False):
        if rows[list(columns)].isna().to_numpy().all():
            continue
        rows = rows.sort_values("value")
        same = next((group for group in groups if _coincide(group[0], rows, columns)), None)
        groups.append([rows]) if same is None else same.append(rows)
    if not groups:
        return []
    shown = [_one_a_category(group) for group in groups]
    styles = line_styles(pd.concat([rows.iloc[:1] for group in shown for rows in group]))
    names = {loss: name + ("*" if loss in marked else "") for loss, name in display_names(records).items()}
    return [
        Curve(" = ".join(names[_loss(rows)] for rows in group), group[0], tuple(styles[_loss(rows)] for rows in drawn))
        for group, drawn in zip(groups, shown, strict=True)
    ]


def _loss(rows: pd.DataFrame) -> str:
    return str(rows["loss"].iloc[0])


def _one_a_category(group: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The first loss of each category."""
    first: dict[str, pd.DataFrame] = {}
    for rows in group:
        first.setdefault(rows["category"].iloc[0], rows)
    return list(first.values())


def _coincide(one: pd.DataFrame, other: pd.DataFrame, columns: Sequence[str]) -> bool:
    wanted = ["value", *columns]
    return len(one) == len(other) and np.allclose(
        one[wanted].to_numpy(), other[wanted].to_numpy(), rtol=0, atol=SAME, equal_nan=True
    )


def check_sweep(records: Any, columns: Sequence[str], plot: str) -> None:
    """Refuse what is no sweep over one number.

    Args:
        records: what was handed over.
        columns: what is drawn.
        plot: who draws it.

    Raises:
        QTargetError: columns are missing, the sweep is a grid, or it is several put together that one line cannot show.
    """
    check_columns(records, ("loss", "title", "category", "over", "value", "gauge", *columns), plot, SOURCE)
    if "value_y" in records.columns:
        raise QTargetError(f"{plot} draws a sweep over one number, and this one is a grid. plot_trust_map draws grids.")
    swept = records["over"].unique().tolist()
    if len(swept) > 1:
        raise QTargetError(
            f"{plot} has one axis for what is swept, and the table has {', '.join(map(str, swept))}. Draw each on axes "
            "of its own."
        )
    if records.duplicated(["loss", "value"]).any():
        loss = records.loc[records.duplicated(["loss", "value"]), "loss"].iloc[0]
        raise QTargetError(
            f"{plot} draws a line a loss, and the table has several rows of {loss} at one value, as of two gauges or "
            "two states. Draw each sweep on axes of its own, or rename one: table.assign(loss=..., title=...)."
        )


def one_loss(records: pd.DataFrame, loss: str | None, plot: str) -> pd.DataFrame:
    """The rows of one loss.

    Args:
        records: rows of a sweep.
        loss: its name, its title, or what it is called in pictures; None where there is only one.
        plot: who asks.

    Returns:
        Its rows.

    Raises:
        QTargetError: there are several and none is named, or none or several have the name.
    """
    names = records["loss"].unique().tolist()
    if loss is None:
        if len(names) == 1:
            return records
        raise QTargetError(f"{plot} draws one loss, and the table has {', '.join(names)}. Pass loss={names[0]!r}.")
    shown = records["loss"].map(display_names(records))
    found = records[
        (records["loss"] == loss)
        | (records["title"] == loss)
        | (records["loss"].str.partition("(")[0] == loss)
        | (shown == plain(loss))
    ]
    if found["loss"].nunique() != 1:
        raise QTargetError(f"{plot}: loss={loss!r} names {found['loss'].nunique()} of the losses {', '.join(names)}.")
    return found


def dress_sweep(ax: Axes, records: pd.DataFrame) -> None:
    """The shared style, and an axis that says what is swept.

    Args:
        ax: the axes.
        records: rows of a sweep.
    """
    dress(ax)
    over, values = records["over"].iloc[0], records["value"]
    ax.set_xlabel(fitting_text(ax, AXIS_NAMES.get(over, (plain(over),)), ax.bbox.width))
    if over.endswith("p_y"):
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    elif over not in AXIS_NAMES and values.min() > 0 and values.max() >= _LOG_RATIO * values.min():
        ax.set_xscale("log")
        ax.set_xlim(values.min(), values.max())
    elif values.min() < values.max():
        ax.set_xlim(values.min(), values.max())


def gauges_in_words(records: pd.DataFrame) -> tuple[str, list[str]]:
    """What an axis says about gauges, and the losses to be marked with an asterisk.

    Args:
        records: rows of a sweep.

    Returns:
        "unit gauge", or "unit gauge; * normalized" with the losses in the normalized gauge.
    """
    gauges = records.drop_duplicates("loss").set_index("loss")["gauge"]
    if gauges.nunique() == 1:
        return f"{gauges.iloc[0]} gauge", []
    return "unit gauge; * normalized", gauges.index[gauges == "normalized"].tolist()


def role_key(roles: Mapping[str, str]) -> str:
    """What line style stands for what, in words.

    Args:
        roles: role, a key of `ROLE_STYLES`, -> what it is called.

    Returns:
        "— label, - - favourite other".
    """
    signs = {"-": "—", "--": "- -", ":": "···"}
    return ", ".join(f"{signs[ROLE_STYLES[role]]} {name}" for role, name in roles.items())


def draw_model(ax: Axes, records: pd.DataFrame, columns: Mapping[str, str]) -> list[Line2D]:
    """The model in grey, which is the same for all losses.

    Args:
        ax: where.
        records: rows of a sweep.
        columns: role -> column of p.

    Returns:
        One line a role.
    """
    rows = records.drop_duplicates("value").sort_values("value")
    style: dict[str, Any] = {"color": MODEL_LINE, "linewidth": 0.8 * mpl.rcParams["lines.linewidth"], "zorder": 1}
    return [
        ax.plot(
            rows["value"],
            rows[name],
            linestyle=ROLE_STYLES[role],
            **{**style, **point_style(rows[name], ROLE_STYLES[role])},
        )[0]
        for role, name in columns.items()
    ]


def say_absent(ax: Axes, records: pd.DataFrame, column: str, what: str) -> None:
    """Name the losses that have no value to draw, above the axes at the right.

    Args:
        ax: the axes.
        records: rows of a sweep.
        column: what is drawn.
        what: what it is called.
    """
    names = display_names(records)
    absent = [names[loss] for loss, rows in records.groupby("loss", sort=False) if rows[column].isna().all()]
    if absent:
        ax.set_title(f"{what} undefined: {', '.join(absent)}", loc="right", color=INK)
