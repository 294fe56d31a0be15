"""Field: the expected gradient E_{y~q*}[g] as a function of the state, by the closed form or the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.setting import Setting
from qtarget_inspect.analysis.population.tolerances import DEEP, SLOWDOWN, STATIONARY, WINDOW
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.core.numerics import log_one_minus_label_prob
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.gradients import own_random_numbers
from qtarget_inspect.engine.plan import make_plan
from qtarget_inspect.engine.running import run
from qtarget_inspect.vocabulary.pulls import Pulls

Gradient = Callable[[Tensor], Tensor]
"""[M, V] states -> [M, K, V] per-token gradients, one for every label that is drawn. M is fixed."""

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""[M, V] states -> ([M, V] -E[g], [M] size of a typical gradient). M is fixed."""

SEED = 0


@dataclass(frozen=True, eq=False)
class Population:
    """A setting that has been tried: what its field keeps, and how exact it is.

    Args:
        setting: loss, labels and context.
        shift_invariant: whether adding a constant to the logits changes nothing; then constants are projected out.
        dtype: the type whose rounding is in the gradients, float32 for a loss that casts to it inside.
        scale: size of a typical gradient, the median over states.
    """

    setting: Setting
    shift_invariant: bool
    dtype: torch.dtype
    scale: float

    def field(self, states: int) -> Field:
        """The field for batches of a number of states.

        Args:
            states: M.

        Returns:
            The function: [M, V] -> -E[g] [M, V], free of constants where they do nothing, and sizes [M].
        """
        gradients = gradient_function(self.setting, 3 * states)
        weights = self.setting.q_star[self.setting.labels]  # [K]
        step = _neighbour_step(self.setting.vocabulary)

        def evaluate(logits: Tensor) -> tuple[Tensor, Tensor]:
            g = gradients(torch.cat([logits, logits + step, logits - step]))  # [3 M, K, V]
            here, *near = g.split(states)
            flow = -(weights @ here)  # [M, V]
            if self.shift_invariant:
                flow = flow - flow.mean(-1, keepdim=True)
            sizes = [one.abs().sum(-1) @ weights for one in near]  # [M] each
            return flow, (sizes[0] + sizes[1]) / 2

        return evaluate

    def velocity(self, states: int) -> Gradient:
        """The flow in a time of its own: -E[g] over the size of a typical gradient, so that nothing is slow.

        Each state's velocity is divided by a positive number, which changes when it gets somewhere and not where. The
        size is taken one nat to either side, so that it vanishes only where nothing nearby moves. Within e^-WINDOW of a
        vertex the flow is slowed instead: p has arrived, and rounding would take over.

        Args:
            states: M.

        Returns:
            The function [M, V] -> [M, V].
        """
        field = self.field(states)

        def evaluate(logits: Tensor) -> Tensor:
            flow, size = field(logits)
            slow = torch.sigmoid(SLOWDOWN * (WINDOW[self.dtype] - nats_to_vertex(logits)))
            slow = slow * torch.sigmoid(SLOWDOWN * (DEEP - logits.amax(-1) + logits.amin(-1)))
            return torch.where(size > 0, slow / size, 0.0).unsqueeze(-1) * flow

        return evaluate


def gradient_function(setting: Setting, states: int) -> Gradient:
    """Per-token gradients for batches of a number of states, with everything found out beforehand.

    Args:
        setting: loss, labels and context.
        states: M.

    Returns:
        The function [M, V] -> [M, K, V]; it raises LossError where a gradient is not finite.

    Raises:
        QTargetError: the loss draws random numbers, or couples tokens across sequences.
    """
    kinds, vocabulary = setting.labels.numel(), setting.vocabulary
    pulls = setting.variant.pulls if setting.method == "closed-form" and setting.variant is not None else None
    compute = _by_pulls(pulls) if pulls is not None else _by_engine(setting, states)

    def evaluate(logits: Tensor) -> Tensor:
        g = compute(setting.batch(logits))
        if not bool(torch.isfinite(g.sum())):
            bad = ~torch.isfinite(g.sum(-1)).view(-1, kinds).all(-1)
            raise LossError(
                f"{setting.loss.name} has a gradient that is not finite at log p = "
                f"{[round(x, 3) for x in logits[bad][0].log_softmax(-1).tolist()[:8]]}."
            )
        return g.view(-1, kinds, vocabulary)

    return evaluate


def _by_pulls(pulls: Pulls) -> Callable[[TokenBatch], Tensor]:
    def compute(batch: TokenBatch) -> Tensor:
        size = rows_per_chunk(batch.vocabulary, torch.float64, batch.logits.device)
        parts = [State(batch.select(rows)) for rows in row_chunks(len(batch), size)]
        return torch.cat([pulls.gradient(part, pulls.weights(part)) for part in parts])

    return compute


def _by_engine(setting: Setting, states: int) -> Callable[[TokenBatch], Tensor]:
    """The engine's plan for a batch of this size, made once; then only gradients are taken."""
    variant = setting.variant
    template = setting.batch(random_states(states, setting.vocabulary, SEED).log())
    coupling = variant.coupling if variant is not None else None
    plan, carrying = make_plan(setting.loss, template, "auto", setting.method, torch.float64, None, False, coupling)
    if plan.found.random:
        raise QTargetError(
            f"fixed_points: {setting.loss.name} draws random numbers, or keeps a state between calls: its flow is not "
            "determined. Take the expectation inside the loss."
        )
    out = torch.empty_like(template.logits)
    with own_random_numbers(template.logits.device):
        done = run(plan, carrying, out, "g").plan
    if done.coupled is not None and coupling is None:
        raise QTargetError(
            f"fixed_points: {setting.loss.name} couples its tokens ({done.coupled}), so a single context has no "
            "expected gradient of its own. Return one value a token."
        )
    done = replace(done, settled=True)

    def compute(batch: TokenBatch) -> Tensor:
        gradient = torch.empty_like(batch.logits)
        run(done, batch, gradient, "g")
        return gradient

    return compute


def make_population(setting: Setting) -> Population:
    """Try a setting on a few states: do constants matter, are tokens apart, how exact is it.

    Args:
        setting: loss, labels and context.

    Returns:
        The population.

    Raises:
        QTargetError: the gradient of a token depends on which others are in the batch.
    """
    states = _spread_states(setting.vocabulary)
    gradients = gradient_function(setting, len(states))
    g = gradients(states)  # [M, K, V]
    sizes = g.abs().sum(-1).amax(-1)
    scale = float(sizes[sizes > 0].median()) if bool((sizes > 0).any()) else 0.0
    largest = float(g.abs().amax())
    alone = gradient_function(setting, 1)(states[2:3])
    if float((alone - g[2:3]).abs().amax()) > STATIONARY[torch.float32] * largest:
        raise QTargetError(
            f"fixed_points: the gradient that {setting.loss.name} has at one context changes with what else is in the "
            "batch: it couples its tokens, and has no population view at one context."
        )
    dtype = _working_dtype(gradients, states, g)
    shifted = gradients(states + 2.0)
    invariant = float((shifted - g).abs().amax()) <= 10 * STATIONARY[dtype] * largest
    return Population(setting, invariant, dtype, scale)


def _working_dtype(gradients: Gradient, states: Tensor, g: Tensor) -> torch.dtype:
    """float32 where a nudge far below its rounding changes nothing, and a larger one does: the loss casts inside."""
    nudge = torch.linspace(-1, 1, states.shape[-1], dtype=states.dtype)
    casts = torch.equal(gradients(states + 1e-10 * nudge), g) and not torch.equal(gradients(states + 1e-3 * nudge), g)
    return torch.float32 if casts else torch.float64


def random_states(states: int, vocabulary: int, seed: int) -> Tensor:
    """States drawn evenly from the simplex (Dirichlet with all parameters 1).

    Args:
        states: M.
        vocabulary: V.
        seed: of the generator.

    Returns:
        [M, V] probabilities, all above 0.
    """
    generator = torch.Generator().manual_seed(seed)
    exponential = -torch.rand(states, vocabulary, generator=generator, dtype=torch.float64).clamp(min=1e-12).log()
    exponential = exponential.clamp(min=1e-12)
    return exponential / exponential.sum(-1, keepdim=True)


def nats_to_vertex(logits: Tensor) -> Tensor:
    """How near a state is to a vertex: -log(1 - max p).

    Args:
        logits: [M, V].

    Returns:
        [M] nats, >= 0.
    """
    top = logits.argmax(-1)
    return -log_one_minus_label_prob(logits, top)


def _spread_states(vocabulary: int) -> Tensor:
    """[M, V] logits of states all over the simplex: eight random ones, then some near a vertex."""
    near = 3.0 * torch.eye(vocabulary, dtype=torch.float64)[:8] * max(1.0, math.log(vocabulary) / 2)
    return torch.cat([random_states(8, vocabulary, SEED).log(), near.log_softmax(-1)])


def _neighbour_step(vocabulary: int) -> Tensor:
    """[V] one nat up and down in turn."""
    return 1.0 - 2.0 * (torch.arange(vocabulary, dtype=torch.float64) % 2)
