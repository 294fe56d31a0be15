"""Flow: dz/dt = -E_{y~q*}[g] from many starts at once, in a time of its own, to where p no longer moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Gradient, Population, nats_to_vertex
from qtarget_inspect.analysis.population.tolerances import (
    AT_REST,
    DIFFERENCE,
    FLOW_ABSOLUTE,
    FLOW_END,
    FLOW_RELATIVE,
    FLOW_STEPS,
    SAME_POINT,
    SETTLED,
    SMALL_STEPS,
    SUPPORT,
    WELL_INSIDE,
    WINDOW,
)
from qtarget_inspect.core.errors import LossError

if TYPE_CHECKING:
    import scipy.sparse

_LOOK = 10  # steps after which states at rest are looked for

_BETWEEN = np.linspace(0.125, 1, 8)  # shares of a step at which a watched flow is looked at

_CRAWL = 100  # steps in which the time grows by less than a hundredth: the gradient jumps here


@dataclass(frozen=True, eq=False)
class Flow:
    """Where starts flow to.

    Args:
        logits: [M, V] the ends; what has died out lies far below, what runs to a vertex far apart.
        settled: [M] bool, where p no longer moves.
    """

    logits: Tensor
    settled: Tensor

    @property
    def p(self) -> Tensor:
        """[M, V] the ends as probabilities."""
        return self.logits.softmax(-1)


Watch = Callable[[Tensor], None]
"""Is shown [M, V] logits of all starts, one time after the other."""


def follow(population: Population, starts: Tensor, watch: Watch | None = None) -> Flow:
    """Follow the flow from many starts.

    All starts are one stiff system whose Jacobian is block diagonal (scipy's BDF). Where the gradient jumps its steps
    begin to crawl, and may cycle where it turns: what has not settled then goes on in small explicit steps that get
    shorter, and has settled where it comes to rest.

    Args:
        population: loss, labels and context.
        starts: [M, V] logits.
        watch: is shown what lies between starts and ends.

    Returns:
        The ends.
    """
    logits, settled = _integrate(population, starts, watch)
    rest = (~settled).nonzero().squeeze(-1)
    if rest.numel():
        watch_rest = None if watch is None else lambda rows: watch(logits.index_copy(0, rest, rows))
        logits[rest], settled[rest] = _small_steps(population, logits[rest], watch_rest)
    return Flow(logits, settled)


def _integrate(population: Population, starts: Tensor, watch: Watch | None) -> tuple[Tensor, Tensor]:
    """Ends [M, V] and which of them have settled [M], when all have or the steps run out or begin to crawl."""
    import scipy.integrate  # takes a while, so not on import

    shape, velocity = starts.shape, population.velocity(len(starts))
    moving = torch.ones(len(starts), 1, dtype=torch.bool)  # states at rest are held, so that they cost no steps

    def right_side(_: float, y: np.ndarray) -> np.ndarray:
        return (velocity(torch.from_numpy(y).view(shape)) * moving).flatten().numpy()

    def jacobian(_: float, y: np.ndarray) -> scipy.sparse.csc_matrix:
        return _block_diagonal(_blocks(velocity, torch.from_numpy(y).view(shape)) * moving.unsqueeze(-1))

    solver = scipy.integrate.BDF(
        right_side, 0.0, starts.flatten().numpy(), FLOW_END, rtol=FLOW_RELATIVE, atol=FLOW_ABSOLUTE, jac=jacobian
    )
    ends, mark = starts.clone(), 0.0
    for step in range(1, FLOW_STEPS + 1):
        before = solver.y
        try:
            with np.errstate(all="ignore"):
                solver.step()
        except LossError:  # a trial step left the states at which the loss is a number
            break
        if not np.isfinite(solver.y).all():
            solver.y = before
            break
        if watch is not None:
            between = solver.dense_output()
            for time in solver.t_old + _BETWEEN * (solver.t - solver.t_old):
                watch(torch.from_numpy(between(time)).view(shape))
        if solver.status != "running":
            break
        if step % _LOOK == 0:
            logits = torch.from_numpy(solver.y.copy()).view(shape)
            arrived = moving & _at_rest(velocity(logits), logits, population).unsqueeze(-1)
            ends = torch.where(arrived, logits, ends)  # the integrator may carry what is held a little further
            moving &= ~arrived
            if not bool(moving.any()) or (step % _CRAWL == 0 and solver.t < 1.01 * mark):
                break
            mark = solver.t if step % _CRAWL == 0 else mark
    logits = torch.where(moving, torch.from_numpy(solver.y.copy()).view(shape), ends)
    settled = ~moving.squeeze(-1) | bool(solver.t >= FLOW_END) | _settled(velocity(logits), logits, float(solver.t))
    return logits, settled


def _at_rest(v: Tensor, logits: Tensor, population: Population) -> Tensor:
    """[M] bool: at a point well inside the simplex, or as near to its boundary as the flow goes."""
    p = logits.softmax(-1)
    speed = p * (v - (p * v).sum(-1, keepdim=True)).abs()
    inside = (v.abs().amax(-1) < AT_REST) & (p.amin(-1) > WELL_INSIDE)
    return inside | ((nats_to_vertex(logits) > WINDOW[population.dtype]) & (speed.amax(-1) < SUPPORT[population.dtype]))


def _small_steps(population: Population, logits: Tensor, watch: Watch | None) -> tuple[Tensor, Tensor]:
    """Ends [M, V] after explicit steps of 0.1 / (1 + n / 100)^1.5, and whether p stood still over the last third."""
    velocity = population.velocity(len(logits))
    before = logits
    try:
        for n in range(SMALL_STEPS):
            if n == 2 * SMALL_STEPS // 3:
                before = logits
            logits = logits + 0.1 / (1 + n / 100) ** 1.5 * velocity(logits)
            if watch is not None:
                watch(logits)
    except LossError:
        return logits, torch.zeros(len(logits), dtype=torch.bool)
    moved = 0.5 * (logits.softmax(-1) - before.softmax(-1)).abs().sum(-1)
    return logits, moved < 2 * SAME_POINT


def _blocks(velocity: Gradient, logits: Tensor) -> Tensor:
    """[M, V, V] derivatives dv_i / dz_j of each state by itself, by forward differences."""
    base = velocity(logits)
    columns = []
    for j in range(logits.shape[-1]):
        moved = logits.clone()
        moved[:, j] += DIFFERENCE
        columns.append((velocity(moved) - base) / DIFFERENCE)
    return torch.stack(columns, -1)


def _block_diagonal(blocks: Tensor) -> scipy.sparse.csc_matrix:
    """[M V, M V] sparse matrix of blocks [M, V, V]."""
    import scipy.sparse

    states, size, _ = blocks.shape
    bsr = scipy.sparse.bsr_matrix(
        (blocks.numpy(), np.arange(states), np.arange(states + 1)), shape=(states * size, states * size)
    )
    return bsr.tocsc()


def _settled(v: Tensor, logits: Tensor, time: float) -> Tensor:
    """[M] bool, where p would move by less than SETTLED while the time grows e-fold."""
    p = logits.softmax(-1)
    moving = 0.5 * (p * (v - (p * v).sum(-1, keepdim=True))).abs().sum(-1)  # total variation per time
    return (moving * time < SETTLED) & (time > 1e3)
