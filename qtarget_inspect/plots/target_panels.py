"""Induced targets side by side: a panel a loss (and token, gauge or reading), one scale, and one key for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import check_columns, colour_of, figure_style, plain
from qtarget_inspect.plots.target_bars import COLUMNS, PANEL_COLUMNS, bar_limits, draw_target, key_handles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 4
"""Panels in a row of a new figure."""


def plot_targets(
    records: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    columns: int | None = None,
    key: bool = True,
    axes: Any = None,
) -> np.ndarray:
    """`plot_target` of all losses of a table, a panel each, on one scale and with one key.

        Q = gamma onehot(y) + (1 - gamma) residual

    A panel is one loss on one token in one gauge and reading, in the order of the table; a title names the token or the
    reading too where the panels differ in it. Texts of the entries stand left of each row of panels, and at every panel
    whose entries are not those of the first in its row.

    Misread:
        As `plot_target`. The panels share their scale, so bars compare in length; but gammas and bars of two gauges do
        not, and each title names its own. Entries stand in the order of p on their token: those of another token may
        have other rows.

    Args:
        records: rows of `qt.target_table`, or a list of such tables.
        columns: panels in a row of a new figure; by default all, up to 4.
        key: whether to say below all what bar, tick and hatching are.
        axes: an array of axes, a row of it a row of panels, at least one a panel; a new figure by default. Those that
            are left over are switched off.

    Returns:
        The axes, in the shape that was given, or [rows, columns].

    Raises:
        QTargetError: columns are missing, or there are fewer axes than panels.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> from matplotlib.figure import Figure
        >>> batch = qt.TokenBatch(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]))
        >>> table = qt.target_table([qt.decompose(qt.invert(loss, batch)) for loss in ("sft", "dft")])
        >>> axes = plot_targets(table, axes=Figure(figsize=(5, 2), layout="constrained").subplots(1, 2))
        >>> [ax.get_title().splitlines()[0] for ax in axes]
        ['SFT', 'DFT']
    """
    if isinstance(records, (list, tuple)):
        for table in records:
            check_columns(table, COLUMNS, "plot_targets", "qt.target_table(reading, token)")
        if not records:
            raise QTargetError("plot_targets got no table. Pass what qt.target_table(readings, token) gives.")
        records = pd.concat(records)
    check_columns(records, COLUMNS, "plot_targets", "qt.target_table(readings, token)")
    panels = list(_panels(records))
    if axes is None:
        import matplotlib.pyplot as plt

        across = min(len(panels), WIDEST) if columns is None else columns
        down = -(-len(panels) // across)
        height = 0.75 + 0.2 * max(len(rows) for _, rows in panels)
        with figure_style(8):
            size = (0.5 + 1.9 * across, down * height + 0.25 * key)
            made = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")[1]
            return plot_targets(records, key=key, axes=made)
    given = np.atleast_1d(np.asarray(axes, dtype=object))
    if given.size < len(panels):
        raise QTargetError(
            f"plot_targets: the table has {len(panels)} panels ({', '.join(name for name, _ in panels)}), and axes has "
            f"room for {given.size}."
        )
    limits = bar_limits(records, given.flat[0])
    for ax, (name, rows) in zip(given.flat, panels, strict=False):
        draw_target(ax, rows, limits)
        ax.set_title("\n".join([plain(name), ax.get_title().split("\n", 1)[1]]), color=ax.title.get_color())
    for ax in given.flat[len(panels) :]:
        ax.set_axis_off()
    entries = [rows["token"].tolist() for _, rows in panels]
    across = given.shape[-1]
    for place in range(len(panels)):
        first = place - place % across
        given.flat[place].tick_params(axis="y", labelleft=place == first or entries[place] != entries[first])
    if key:
        _key(given.flat[0], records)
    return given


def _panels(records: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each panel."""
    by = [name for name in PANEL_COLUMNS if name in records.columns]
    differ = [name for name in ("position", "reading") if name in by and records[name].nunique() > 1]
    for _, rows in records.groupby(by, sort=False, dropna=False):
        first = rows.iloc[0]
        if rows.duplicated("entry").any():
            raise QTargetError(
                f"plot_targets: {first['method']} has rows twice for one entry, and rows are told apart by "
                f"{', '.join(by)}. Give one of the tables another loss or method."
            )
        words = [f"token {first[name]}" if name == "position" else first[name] for name in differ]
        yield ", ".join([plain(first["method"]), *words]), rows


def _key(ax: Axes, records: pd.DataFrame) -> None:
    """One key below all panels, in their colour where they have one."""
    categories = records["category"].unique()
    colour = colour_of(categories[0]) if len(categories) == 1 else "#555555"
    handles = key_handles(records, colour)
    figure: Any = ax.figure
    engine = ax.get_figure(root=True).get_layout_engine()  # type: ignore[union-attr]
    inside = engine is None or "constrained" not in type(engine).__name__.lower()
    figure.legend(
        handles=handles,
        loc="lower center" if inside else "outside lower center",
        ncols=len(handles),
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
        fontsize=mpl.rcParams["legend.fontsize"],
    )
