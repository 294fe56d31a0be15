"""Attractors: the directions that pulls are fitted over, from their names."""

from __future__ import annotations

from collections.abc import Sequence

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction

_BY_NAME = {
    "label": directions.label,
    "uniform": directions.uniform,
    "reference": directions.reference,
    "teacher": directions.teacher,
    "old_policy": directions.old_policy,
    "others": directions.others,
    "nowhere": directions.nowhere,
}


def default_attractors(batch: TokenBatch) -> tuple[Direction, ...]:
    """Label, uniform, and the distributions that the batch holds.

    Args:
        batch: the tokens.

    Returns:
        The directions, label first.
    """
    held = [directions.context_model(name) for name in LOGIT_CONTEXT if getattr(batch, name) is not None]
    return (directions.label(), directions.uniform(), *held)


def choose_attractors(
    attractors: Sequence[str | Direction] | None, batch: TokenBatch, loses_mass: bool = False
) -> tuple[Direction, ...]:
    """Directions from names or directions; the default where nothing is said.

    Args:
        attractors: names ("label", "uniform", "reference", "teacher", "old_policy", "others", "nowhere") or
            `Direction`s.
        batch: the tokens.
        loses_mass: whether Q does not sum to 1; then the default holds "nowhere" too.

    Returns:
        The directions.

    Raises:
        QTargetError: a name is unknown, or the label is missing.
    """
    if isinstance(attractors, str):
        raise QTargetError(f"attractors must be a list of names or Directions, not the text {attractors!r}.")
    if attractors is None:
        return default_attractors(batch) + ((directions.nowhere(),) if loses_mass else ())
    chosen = []
    for attractor in attractors:
        if isinstance(attractor, str) and attractor not in _BY_NAME:
            raise QTargetError(
                f"no attractor is named {attractor!r}; named are {', '.join(_BY_NAME)}, or pass a Direction."
            )
        if not isinstance(attractor, str | Direction):
            raise QTargetError(f"an attractor is a name or a Direction, not {attractor!r}.")
        chosen.append(_BY_NAME[attractor]() if isinstance(attractor, str) else attractor)
    if "label" not in [direction.name for direction in chosen]:
        raise QTargetError("attractors must include 'label': gamma is the pull to it.")
    if len({direction.name for direction in chosen}) < len(chosen):
        raise QTargetError(f"attractors name a direction twice: {', '.join(direction.name for direction in chosen)}.")
    return tuple(chosen)
