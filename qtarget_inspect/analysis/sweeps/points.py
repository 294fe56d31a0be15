"""Points of a sweep: the made-up state and the losses' parameters at every value, or pair of values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from qtarget_inspect.analysis.sweeps import grids
from qtarget_inspect.analysis.sweeps.states import (
    OLD_POLICY_BEHIND,
    PROBABILITIES,
    REFERENCE_BEHIND,
    STATE_NUMBERS,
    sweep_states,
)
from qtarget_inspect.analysis.sweeps.subjects import Subject
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import is_whole
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.variants import Variant
from qtarget_inspect.variants.ranges import Range

_NOT_GIVEN = ("entropy", "vocabulary")
"""Numbers of a state that are not given to `sweep_states` token by token."""

_ROUNDING = 1e-12
"""An entropy this near to the end of what can be reached, in nats, is the end."""


Piece = tuple[np.ndarray, dict[str, Any], TokenBatch]
"""Points [m] of equal parameters and vocabulary: their places, the losses' parameters there, the states as a batch."""


@dataclass(frozen=True)
class Points:
    """The points of a sweep, M of them.

    Args:
        axes: what is swept, one name or two.
        values: axis -> [M] its value at each point; the last axis runs fastest.
        states: number of a state -> [M]; others_entropy is NaN where the entropy cannot be reached.
    """

    axes: tuple[str, ...]
    values: dict[str, np.ndarray]
    states: dict[str, np.ndarray]

    def __len__(self) -> int:
        """How many points M."""
        return len(self.values[self.axes[0]])

    @property
    def reachable(self) -> np.ndarray:
        """[M] bool: the state exists."""
        return ~np.isnan(self.states["others_entropy"])

    def batches(self) -> Iterator[Piece]:
        """The reachable points of equal parameters and vocabulary, as a batch each.

        Yields:
            Places among the points, the losses' parameters there, and the states.
        """
        parameters = [axis for axis in self.axes if axis not in STATE_NUMBERS]
        for vocabulary in np.unique(self.states["vocabulary"]):
            held = np.flatnonzero(self.reachable & (self.states["vocabulary"] == vocabulary))
            numbers = {name: values[held] for name, values in self.states.items() if name not in _NOT_GIVEN}
            batch = sweep_states(numbers.pop("p_y"), **numbers, vocabulary=int(vocabulary))
            keys = np.stack([np.zeros(len(held)), *(self.values[name][held] for name in parameters)], -1)
            for key in np.unique(keys, axis=0):
                places = np.flatnonzero((keys == key).all(-1))
                settings = {name: self.values[name][held[places[0]]].item() for name in parameters}
                yield held[places], settings, batch.select(torch.from_numpy(places))


def swept_axes(over: Any) -> tuple[str, ...]:
    """The names that a sweep is over.

    Args:
        over: a name, or a pair of names.

    Returns:
        One name or two.

    Raises:
        QTargetError: it is neither, the same name twice, or two names of the same thing.
    """
    axes = (over,) if isinstance(over, str) else tuple(over) if isinstance(over, (list, tuple)) else ()
    if not 1 <= len(axes) <= 2 or not all(isinstance(axis, str) for axis in axes) or len(set(axes)) < len(axes):
        raise QTargetError(
            "sweep: over must be a name or a pair of different names, e.g. 'p_y' or ('p_y', 'entropy'), not "
            f"{over!r:.60}."
        )
    if set(axes) == {"entropy", "others_entropy"}:
        raise QTargetError("sweep: entropy follows from p_y and others_entropy; sweep one of the two with p_y.")
    return axes


def parameters_among(axes: Sequence[str]) -> tuple[str, ...]:
    """The axes that are no numbers of a state, so parameters of the losses."""
    return tuple(axis for axis in axes if axis not in STATE_NUMBERS)


def make_points(axes: tuple[str, ...], values: Any, numbers: dict[str, Any], subjects: Sequence[Subject]) -> Points:
    """The points of a sweep.

    Args:
        axes: what is swept.
        values: what was given: values, or for two axes a pair of them; None, or None in the pair, for the default.
        numbers: number of a state -> what it is where it is not swept; None for its default.
        subjects: the losses.

    Returns:
        The points.

    Raises:
        QTargetError: values are no numbers, repeat, or lie outside what can be.
    """
    for name, value in numbers.items():
        if value is not None and not _is_number(value):
            raise QTargetError(
                f"sweep: {name} must be one number, not {value!r:.60}; to sweep over it, pass over={name!r}."
            )
    if not is_whole(numbers["vocabulary"]) or numbers["vocabulary"] < 3:
        raise QTargetError(
            f"sweep: vocabulary must be a whole number of at least 3 (the label, and a favourite each for model and "
            f"teacher), not {numbers['vocabulary']!r}."
        )
    if len(axes) == 2 and values is not None and not (isinstance(values, (list, tuple)) and len(values) == 2):
        raise QTargetError(
            f"sweep: values over {axes} must be a pair, one list (or None) for each, not {values!r:.60}."
        )
    given = (values,) if len(axes) == 1 else values or (None, None)
    lines = [
        _default_values(axis, numbers, subjects, len(axes) == 2) if one is None else _checked(axis, one)
        for axis, one in zip(axes, given, strict=True)
    ]
    mesh = [side.ravel() for side in np.meshgrid(*lines, indexing="ij")]
    points = Points(axes, dict(zip(axes, mesh, strict=True)), {})
    return replace(points, states=_states(points, numbers))


def _states(points: Points, numbers: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every number of the states, [M] each."""

    def number(name: str) -> np.ndarray:
        return points.values[name] if name in points.axes else np.full(len(points), numbers[name])

    def other_model(name: str, behind: float) -> np.ndarray:
        if name in points.axes or numbers[name] is not None:
            return number(name)
        return torch.sigmoid(torch.logit(torch.from_numpy(states["p_y"])) - behind).numpy()

    states = {"p_y": number("p_y").astype(float), "teacher_p_y": number("teacher_p_y").astype(float)}
    for name, values in states.items():
        _check_probability(name, values)
    states["reference_p_y"] = other_model("reference_p_y", REFERENCE_BEHIND).astype(float)
    states["old_p_y"] = other_model("old_p_y", OLD_POLICY_BEHIND).astype(float)
    for name in ("reference_p_y", "old_p_y"):
        _check_probability(name, states[name])
    states["vocabulary"] = number("vocabulary")
    if not all(is_whole(one) and one >= 3 for one in states["vocabulary"]):
        raise QTargetError(f"sweep: vocabulary must be a whole number of at least 3, not {states['vocabulary'].min()}.")
    most = np.log(states["vocabulary"] - 1.0)
    choice = _binary_entropy(states["p_y"])
    if "entropy" in points.axes:
        others = (number("entropy") - choice) / (1 - states["p_y"])
        others = _snapped(others, most, _ROUNDING / (1 - states["p_y"]))
        if len(points.axes) == 1 and np.isnan(others).any():
            _refuse_entropy(float(number("entropy")[np.isnan(others)][0]), float(choice[0]), float(most[0]), states)
        states |= {"others_entropy": others, "entropy": number("entropy").astype(float)}
        if np.isnan(others).all():
            raise QTargetError("sweep: no pair of p_y and entropy can be reached; pass larger entropies, or None.")
        return states
    others = number("others_entropy").astype(float)
    outside = ~((others >= 0) & (others <= most))
    if outside.any():
        raise QTargetError(
            f"sweep: others_entropy must lie between 0 and ln(V - 1) = {most[outside][0]:.4g} nats, not be "
            f"{others[outside][0]:g} (V = {states['vocabulary'][outside][0]}). Pass a smaller one, or a larger V."
        )
    return states | {"others_entropy": others, "entropy": choice + (1 - states["p_y"]) * others}


def _snapped(others: np.ndarray, most: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """[M] the others' entropy; at an end where rounding puts it beyond, NaN where more than rounding does."""
    others = np.where((others < 0) & (others >= -allowed), 0.0, others)
    others = np.where((others > most) & (others <= most + allowed), most, others)
    return np.where((others >= 0) & (others <= most), others, np.nan)


def _refuse_entropy(entropy: float, choice: float, most: float, states: dict[str, np.ndarray]) -> None:
    p_y = float(states["p_y"][0])
    raise QTargetError(
        f"sweep: an entropy of {entropy:g} nats cannot be reached at p_y = {p_y:g}, V = {states['vocabulary'][0]}: it "
        f"lies between H(p_y) = {choice:.4g} and H(p_y) + (1 - p_y) ln(V - 1) = {choice + (1 - p_y) * most:.4g}. Pass "
        "values between, or another p_y."
    )


def _binary_entropy(p_y: np.ndarray) -> np.ndarray:
    """[M] H(p_y) of label or not, nats."""
    p = torch.from_numpy(p_y)
    return (torch.special.entr(p) + torch.special.entr(1 - p)).numpy()


def _default_values(axis: str, numbers: dict[str, Any], subjects: Sequence[Subject], as_map: bool) -> np.ndarray:
    if axis in PROBABILITIES:
        return grids.probability_values(as_map)
    if axis == "vocabulary":
        return np.array(grids.VOCABULARIES)
    if axis == "others_entropy":
        return grids.entropy_values(0.0, math.log(numbers["vocabulary"] - 1), as_map)
    if axis == "entropy" and as_map:
        return grids.entropy_values(0.0, math.log(numbers["vocabulary"]), as_map)
    if axis == "entropy":
        p_y = numbers["p_y"]
        _check_probability("p_y", np.array([p_y]))
        low = float(_binary_entropy(np.array([float(p_y)]))[0])
        return grids.entropy_values(low, low + (1 - p_y) * math.log(numbers["vocabulary"] - 1), as_map)
    default = next((value for one in subjects if (value := one.default_of(axis)) is not None), None)
    if default is None:
        raise QTargetError(f"sweep: {axis} has no default to choose values around; pass values=[...].")
    found = grids.parameter_values(default, _common_range(axis, subjects))
    return found[found <= numbers["vocabulary"]] if axis == "top_k" else found


def _common_range(parameter: str, subjects: Sequence[Subject]) -> Range:
    """What all the losses allow."""
    ranges = [one.loss.ranges.get(parameter, Range()) for one in subjects if isinstance(one.loss, Variant)] or [Range()]
    low, high = max(one.low for one in ranges), min(one.high for one in ranges)
    return Range(
        low,
        high,
        any(one.low_open for one in ranges if one.low == low),
        any(one.high_open for one in ranges if one.high == high),
        any(one.integer for one in ranges),
    )


def _checked(axis: str, values: Any) -> np.ndarray:
    """[n] given values: finite numbers, none twice."""
    try:
        found = np.atleast_1d(np.asarray(values))
    except (TypeError, ValueError):
        found = np.array([None])
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise QTargetError(f"sweep: values of {axis} must be a list of finite numbers, not {values!r:.60}.")
    if len(np.unique(found)) < len(found):
        raise QTargetError(f"sweep: values of {axis} repeat; give each of them once.")
    return found


def _check_probability(name: str, values: np.ndarray) -> None:
    outside = ~((values > 0) & (values < 1))
    if outside.any():
        raise QTargetError(f"sweep: {name} must lie between 0 and 1, both left out, not be {values[outside][0]:g}.")


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
