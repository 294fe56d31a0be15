"""Families of directions with one number to be found: powers, paths, temperatures, tilts by a mixture, top-k parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.state import MODEL
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction


@dataclass(frozen=True)
class Family:
    """Directions that share a formula and differ by a number.

    Args:
        name: what the number is called.
        make: number -> its directions (two where a loss always brings them together).
        grid: numbers to start from.
        whole: whether only whole numbers count.
        low: the number lies above.
        high: the number lies below.
        limits: numbers at which the family is the model itself, or another direction of the vocabulary.
    """

    name: str
    make: Callable[[float], tuple[Direction, ...]]
    grid: tuple[float, ...]
    whole: bool = False
    low: float = -math.inf
    high: float = math.inf
    limits: tuple[float, ...] = (0.0, 1.0)


POWERS = tuple(float(a) for a in np.geomspace(0.06, 40.0, 38) if abs(a - 1) > 0.02)
"""Exponents to start from; 0 is the uniform and 1 the model, which are no members of the family."""

SHARES = tuple(float(a) for a in np.linspace(0.04, 0.96, 24))
"""Shares and points on a path to start from."""

TOP = tuple(range(1, 129))
"""Every k is tried; a k above the vocabulary is the whole of it."""


def fixed_directions(context: Sequence[str]) -> tuple[Direction, ...]:
    """Directions without a number, in order of precedence among twins.

    Args:
        context: context that the loss can see.

    Returns:
        Label, the other models, uniform, tilts, nowhere.
    """
    models = [name for name in ("teacher_logits", "reference_logits", "old_logits") if name in context]
    return (
        directions.label(),
        *(directions.context_model(name) for name in models),
        directions.uniform(),
        directions.tilt(),
        *(directions.tilt(name) for name in models),
        *(directions.sign_tilt(name) for name in models),
        directions.nowhere(),
    )


def families(context: Sequence[str]) -> tuple[Family, ...]:
    """Families of directions, in order of precedence among twins.

    Args:
        context: context that the loss can see.

    Returns:
        Powers and top-k parts of the model, then of every other model paths, temperatures, mixtures and top-k parts.
    """
    models = [name for name in LOGIT_CONTEXT if name in context]
    found = [Family("exponent", lambda a: (directions.power(a),), POWERS)]
    for name in models:
        found += _of_model(name)
    found.append(_top_k(MODEL))
    return (*found, *(_top_k(name) for name in models))


def _of_model(name: str) -> list[Family]:
    """What lies between the model and another one, and the other one sharper or flatter."""
    etas = (-0.5, -0.25, *SHARES, 1.25, 1.5, 2.0)
    return [
        Family("eta", lambda a: (directions.path(a, name),), etas),
        Family("temperature", lambda a: (directions.context_model(name, a),), POWERS, low=0.0),
        Family("temperature", lambda a: (directions.context_model(name, a), directions.power(1 / a)), POWERS, low=0.0),
        Family("share", lambda a: (directions.mixture_tilt(a, name),), SHARES, low=0.0, high=1.0),
    ]


def _top_k(name: str) -> Family:
    """The most likely tokens of a model, renormalised."""
    return Family("top_k", lambda k: (directions.top_k(int(k), name),), TOP, whole=True, limits=())
