"""Fixed points: where the flow of a loss's expected gradient takes a model at one context, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Population, gradient_function, make_population, random_states
from qtarget_inspect.analysis.population.flow import Flow
from qtarget_inspect.analysis.population.points import FixedPoint, find_points, short
from qtarget_inspect.analysis.population.setting import Setting, make_setting
from qtarget_inspect.analysis.population.stationary import VERTICES_UP_TO
from qtarget_inspect.analysis.population.tolerances import SUMS_TO_ONE
from qtarget_inspect.analysis.population.verdict import Verdict, judge, total_variation
from qtarget_inspect.core.checks import check_whole, is_whole
from qtarget_inspect.core.errors import QTargetError

STARTS, FEW_STARTS = 32, 12
"""Starts where the user names no number: on up to MANY_TOKENS tokens, and on more."""

MANY_TOKENS = 8

SHOWN = 12
"""Points that the text lists; a field with jumps may seem to rest along a whole line."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """What a loss teaches when labels are drawn from q* at one context.

    Args:
        loss: its name.
        q_star: [V] the distribution of the labels.
        points: every point that was found, those that most starts reach first.
        verdict: one word, defined in `fixed_points`.
        reason: why, in a sentence with numbers.
        starts: [M, V] probabilities from which the flow was followed.
        ends: [M, V] probabilities at which it ended.
        settled: [M] bool, where it came to rest.
        method: how the gradient was taken.
        notes: what else is worth knowing.
    """

    loss: str
    q_star: Tensor
    points: tuple[FixedPoint, ...]
    verdict: Verdict
    reason: str
    starts: Tensor = field(repr=False)
    ends: Tensor = field(repr=False)
    settled: Tensor = field(repr=False)
    method: str = "closed-form"
    notes: tuple[str, ...] = ()

    @property
    def stable(self) -> tuple[FixedPoint, ...]:
        """The stable points, those that most starts reach first."""
        return tuple(point for point in self.points if point.stable)

    @property
    def learned(self) -> Tensor | None:
        """[V] the stable point that most starts reach; None where there is none."""
        return self.stable[0].p if self.stable else None

    @property
    def total_variation(self) -> float:
        """Total variation between the learned distribution and q*, in [0, 1]; NaN where nothing is learned."""
        return total_variation(self.learned, self.q_star) if self.learned is not None else float("nan")

    @property
    def text(self) -> str:
        """Verdict, reason, and a line a point."""
        lines = [f"{self.loss}: {self.verdict}: {self.reason}", f"  q*        {short(self.q_star)}"]
        shown = self.points if len(self.points) <= SHOWN else sorted(self.points, key=_is_unstable)[:SHOWN]
        for point in shown:
            stable = "stable" if point.stable else "unstable"
            lines.append(
                f"  {point.kind:<9} {short(point.p)}  {stable}, {point.basin:.0%} of {len(self.starts)} starts"
            )
        if len(self.points) > len(shown):
            lines.append(f"  and {len(self.points) - len(shown)} more, in .points")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        """The text."""
        return self.text


def _is_unstable(point: FixedPoint) -> bool:
    return not point.stable


def fixed_points(
    loss: Any, q_star: Any, starts: Any = None, *, method: str = "auto", seed: int = 0, **context: Any
) -> FixedPoints:
    """Where a loss drives a model whose labels are drawn from q* at one context.

        dz/dt = -E_{y~q*}[g(z, y)],    p = softmax(z)

    The flow is followed from many starts, and E[g] = 0 is solved for from its ends, from other states, and on the faces
    of a small simplex, so that unstable points are found too. Time runs so that a typical gradient is 1: a slow loss
    ends where a fast one does. Inside the simplex the Jacobian decides on stability, where no eigenvalue vanishes;
    vertices and faces are judged by pushing p off them and following it.

    The gradient counts as it is, stop-gradients included: the field need not be the gradient of anything. Every token
    is a sequence of its own; `old_logits` are the current ones unless given; `advantages`, `weights` and `critical` are
    1 unless given; a `top_k` is cut to V by the losses that have one.

    The verdict, for the stable points that were found:

    * multi-stable: several, or a continuum inside the simplex: the start decides.
    * collapsing: one, where a label dies out though q*_y > 0 (a vertex or a face); a continuum on a face counts.
    * proper: one, p = q*, within a total variation of 1e-7 (1e-4 for a loss that computes in float32).
    * anchored: one, p != q*, which moves with the teacher, reference or old policy that was given.
    * sharpening: one, none of these; p keeps the order of q* and majorises it (its k largest entries sum to no less,
      for every k).
    * flattening: the same with q* majorising p.
    * mixed: one, none of these.
    * undetermined: nothing moves, more than a tenth of the starts had not settled, or nothing stable was found.

    It is a verdict about this q* and this context: for a uniform q* every power of it is proper. A stable point with
    a basin that no start lies in, off the faces looked at, is not found.

    Args:
        loss: as `invert` takes it; preference losses have no view at one context.
        q_star: [V] probabilities of the labels.
        starts: how many starts, drawn evenly from the simplex (32; 12 for V > 8); or [M, V] probabilities, all above 0.
        method: "auto" (the closed form of a registered variant, torch.func for a callable), "closed-form",
            "torch.func" or "autograd".
        seed: of the starts that are drawn.
        **context: `teacher_logits`, `reference_logits`, `old_logits` of shape [V]; numbers for `advantages`, `weights`,
            `critical`.

    Returns:
        The points with stability, basin (share of the starts) and kind, and the verdict.

    Raises:
        QTargetError: an argument does not fit; the loss compares sequences, couples tokens, or draws random numbers.
        MissingContextError: the loss needs context that is not given.
        LossError: the loss cannot be differentiated, or has a gradient that is not finite.

    Examples:
        >>> import qtarget_inspect as qt
        >>> found = qt.fixed_points("beyond-log(alpha=0.5)", [0.5, 0.3, 0.2])
        >>> found.verdict, found.learned.mul(38).round(decimals=6).tolist()
        ('sharpening', [25.0, 9.0, 4.0])
        >>> qt.fixed_points("dft", [0.5, 0.3, 0.2], starts=8)
        dft: collapsing: p runs to [1, 0, 0]: tokens 1, 2 die out though q* holds them
          q*        [0.5, 0.3, 0.2]
          vertex    [1, 0, 0]  stable, 100% of 8 starts
          vertex    [0, 1, 0]  unstable, 0% of 8 starts
          vertex    [0, 0, 1]  unstable, 0% of 8 starts
    """
    return explore(loss, q_star, starts, method=method, seed=seed, context=context)[0]


def explore(
    loss: Any,
    q_star: Any,
    starts: Any = None,
    *,
    method: str = "auto",
    seed: int = 0,
    context: Mapping[str, Any] | None = None,
) -> tuple[FixedPoints, Population]:
    """`fixed_points`, with the population that it was found on, for what goes on to evaluate the field.

    Args:
        loss: as `fixed_points` takes it.
        q_star: [V] probabilities.
        starts: a number, [M, V] probabilities, or None.
        method: as `fixed_points` takes it.
        seed: of the starts.
        context: what `fixed_points` takes by keyword.

    Returns:
        The points and the population.
    """
    setting = make_setting(loss, q_star, context or {}, method)
    begin = _starts(starts, setting.vocabulary, seed)
    with torch.inference_mode(False), torch.no_grad():
        population = make_population(setting)
        points: tuple[FixedPoint, ...]
        if population.scale == 0:
            flow = Flow(begin.log(), torch.ones(len(begin), dtype=torch.bool))
            points, rerouted = (), 0
        else:
            points, flow, rerouted = find_points(population, begin.log())
        verdict, reason = judge(points, flow, population)
        notes = tuple(_notes(points, flow, rerouted, population))
    used = setting.method if setting.method != "auto" else "torch.func"
    ends, name = flow.p, setting.loss.name
    found = FixedPoints(name, setting.q_star, points, verdict, reason, begin, ends, flow.settled, used, notes)
    return found, population


def _starts(starts: Any, vocabulary: int, seed: int) -> Tensor:
    """[M, V] probabilities to start from."""
    if starts is None:
        starts = STARTS if vocabulary <= MANY_TOKENS else FEW_STARTS
    if is_whole(starts):
        return random_states(
            check_whole("starts", starts, 1, "pass e.g. starts=32"), vocabulary, check_whole("seed", seed)
        )
    try:
        given = torch.as_tensor(starts, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise QTargetError(f"starts must be a number or [M, V] probabilities, not {starts!r:.60}.") from error
    if given.ndim != 2 or given.shape[1] != vocabulary or given.shape[0] == 0:
        raise QTargetError(
            f"starts must be a number or probabilities of shape [M, {vocabulary}], but has shape {list(given.shape)}."
        )
    if not bool((given > 0).all()) or float((given.sum(-1) - 1).abs().max()) > SUMS_TO_ONE:
        raise QTargetError(
            "starts must lie inside the simplex: probabilities above 0 that sum to 1. A token of probability 0 never "
            "comes back; use a small number."
        )
    return given


def _notes(points: tuple[FixedPoint, ...], flow: Flow, rerouted: int, population: Population) -> list[str]:
    setting: Setting = population.setting
    notes = []
    moving = int((~flow.settled).sum())
    if moving:
        notes.append(f"{moving} of {len(flow.settled)} starts had not settled; they count for no basin")
    if rerouted:
        notes.append(
            f"{rerouted} of {len(flow.settled)} starts come so near to an unstable point that its way out is lost in "
            "rounding; they count to the stable point that every push off it leads to"
        )
    if any(point.residual != point.residual and point.kind != "vertex" for point in points):
        notes.append(
            "at a point that is the flow's end no root of E[g] was found: the gradient jumps there (a threshold), and "
            "the point is good to three digits"
        )
    if any(point.kind == "continuum" for point in points):
        notes.append("of a continuum one point is shown, and its basin is that of all of it")
    if any(_is_dead(point, population) for point in points):
        notes.append("the continuum is a dead region: no label trains there, and starts stay where they are")
    if not population.shift_invariant:
        notes.append("the loss depends on the sum of the logits: starts have logsumexp(z) = 0")
    elif setting.vocabulary > VERTICES_UP_TO:
        notes.append(f"V > {VERTICES_UP_TO}: on the boundary, only points that the flow reaches were looked for")
    if population.dtype == torch.float32:
        notes.append("the loss computes in float32: points are good to about four digits")
    if setting.variant is not None and setting.variant.coupling:
        notes.append(f"coupled by {setting.variant.coupling}: here every token is a sequence of its own")
    return notes


def _is_dead(point: FixedPoint, population: Population) -> bool:
    """Whether a continuum is one because no label trains there."""
    if point.kind != "continuum" or not bool((point.p > 0).all()):
        return False
    return not bool((gradient_function(population.setting, 1)(point.p.log().unsqueeze(0)) != 0).any())
