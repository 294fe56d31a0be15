"""Label trust against what is swept, a line a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtarget_inspect.plots.curves import check_sweep, curves_of, dress_sweep, gauges_in_words, say_absent
from qtarget_inspect.plots.line_labels import height_left, label_lines
from qtarget_inspect.plots.style import FRAME, figure_style, fitting_text, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_gamma(sweep: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Label trust gamma against the swept number, a line a loss, in its category's colour.

        Q = gamma onehot(y) + (1 - gamma) residual

    Losses whose curves coincide are one line under all their names ("DFT = p-loss"); its colours alternate where the
    categories differ. A loss in the normalized gauge among others in the unit gauge has an asterisk.

    Misread:
        A low gamma does not say that little is learned, only that little of the target is the label; the rest may be a
        teacher or a uniform. Equal gammas are not equal losses: SFT and GEM both have gamma = 1 and different targets.
        Heights of curves in different gauges do not compare: in the normalized gauge the model has no share, so DFT
        itself would have gamma = 1 there. And gamma is not the size of the step: that is `plot_gradient`'s matter.

    Args:
        sweep: what `qt.sweep` gives over one number; columns loss, title, category, over, value, gauge, gamma.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; one line a curve, NaN left out.

    Raises:
        QTargetError: columns are missing, or the sweep is a grid.
    """
    check_sweep(sweep, ("gamma",), "plot_gamma")
    if ax is None:
        with figure_style(8):
            return plot_gamma(sweep, ax=new_axes())
    words, marked = gauges_in_words(sweep)
    curves = curves_of(sweep, ("gamma",), marked)
    for level in (0.0, 1.0):
        ax.axhline(level, color=FRAME, linewidth=0.6, zorder=0)
    lines = {curve.name: curve.draw(ax, "gamma") for curve in curves}
    low, high = min(0.0, float(sweep["gamma"].min())), max(1.0, float(sweep["gamma"].max()))
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    dress_sweep(ax, sweep)
    say_absent(ax, sweep, "gamma", r"$\gamma$")
    label_lines(ax, lines, colours={curve.name: curve.colour for curve in curves})
    wordings = f"label trust $\\gamma$\n({words})", f"$\\gamma$\n({words})", "$\\gamma$"
    ax.set_ylabel(fitting_text(ax, wordings, height_left(ax)))
    return ax
