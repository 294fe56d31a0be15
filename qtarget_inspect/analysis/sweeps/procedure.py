"""sweep(losses, over): what losses teach along made-up states, or along their own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd

from qtarget_inspect.analysis.decomposition import Gauge
from qtarget_inspect.analysis.sweeps.points import Piece, Points, make_points, parameters_among, swept_axes
from qtarget_inspect.analysis.sweeps.rows import NUMBERS, rows_of
from qtarget_inspect.analysis.sweeps.subjects import Subject, subjects_of
from qtarget_inspect.core.errors import QTargetError

STATE_COLUMNS = ("p_y", "entropy", "others_entropy", "teacher_p_y", "reference_p_y", "old_p_y", "vocabulary")


def sweep(
    losses: Any,
    over: str | Sequence[str] = "p_y",
    values: Any = None,
    *,
    p_y: float = 0.3,
    others_entropy: float = 2.0,
    teacher_p_y: float = 0.8,
    reference_p_y: float | None = None,
    old_p_y: float | None = None,
    vocabulary: int = 32,
    gauge: Gauge = "natural",
) -> pd.DataFrame:
    """What losses teach on made-up tokens, along one number or over two: what curves and maps are drawn from.

    Each value makes one token, whose label is token 0:

        p_0 = p_y,    p_k = (1 - p_y) exp(-rate k) / Z,    H(p) = H(p_y) + (1 - p_y) others_entropy.

    The teacher has a p_y and a favourite of its own; the reference and the old policy see flatter others
    (`qtarget_inspect.analysis.sweeps.sweep_states` makes the same tokens). Every token is a sequence of its own;
    advantages, weights and critical are 1. `compare` and `measure` take your own tokens instead.

    Args:
        losses: one loss or a list of them, as `invert` takes them.
        over: what is swept: a number of the state, "p_y", "entropy" (of the whole p, at fixed p_y), "others_entropy",
            "teacher_p_y", "reference_p_y", "old_p_y" or "vocabulary"; or a parameter that all the losses have ("eta",
            "kl_weight", ...; a callable gets it by keyword). A pair of these makes a grid.
        values: the values, or a pair of lists for a grid; None, also in the pair, for the default. A probability: steps
            of 0.005 from 0.0025 to 0.9975, and closer to both ends, from 0.001 to 0.999, so that a threshold at a round
            number lies between two values. An entropy: 200 middles of equal cells of what can be reached. In a grid 80
            middles of equal cells of either, from 0 to ln V where p_y is swept too. A parameter: 41 values in its range
            around its default: evenly between finite ends; from a tenth of the default to ten times (evenly in its log)
            where one end is open; from 0 to twice the default where both are.
        p_y: the model's probability of the label, in (0, 1), where it is not swept.
        others_entropy: entropy of p without the label, renormalised, in nats, 0 to ln(V-1).
        teacher_p_y: the teacher's probability of the label.
        reference_p_y: the reference model's; None: log-odds 1 below the model's.
        old_p_y: the old policy's; None: log-odds 0.2 below the model's.
        vocabulary: V, at least 3.
        gauge: "natural" (each loss's own; one for the whole sweep), "unit" or "normalized".

    Returns:
        A row a loss and value (or pair of values). Columns: loss (name with its parameters, without the swept one),
        title, category; over, value, and over_y, value_y in a grid; the state: p_y, entropy, others_entropy,
        teacher_p_y, reference_p_y, old_p_y, vocabulary; gauge, reading; gamma; q_label, q_other, q_teacher_token (Q on
        the label, on the model's favourite among the others, on the teacher's), p_other, p_teacher_token; g_label,
        g_other (of the loss as it is, in any gauge); mass, negative_mass, total_variation, kl_to_model (KL(Q‖p),
        nats); total_pull and pull_ATTRACTOR, the weights of the pulls in the unit gauge, NaN for losses that lack one.
        A number that changes an attractor along the sweep stands as * in its name. What is undefined is NaN: a state of
        a grid that cannot be reached, all of Q where the gauge is, gamma and pulls where a fit does not explain the
        gradient (then the gauge is unit).

    Raises:
        QTargetError: `over` is neither a number of the state nor a parameter of the losses, a value is outside its
            range, an entropy cannot be reached, two losses share a name, or one compares sequences.
        LossError: a callable couples the tokens of a batch.

    Examples:
        >>> import qtarget_inspect as qt
        >>> table = qt.sweep(["sft", "dft"], values=[0.1, 0.5])
        >>> table[["title", "p_y", "gamma", "q_label", "g_label"]].round(3).values.tolist()
        [['SFT', 0.1, 1.0, 1.0, -0.9],
         ['SFT', 0.5, 1.0, 1.0, -0.5],
         ['DFT', 0.1, 0.1, 0.19, -0.09],
         ['DFT', 0.5, 0.5, 0.75, -0.25]]
        >>> table = qt.sweep("target-sft", over="eta", values=[0, 0.5, 1])
        >>> table[["gamma", "q_label", "q_teacher_token"]].round(3).values.tolist()
        [[0.3, 0.51, 0.05], [0.3, 0.708, 0.055], [0.3, 0.86, 0.043]]
        >>> grid = qt.sweep("eaft", over=("p_y", "entropy"), values=([0.1, 0.9], [1.0, 3.0]))
        >>> grid[["value", "value_y", "gamma"]].round(3).values.tolist()
        [[0.1, 1.0, 0.334], [0.1, 3.0, 0.929], [0.9, 1.0, nan], [0.9, 3.0, nan]]
    """
    if gauge not in get_args(Gauge):
        raise QTargetError(f"sweep: gauge must be one of {', '.join(get_args(Gauge))}, not {gauge!r}.")
    axes = swept_axes(over)
    subjects = subjects_of(losses, parameters_among(axes))
    numbers: dict[str, Any] = {"p_y": p_y, "others_entropy": others_entropy, "vocabulary": vocabulary}
    numbers |= {"teacher_p_y": teacher_p_y, "reference_p_y": reference_p_y, "old_p_y": old_p_y}
    points = make_points(axes, values, numbers, subjects)
    pieces = list(points.batches())
    table = pd.concat([_rows(subject, points, pieces, gauge) for subject in subjects], ignore_index=True)
    pulls = [name for name in table.columns if name.startswith("pull_")]
    return table[[name for name in table.columns if name not in pulls] + pulls]


def _rows(subject: Subject, points: Points, pieces: Sequence[Piece], gauge: Gauge) -> pd.DataFrame:
    """The rows of one loss, columns in order."""
    same, found = rows_of(subject, points, pieces, gauge)
    size = len(points)
    columns: dict[str, Any] = {name: [same[name]] * size for name in ("loss", "title", "category")}
    for axis, suffix in zip(points.axes, ("", "_y"), strict=False):
        columns |= {f"over{suffix}": [axis] * size, f"value{suffix}": points.values[axis]}
    columns |= {name: np.asarray(points.states[name]) for name in STATE_COLUMNS}
    columns |= {name: [same[name]] * size for name in ("gauge", "reading")}
    columns |= {name: found[name] for name in NUMBERS}
    return pd.DataFrame(columns | {name: found[name] for name in found if name not in NUMBERS})
