"""The page of an inspection: label trust, gradient, one target, and the flow on three tokens, of one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.gamma_curve import plot_gamma
from qtarget_inspect.plots.gradient_curve import plot_gradient
from qtarget_inspect.plots.shown_figure import ShownFigure
from qtarget_inspect.plots.simplex_flow import plot_simplex
from qtarget_inspect.plots.style import INK, colour_of, figure_style, legible, plain
from qtarget_inspect.plots.target_bars import plot_target

if TYPE_CHECKING:
    import pandas as pd

    from qtarget_inspect.analysis.simplex.field import SimplexField


@dataclass(frozen=True)
class Layout:
    """Sizes of a page.

    Args:
        width: in inches.
        height: in inches.
        size: font size in points.
        columns: panels side by side.
    """

    width: float
    height: float
    size: float
    columns: int


LAYOUTS = {"slide": Layout(8.0, 4.5, 7.5, 2), "column": Layout(3.4, 8.2, 6.5, 1), "strip": Layout(11.0, 2.9, 7.5, 4)}
"""For a 16:9 slide, for one column of a paper, and for the width of a notebook."""


@dataclass(frozen=True, eq=False)
class PageData:
    """What the panels are drawn from; None where it cannot be had, and why is in `missing`.

    Args:
        name: the loss.
        headline: category, gauge, reading, and how far the pulls explain Q.
        category: whose colour it is drawn in, "" where it is unknown.
        sweep: rows of `qt.sweep` over p_y, for label trust and gradient.
        target: rows of `qt.target_table` on one token.
        state: what token that is, in words.
        field: of labels drawn from a q*.
        missing: "sweep", "target" or "field" -> why there is none.
    """

    name: str
    headline: str
    category: str
    sweep: pd.DataFrame | None
    target: pd.DataFrame | None
    state: str
    field: SimplexField | None
    missing: Mapping[str, str]


def inspection_page(page: PageData, *, layout: str = "slide") -> ShownFigure:
    """Label trust against p_y, the gradient on label and favourite, Q against p on one token, the flow on three.

    Misread:
        The panels show different tokens: the curves run over made-up ones that differ in p_y alone, the bars are one
        token, and the triangle has a vocabulary of three with labels drawn from a q*. So the fixed point of the
        triangle is none of the bars, and a loss that looks at entropy or at a teacher has other curves at another
        entropy or teacher. Each panel's own plot says how it is misread.

    Args:
        page: what is drawn.
        layout: "slide" (8 x 4.5 inches), "column" (3.4 wide) or "strip" (11 wide, four panels side by side).

    Returns:
        A figure that belongs to no window; its axes are the four panels in this order.

    Raises:
        QTargetError: the layout is none of these.
    """
    if layout not in LAYOUTS:
        raise QTargetError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}.")
    sizes = LAYOUTS[layout]
    with figure_style(sizes.size):
        room = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)
        figure = ShownFigure(figsize=(sizes.width, sizes.height), layout=room)
        figure.suptitle(
            f"{plain(page.name)}\n{plain(page.headline)}",
            size=1.1 * sizes.size,
            color=legible(colour_of(page.category)),
        )
        rows = -(-len(PANELS) // sizes.columns)
        grid = figure.add_gridspec(rows, sizes.columns, height_ratios=[1.0] * (rows - 1) + [1.3])
        for place, panel in enumerate(PANELS):
            why = _why_not(page, panel)
            projection = "ternary" if panel.data == "field" and why is None else None
            ax = figure.add_subplot(grid[divmod(place, sizes.columns)], projection=projection)
            if why is None:
                panel.draw(page, ax)
            else:
                _say(ax, f"No picture of {panel.what}: {why}", sizes)
    return figure


def _trust(page: PageData, ax: Any) -> None:
    plot_gamma(_coloured(page), ax=ax)


def _gradient(page: PageData, ax: Any) -> None:
    plot_gradient(_coloured(page), ax=ax)


def _bars(page: PageData, ax: Any) -> None:
    assert page.target is not None
    plot_target(page.target.assign(category=page.category), ax=ax)
    first = page.target.iloc[0]
    gamma = "undefined" if np.isnan(first["gamma"]) else f"{first['gamma']:.2g}".replace("-", "−")
    ax.set_title(f"{page.state}: $\\gamma$ = {gamma}", color=INK)


def _flow(page: PageData, ax: Any) -> None:
    assert page.field is not None
    plot_simplex(replace(page.field, category=page.category), ax=ax)
    ax.title.set(text=f"labels drawn from $q^*$: {page.field.verdict}", color=INK)


@dataclass(frozen=True)
class Panel:
    """One panel of the page.

    Args:
        data: the field of `PageData` that it needs.
        what: what it shows, in words.
        draw: draws it.
    """

    data: str
    what: str
    draw: Callable[[PageData, Any], None]


PANELS = (
    Panel("sweep", "label trust against p_y", _trust),
    Panel("sweep", "the gradient on two tokens", _gradient),
    Panel("target", "Q and p on one token", _bars),
    Panel("field", "the flow on three tokens", _flow),
)


def _why_not(page: PageData, panel: Panel) -> str | None:
    """Why a panel cannot be had; None where it can."""
    if getattr(page, panel.data) is None:
        return page.missing[panel.data]
    if panel.draw is _trust and page.sweep is not None and bool(page.sweep["gamma"].isna().all()):
        return "it is undefined on these tokens, since no known pulls explain the gradient."
    return None


def _coloured(page: PageData) -> pd.DataFrame:
    """The sweep in the page's colour."""
    assert page.sweep is not None
    return page.sweep.assign(category=page.category)


def _say(ax: Any, words: str, sizes: Layout) -> None:
    """Words in place of a panel."""
    letters = int(sizes.width / sizes.columns * 72 / (0.65 * sizes.size))
    ax.set_axis_off()
    ax.text(0.5, 0.5, plain(fill(words, letters)), ha="center", va="center", transform=ax.transAxes, color=INK)
