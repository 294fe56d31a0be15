"""Rows: what one loss teaches at the points of a sweep, as columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import Decomposition, Gauge
from qtarget_inspect.analysis.measurement.plain import per_token_tensors, read
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.analysis.sweeps.points import Piece, Points
from qtarget_inspect.analysis.sweeps.states import OTHER_TOKEN, teacher_token
from qtarget_inspect.analysis.sweeps.subjects import Subject, refuse_coupled
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.variants import Variant

NUMBERS: tuple[str, ...] = ("gamma", "q_label", "q_other", "q_teacher_token", "p_other", "p_teacher_token")
NUMBERS += ("g_label", "g_other", "mass", "negative_mass", "total_variation", "kl_to_model", "total_pull")
"""The numbers of a point under a loss, in the order of the table; pull weights follow."""

_ABSENT = 1e-9
"""A fitted pull below this share of the largest one, at every point of a piece, does not occur."""


def rows_of(
    subject: Subject, points: Points, pieces: Sequence[Piece], gauge: Gauge
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What one loss teaches at every point.

    The natural gauge is one for the whole sweep: normalized where it is so at some parameter, but unit where a fit
    explains nothing at another, whose Q would have no scale.

    Args:
        subject: the loss.
        points: M points.
        pieces: the same as batches.
        gauge: "natural", "unit" or "normalized".

    Returns:
        What is the same in all rows, and name -> [M] numbers, NaN where the state cannot be reached.
    """
    found = [_reading(subject, parameters, batch, gauge) for _, parameters, batch in pieces]
    if len({reading.gauge for reading, _ in found}) > 1:
        unexplained = any(bool(_undetermined(*one).all()) for one in found)
        common: Gauge = "unit" if unexplained else "normalized"
        found = [_reading(subject, parameters, batch, common) for _, parameters, batch in pieces]
    columns: dict[str, np.ndarray] = {name: np.full(len(points), np.nan) for name in NUMBERS}
    pulls = [_pulls(reading, values) for reading, values in found]
    names = _common_names(pulls)
    for (places, _, _), (reading, values), weights, renamed in zip(pieces, found, pulls, names, strict=True):
        for name, numbers in _numbers(reading, values).items():
            columns[name][places] = numbers.cpu().numpy()
        for name, weight in zip(renamed, weights.values(), strict=True):
            columns.setdefault(f"pull_{name}", np.full(len(points), np.nan))[places] = weight.cpu().numpy()
    first = found[0][0]
    same = {"loss": subject.name, "title": subject.title, "category": subject.category}
    return same | {"gauge": first.gauge, "reading": first.reading}, columns


def _reading(
    subject: Subject, parameters: dict[str, Any], batch: TokenBatch, gauge: Gauge
) -> tuple[Decomposition, dict[str, Tensor]]:
    """A loss on some states: its reading, and the numbers of `measure`."""
    loss = subject.at(parameters)
    target = invert(loss, batch)
    if not isinstance(loss, Variant):
        refuse_coupled(subject.name, target.coupled)
    reading = read(target, gauge)
    dtype = target.q.dtype if target.method == "closed-form" else working_dtype(loss, batch)
    return reading, per_token_tensors(reading, dtype)


def _numbers(reading: Decomposition, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """name -> [m], the names being those of `NUMBERS`."""
    target = reading.target
    other, teachers = OTHER_TOKEN, teacher_token(target.batch.vocabulary)
    q = torch.where(torch.isnan(values["mass"]).unsqueeze(-1), torch.nan, reading.q)  # without a scale there is no Q
    own = {
        "q_other": q[:, other],
        "q_teacher_token": q[:, teachers],
        "p_other": target.p[:, other],
        "p_teacher_token": target.p[:, teachers],
        "g_label": target.g.gather(-1, target.batch.labels.unsqueeze(-1)).squeeze(-1),
        "g_other": target.g[:, other],
        "total_pull": torch.where(_undetermined(reading, values), torch.nan, reading.total_pull),
    }
    return {name: own[name] if name in own else values[name] for name in NUMBERS}


def _pulls(reading: Decomposition, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attractor -> [m] pull weights; a fit's are left out where they are rounding at all points."""
    weights = reading.pulls
    if reading.source == "fit":
        largest = max(float(weight.abs().max()) for weight in weights.values())
        weights = {name: one for name, one in weights.items() if float(one.abs().max()) > _ABSENT * largest}
    lost = _undetermined(reading, values)
    return {name: torch.where(lost, torch.nan, weight) for name, weight in weights.items() if not bool(lost.all())}


def _undetermined(reading: Decomposition, values: dict[str, Tensor]) -> Tensor:
    """[m] bool: the pulls are not unique, or explain nothing; `per_token_tensors` took gamma away there."""
    return torch.isnan(values["gamma"]) & ~torch.isnan(reading.gamma)


def _common_names(pulls: Sequence[dict[str, Tensor]]) -> list[list[str]]:
    """One name an attractor along the whole sweep: "path(* to teacher)" for "path(0.1 to teacher)" and its like."""
    shapes: dict[str, set[str]] = {}
    for weights in pulls:
        for name in weights:
            shapes.setdefault(_starred(name), set()).add(name)

    def common(name: str) -> str:
        starred = _starred(name)
        if f"{starred}@*" in shapes:  # a teacher at temperature 1 bears no number
            return f"{starred}@*"
        return name if len(shapes[starred]) == 1 else starred

    return [[common(name) for name in weights] for weights in pulls]


def _starred(name: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "*", name)
