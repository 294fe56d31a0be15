"""The logit gradient on the label and on another token against what is swept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtarget_inspect.plots.curves import check_sweep, curves_of, dress_sweep, role_key
from qtarget_inspect.plots.line_labels import height_left, label_lines
from qtarget_inspect.plots.style import FRAME, ROLE_STYLES, figure_style, fitting_text, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ROLES = {"label": "label", "other": "favourite other"}
SHORT = {"label": "label", "other": "other"}


def plot_gradient(sweep: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The logit gradient on the label (solid) and on the model's favourite other token (dashed), two lines a loss.

        g = dL/dz = p - Q    (Q in the unit gauge);    a step moves the logits by -g.

    Below 0 a logit is raised, above 0 it is lowered. Losses that agree on both tokens are one pair of lines.

    Misread:
        The dashed line is one token of many: where it is 0, others may still be pushed, and the two lines need not sum
        to 0. A small gradient on the label is not a small label trust: SFT's vanishes as p_y -> 1, where its trust is
        still 1. A gradient on logits is not a step in weights: their size also depends on the optimiser, and Adam
        forgets a constant factor. A larger weight on a loss stretches its curve and changes nothing of its shape.

    Args:
        sweep: what `qt.sweep` gives over one number; columns loss, title, category, over, value, gauge, g_label,
            g_other.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the curves' solid lines and then their dashed ones, and the zero line.

    Raises:
        QTargetError: columns are missing, or the sweep is a grid.
    """
    check_sweep(sweep, ("g_label", "g_other"), "plot_gradient")
    if ax is None:
        with figure_style(8):
            return plot_gradient(sweep, ax=new_axes())
    curves = curves_of(sweep, ("g_label", "g_other"))
    solid = {curve.name: curve.draw(ax, "g_label", ROLE_STYLES["label"]) for curve in curves}
    dashed = [line for curve in curves for line in curve.draw(ax, "g_other", ROLE_STYLES["other"])]
    zero = ax.axhline(0.0, color=FRAME, linewidth=0.6, zorder=0)
    dress_sweep(ax, sweep)
    label_lines(ax, solid, others=[*dashed, zero], colours={curve.name: curve.colour for curve in curves})
    wordings = f"logit gradient $g$\n({role_key(ROLES)})", f"gradient $g$\n({role_key(SHORT)})", "$g$"
    ax.set_ylabel(fitting_text(ax, wordings, height_left(ax)))
    return ax
