"""The weights of a loss's attractors along a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.curves import SAME, check_sweep, dress_sweep, one_loss, point_style
from qtarget_inspect.plots.line_labels import height_left, label_lines
from qtarget_inspect.plots.style import (
    FRAME,
    MARKS,
    SHADES,
    colour_of,
    display_names,
    figure_style,
    fitting_text,
    new_axes,
    plain,
    shaded,
)
from qtarget_inspect.vocabulary.numerals import short_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TOTAL = "total pull $S$"


def plot_pulls(sweep: pd.DataFrame, *, loss: str | None = None, ax: Axes | None = None) -> Axes:
    """The weight of every pull of one loss, a line an attractor; the total pull S in grey where several add up.

        g = sum_j a_j (p - b_j) + ...,    S = sum of the a_j toward distributions

    The pull to the label is solid, the others dashed. A weight below 0 pushes away. In the unit gauge 1 - S is left to
    the model.

    Misread:
        Weights are not shares of the target: in the normalized gauge a_j / S is, in the unit gauge a_j with 1 - S for
        the model. A tilt ("tilt log p") is no pull toward a distribution, does not count in S, and its weight does not
        compare with the others' in height. An attractor that moves with the model (a power of p, a path to the teacher)
        is another distribution at every state, although its line may be flat. Where two attractors nearly agree, as the
        reference and the model do at the start of training, a strong pull moves little.

    Args:
        sweep: what `qt.sweep` gives over one number; columns loss, title, category, over, value, gauge, total_pull, and
            one pull_ATTRACTOR at least.
        loss: which loss, by name or title, where there are several.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; one line an attractor, then S.

    Raises:
        QTargetError: columns are missing, the sweep is a grid, no loss of several is named, or the loss has no pulls.
    """
    check_sweep(sweep, ("total_pull",), "plot_pulls")
    rows = one_loss(sweep, loss, "plot_pulls").sort_values("value")
    pulls = [name for name in rows.columns if name.startswith("pull_") and rows[name].notna().any()]
    name = display_names(sweep)[rows["loss"].iloc[0]]
    if not pulls:
        raise QTargetError(f"plot_pulls: {name} has no pulls here: no known attractors explain its gradient.")
    if ax is None:
        with figure_style(8):
            return plot_pulls(sweep, loss=loss, ax=new_axes())
    colour, total = colour_of(rows["category"].iloc[0]), rows["total_pull"].to_numpy()
    alone = len(pulls) == 1 or np.isnan(total).all()
    named = {}
    for place, column in enumerate(sorted(pulls, key=lambda one: one != "pull_label")):
        style: dict[str, Any] = {
            "color": shaded(colour, SHADES[place % len(SHADES)]),
            "marker": MARKS[place % len(MARKS)],
        }
        style |= {"markevery": 0.2, "markersize": 0.45 * mpl.rcParams["font.size"]}
        style |= {"linestyle": "-" if column == "pull_label" else "--"}
        attractor = plain(short_name(column.removeprefix("pull_")))
        if not alone and np.allclose(rows[column], total, rtol=0, atol=SAME, equal_nan=True):
            attractor, alone = f"{attractor} = {TOTAL}", True
        named[attractor] = ax.plot(
            rows["value"], rows[column], **{**style, **point_style(rows[column], style["linestyle"])}
        )
    if not alone:
        named[TOTAL] = ax.plot(rows["value"], total, color="#8c8c8c", linewidth=0.8, zorder=1, **point_style(total))
    others = [ax.axhline(0.0, color=FRAME, linewidth=0.6, zorder=0)]
    dress_sweep(ax, rows)
    label_lines(ax, named, others=others)
    wordings = f"pulls of {name}\n(weights in the unit gauge)", "pulls\n(unit gauge)"
    ax.set_ylabel(fitting_text(ax, wordings, height_left(ax)))
    return ax
