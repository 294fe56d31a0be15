"""The induced target on the label and on another token against what is swept, beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtarget_inspect.plots.curves import (
    check_sweep,
    curves_of,
    draw_model,
    dress_sweep,
    gauges_in_words,
    role_key,
    say_absent,
)
from qtarget_inspect.plots.line_labels import height_left, label_lines
from qtarget_inspect.plots.style import ROLE_STYLES, figure_style, fitting_text, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ROLES = {"label": "label", "other": "favourite other"}
SHORT = {"label": "label", "other": "other"}


def plot_q(sweep: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Q on the label (solid) and on the model's favourite other token (dashed), two lines a loss; the model p in grey.

        Q = p - g  (unit gauge),    Q = p - g / S  (normalized gauge)

    A line above the grey one of its style gains probability, one below it loses. Below 0 stands negative mass.

    Misread:
        Q is where the loss pulls at this state, not where training ends: the state moves, and Q with it, and over many
        labels the pulls average out (`qt.fixed_points`). The distance from the grey line is the gradient only in the
        unit gauge. The two tokens are not all: what label and favourite lose may go to tokens that are not drawn. And Q
        on the label is not label trust: part of it may come from the residual (DFT: gamma = p_y, Q = 2 p_y - p_y^2).

    Args:
        sweep: what `qt.sweep` gives over one number; columns loss, title, category, over, value, gauge, q_label,
            q_other, p_y, p_other.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; the curves' solid lines, their dashed ones, then the model's two.

    Raises:
        QTargetError: columns are missing, or the sweep is a grid.
    """
    check_sweep(sweep, ("q_label", "q_other", "p_y", "p_other"), "plot_q")
    if ax is None:
        with figure_style(8):
            return plot_q(sweep, ax=new_axes())
    words, marked = gauges_in_words(sweep)
    curves = curves_of(sweep, ("q_label", "q_other"), marked)
    solid = {curve.name: curve.draw(ax, "q_label", ROLE_STYLES["label"]) for curve in curves}
    dashed = [line for curve in curves for line in curve.draw(ax, "q_other", ROLE_STYLES["other"])]
    model = draw_model(ax, sweep, {"label": "p_y", "other": "p_other"})
    dress_sweep(ax, sweep)
    say_absent(ax, sweep, "q_label", "$Q$")
    label_lines(
        ax,
        solid | {"model $p$": model[:1]},
        others=[*dashed, *model[1:]],
        colours={curve.name: curve.colour for curve in curves},
    )
    wordings = f"$Q$ ({role_key(ROLES)})\n{words}", f"$Q$ ({role_key(SHORT)})\n{words}", "$Q$"
    ax.set_ylabel(fitting_text(ax, wordings, height_left(ax)))
    return ax
