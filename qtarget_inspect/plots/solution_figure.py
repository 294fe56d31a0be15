"""One worked solution in a figure: its tokens tinted by gamma, and one token's p and Q under each loss."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from qtarget_inspect.plots.shown_figure import ShownFigure
from qtarget_inspect.plots.strip_layout import key_of, strip_columns, strip_size
from qtarget_inspect.plots.style import figure_style, plain
from qtarget_inspect.plots.target_panels import plot_targets
from qtarget_inspect.plots.token_strip import MARKERS, plot_tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import SubFigure


@dataclass(frozen=True)
class Layout:
    """Sizes of a figure.

    Args:
        width: in inches.
        size: font size in points.
        panels: panels of bars side by side.
        bars: height of one row of panels, in inches.
    """

    width: float
    size: float
    panels: int
    bars: float

    @property
    def line(self) -> float:
        """Height of a line of text, in inches."""
        return 1.4 * self.size / 72


LAYOUTS = {"slide": Layout(8.0, 7.5, 6, 1.5), "column": Layout(3.4, 6.0, 3, 1.2)}
"""For a 16:9 slide, and for one column of a paper: legible there at its printed size."""


def solution_figure(
    records: pd.DataFrame, targets: pd.DataFrame, *, layout: str = "slide", caption: str = ""
) -> ShownFigure:
    """The strip of tokens above the bars of one of them.

    Args:
        records: as `plot_tokens` takes them.
        targets: as `plot_targets` takes them, for several methods at one position (column position).
        layout: "slide" or "column".
        caption: what model and text these are, small below.

    Returns:
        A figure that belongs to no window.
    """
    sizes = LAYOUTS[layout]
    with figure_style(sizes.size):
        categories = targets.drop_duplicates("method").set_index("method")["category"]
        records = records.assign(category=records["method"].map(categories))
        columns = strip_columns(records, sizes.width - 0.2, sizes.size)
        figure = ShownFigure(figsize=(sizes.width, 4), layout="constrained")
        methods = list(targets.groupby("method", sort=False))
        rows_of_bars = -(-len(methods) // sizes.panels)
        note = wrap(caption, int(sizes.width * 72 / (0.5 * sizes.size)))
        heights = [
            strip_size(records, columns, sizes.size, key_of(records, tuple(MARKERS)))[1] + sizes.line,
            rows_of_bars * sizes.bars + 3.4 * sizes.line,
            max(1, len(note)) * sizes.line,
        ]
        figure.set_size_inches(sizes.width, sum(heights))
        parts: Any = figure.subfigures(3, 1, height_ratios=heights)
        upper, lower, foot = parts
        plot_tokens(records, columns=columns, size=sizes.size, ax=upper.add_subplot())
        _draw_bars(lower, records, targets, sizes, rows_of_bars)
        foot.text(0.01, 0.5, plain("\n".join(note)), size=sizes.size * 0.8, color="#555555", ha="left", va="center")
    return figure


def _draw_bars(figure: SubFigure, records: pd.DataFrame, targets: pd.DataFrame, sizes: Layout, rows: int) -> None:
    plot_targets(targets, axes=figure.subplots(rows, sizes.panels, squeeze=False))
    position = targets["position"].iloc[0]
    at = records[records["position"] == position].iloc[0]
    figure.suptitle(
        f"The model p and the induced target Q at token {position}, “{plain(at['token'])}”", size=sizes.size
    )
