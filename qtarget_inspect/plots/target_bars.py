"""The induced target beside the model on one token: bars of Q over bars of p, negative mass hatched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qtarget_inspect.plots.style import MODEL_COLOUR, colour_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_target(records: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Bars of Q under one loss, over wider grey bars of p; the first entry stands on top.

    Args:
        records: a row an entry of the vocabulary: token, p, q, is_label; method, category, gauge and gamma are the same
            in all rows.
        ax: where to draw; a new figure by default.

    Returns:
        The axes; containers are p, Q where it is not negative, and Q where it is.
    """
    ax = ax if ax is not None else _new_axes()
    first = records.iloc[0]
    places = np.arange(len(records))
    q = records["q"].to_numpy()
    colour = colour_of(first["category"])
    ax.barh(places, records["p"], height=0.84, color=MODEL_COLOUR, label="p")
    ax.barh(places, np.where(q >= 0, q, 0), height=0.44, color=colour, label="Q")
    ax.barh(
        places, np.where(q < 0, q, 0), height=0.44, facecolor="white", edgecolor=colour, hatch="//////", label="Q < 0"
    )
    ax.axvline(0, color="black", linewidth=0.6)
    ax.spines["left"].set_visible(False)
    ax.set_yticks(places, records["token"], family="DejaVu Sans Mono")
    for text, is_label in zip(ax.get_yticklabels(), records["is_label"], strict=True):
        text.set_fontweight("bold" if is_label else "normal")
    ax.invert_yaxis()
    ax.set_xlim(min(-0.02, 1.25 * float(q.min())), max(1.02, 1.02 * float(q.max())))
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.tick_params(axis="y", length=0)
    ax.set_title(f"{first['method']}\n$\\gamma$ = {_number(first['gamma'])}, {first['gauge']}", color=colour)
    return ax


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2g}"


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(3, 2))[1]
