"""How the induced target on three tokens depends on a parameter."""

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

ROLES = {"label": "label", "other": "model's favourite", "teacher_token": "teacher's favourite"}
"""The three tokens; both favourites are among those that are not the label."""


def plot_sensitivity(sweep: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Q against a parameter, on three tokens; the model p on each in grey.

    On the label (solid), on the model's favourite other token (dashed), and on the teacher's favourite other (dotted).
    With one loss the lines bear the names of the tokens, with several the solid lines bear the losses' names.

    Misread:
        This is one state, and the slope at another may be the opposite: look at two (`qt.sweep(..., p_y=0.05)`). The
        axis is logarithmic where values span much, so equal distances are equal factors there. A flat line says that
        the target does not move here, not that training is indifferent: the size of the step, which Q in the normalized
        gauge leaves out, may change with the parameter.

    Args:
        sweep: what `qt.sweep` gives over a parameter of the losses (or any one number); columns loss, title, category,
            over, value, gauge, q_label, q_other, q_teacher_token, p_y, p_other, p_teacher_token.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; lines role by role (label, other, teacher's token), then the model's three.

    Raises:
        QTargetError: columns are missing, or the sweep is a grid.
    """
    columns = {"label": "q_label", "other": "q_other", "teacher_token": "q_teacher_token"}
    levels = {"label": "p_y", "other": "p_other", "teacher_token": "p_teacher_token"}
    check_sweep(sweep, (*columns.values(), *levels.values()), "plot_sensitivity")
    if ax is None:
        with figure_style(8):
            return plot_sensitivity(sweep, ax=new_axes())
    words, marked = gauges_in_words(sweep)
    curves = curves_of(sweep, tuple(columns.values()), marked)
    drawn = {
        role: {curve.name: curve.draw(ax, column, ROLE_STYLES[role]) for curve in curves}
        for role, column in columns.items()
    }
    model = draw_model(ax, sweep, levels)
    dress_sweep(ax, sweep)
    say_absent(ax, sweep, "q_label", "$Q$")
    rest = [line for role in ("other", "teacher_token") for lines in drawn[role].values() for line in lines]
    if len(curves) == 1:
        wordings = f"$Q$ under {curves[0].name}\n({words}; grey: model $p$)", f"$Q$ ({words};\ngrey: model $p$)"
        label_lines(ax, {ROLES[role]: lines[curves[0].name] for role, lines in drawn.items()}, others=model)
    else:
        first, second = (
            role_key({"label": "label", "other": "model's favourite"}),
            role_key({"teacher_token": "teacher's"}),
        )
        short = role_key({"label": "label", "other": "model's"})
        wordings = f"$Q$ ({first},\n{second}, grey: $p$; {words})", f"$Q$ ({short},\n{second}; {words})"
        names = {curve.name: curve.colour for curve in curves}
        label_lines(ax, drawn["label"], others=[*rest, *model], colours=names)
    ax.set_ylabel(fitting_text(ax, wordings, height_left(ax)))
    return ax
