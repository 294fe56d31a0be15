"""Lines: the flow of a population followed across the simplex, as polylines of even spacing."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Population
from qtarget_inspect.analysis.population.flow import follow

SPACING = 0.005
"""Distance of neighbouring points of a line, about; thinner than a printed line is wide."""


def flow_lines(population: Population, starts: Tensor) -> list[Tensor]:
    """Follow the flow from every start to where p comes to rest.

    The flow is followed as for the fixed points, in a time of its own in which nothing is slow: the curve is the same,
    and how long p takes for a piece of it is not to be seen.

    Args:
        population: loss, labels and context.
        starts: [L, V] probabilities, all above 0.

    Returns:
        L lines [T, V] of probabilities, each with its start; a start at which nothing moves is a line of one point.
    """
    path = [starts]
    if population.scale > 0:
        end = follow(population, starts.log(), lambda logits: path.append(logits.softmax(-1)))
        path.append(end.p)
    return [_thinned(line) for line in torch.stack(path, 1)]


def _thinned(line: Tensor) -> Tensor:
    """[T, V] points of a line that lie SPACING apart; the first and the last are kept."""
    steps = (line[1:] - line[:-1]).norm(dim=-1)
    place = torch.cat([torch.zeros(1, dtype=line.dtype), steps.cumsum(0)]) / SPACING  # lengths along the line
    new = torch.cat([torch.ones(1, dtype=torch.bool), place[1:].floor() > place[:-1].floor()])
    if float((line[new][-1] - line[-1]).norm()) > SPACING / 2:
        new[-1] = True
    return line[new]
