"""Edges: sides of the triangle on which every state is at rest, since no label that is drawn trains there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Population
from qtarget_inspect.analysis.population.tolerances import DEEP
from qtarget_inspect.analysis.simplex.motion import on_simplex
from qtarget_inspect.core.errors import LossError

TOKENS = 3

_PLACES = (0.15, 0.5, 0.85)

_NEAR = 0.02  # how far off the edge the flow is looked at to see whether it comes back

_REST = 1e-12  # of the fastest motion on the simplex


@dataclass(frozen=True)
class RestingEdge:
    """A side of the triangle that is at rest from end to end.

    Args:
        tokens: the two tokens that are alive on it.
        kind: "stable" where states next to it flow to it, "unstable" where they flow away, "neutral" where they rest
            too, or go both ways.
    """

    tokens: tuple[int, int]
    kind: str


def resting_edges(population: Population, fastest: float) -> tuple[RestingEdge, ...]:
    """The sides of the triangle that are at rest.

    DFT on one label leaves every state at which p_y = 0 where it is, and unlikelihood moves every state there.

    Args:
        population: loss, labels and context, V = 3.
        fastest: the largest |dp/dt| on the grid.

    Returns:
        The edges; none where the loss is no number there.
    """
    found: list[RestingEdge] = []
    for gone in range(TOKENS) if fastest > 0 else ():
        alive = [token for token in range(TOKENS) if token != gone]
        try:
            on_edge = _motion(population, _states(alive, -DEEP))
            beside = _motion(population, _states(alive, torch.tensor(_NEAR).log().item()))
        except LossError:
            continue
        if float(on_edge.abs().max()) <= _REST * fastest:
            found.append(RestingEdge((alive[0], alive[1]), _kind(beside[:, gone], fastest)))
    return tuple(found)


def _kind(away: Tensor, fastest: float) -> str:
    """What the motion [3] of the third token's probability, next to the edge, makes of the edge."""
    if bool((away > _REST * fastest).all()):
        return "unstable"
    return "stable" if bool((away < -_REST * fastest).all()) else "neutral"


def _states(alive: list[int], log_p_gone: float) -> Tensor:
    """[3, 3] logits of states along an edge, the third token so many nats down."""
    logits = torch.full((len(_PLACES), TOKENS), log_p_gone, dtype=torch.float64)
    places = torch.tensor(_PLACES, dtype=torch.float64)
    logits[:, alive] = torch.stack([places, 1 - places], -1).log()
    return logits


def _motion(population: Population, logits: Tensor) -> Tensor:
    """[M, 3] dp/dt."""
    return on_simplex(logits, population.field(len(logits))(logits)[0])
