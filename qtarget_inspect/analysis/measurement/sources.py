"""Sources: distributions that are softmaxes of a sum of logits, so that losses which pull to the same one share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtarget_inspect.core.state import MODEL
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction, RowFunction

Exponents = tuple[tuple[str, float], ...]
"""((model, e), ...): the distribution b proportional to the product of the models' probabilities to the powers e."""

SELF: Exponents = ((MODEL, 1.0),)
"""The model itself."""


def exponents_of(direction: Direction) -> Exponents | None:
    """The powers that a direction's distribution is a product of, b_k ~ prod_m p_m,k^e_m.

    Args:
        direction: any direction.

    Returns:
        The powers by model; () for the uniform; None for a distribution of another form, or a tilt.

    Examples:
        >>> exponents_of(directions.path(0.25)), exponents_of(directions.uniform()), exponents_of(directions.others())
        ((('logits', 0.75), ('teacher_logits', 0.25)), (), None)
    """
    if not isinstance(direction.rows, RowFunction):
        return None
    arguments = direction.rows.arguments
    for make, powers in _FORMS:
        if _is_made_by(make, arguments, direction):
            return tuple((name, power) for name, power in powers(*arguments) if power != 0)
    if _is_made_by(directions.power, arguments, direction) and arguments[0] > 0:
        return ((MODEL, float(arguments[0])),)
    return None


def renamed(key: Exponents, alias: Mapping[str, str]) -> Exponents:
    """A source in which models with the same logits have the same name.

    Args:
        key: the powers by model.
        alias: model -> the name of an earlier one with the same logits.

    Returns:
        The powers by model, those of equal models added.

    Examples:
        >>> renamed((("logits", 0.5), ("teacher_logits", 0.5)), {"teacher_logits": "logits"})
        (('logits', 1.0),)
    """
    powers: dict[str, float] = {}
    for name, power in key:
        own = alias.get(name, name)
        powers[own] = powers.get(own, 0.0) + power
    return tuple(powers.items())


_FORMS: tuple[tuple[Callable[..., Direction], Callable[..., Exponents]], ...] = (
    (directions.context_model, lambda name, temperature: ((name, 1 / temperature),)),
    (directions.path, lambda eta, to: ((MODEL, 1 - eta), (to, eta))),
    (directions.uniform, lambda: ()),
)


def _is_made_by(make: Callable[..., Direction], arguments: tuple[Any, ...], direction: Direction) -> bool:
    """Whether a constructor of the vocabulary makes this very direction of its arguments."""
    try:
        return make(*arguments) == direction
    except (TypeError, ValueError):  # the arguments are those of another constructor
        return False
