"""simplex_field(loss) -> SimplexField: where a loss moves p, for one label or for labels drawn from q*, at V = 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import make_population
from qtarget_inspect.analysis.population.points import FixedPoint
from qtarget_inspect.analysis.population.setting import make_setting
from qtarget_inspect.analysis.population.summary import STARTS
from qtarget_inspect.analysis.population.tolerances import SUMS_TO_ONE
from qtarget_inspect.analysis.population.verdict import Verdict
from qtarget_inspect.analysis.population.view import explore
from qtarget_inspect.analysis.simplex.edges import TOKENS, RestingEdge, resting_edges
from qtarget_inspect.analysis.simplex.lines import flow_lines
from qtarget_inspect.analysis.simplex.motion import on_simplex
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.checks import check_whole, is_whole
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.calling import parameters_of

EDGE = 0.01
"""How far inside the edge the lines begin."""


@dataclass(frozen=True, eq=False, repr=False)
class SimplexField:
    """The flow of a loss on the simplex of three tokens.

    Args:
        loss: its name.
        title: the variant's title, else the name.
        category: the variant's category, "" for other losses.
        label: the observed token, None where labels are drawn from q*.
        q_star: [3] the distribution of the labels; all on the label where there is one.
        p: [M, 3] the grid, inside the simplex.
        velocity: [M, 3] dp/dt there.
        q: [M, 3] the induced target there, in the unit gauge: p - g, or p - E[g].
        lines: flow lines, each [T, 3] probabilities from its start on.
        points: the fixed points that `fixed_points` finds; none where it fails, and why is in `reason`.
        edges: sides of the triangle that are at rest from end to end; points on them are some of many.
        verdict: that of `fixed_points` for q_star.
        reason: why.
        models: the models that the loss sees and that were given: "teacher" -> [3] probabilities.
        notes: what else is worth knowing about the points.
    """

    loss: str
    title: str
    category: str
    label: int | None
    q_star: Tensor
    p: Tensor
    velocity: Tensor
    q: Tensor
    lines: tuple[Tensor, ...]
    points: tuple[FixedPoint, ...]
    edges: tuple[RestingEdge, ...]
    verdict: Verdict
    reason: str
    models: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Loss, labels, sizes and verdict."""
        given = f"label {self.label}" if self.label is not None else f"q* {[round(x, 4) for x in self.q_star.tolist()]}"
        sizes = f"{len(self.p)} states, {len(self.lines)} lines, {len(self.points)} fixed points"
        return f"SimplexField({self.loss}, {given}: {sizes}; {self.verdict})"

    @property
    def at_rest(self) -> Tensor:
        """[M] bool, the states of the grid at which the gradient vanishes, to rounding."""
        return self.velocity.abs().amax(-1) <= 1e-12 * self.velocity.abs().max()


def simplex_field(
    loss: Any,
    label: int | None = None,
    q_star: Any = None,
    *,
    resolution: int = 12,
    starts: Any = None,
    **context: Any,
) -> SimplexField:
    """Where a loss moves a model of three tokens: arrows, flow lines and fixed points.

        dz/dt = v,    v = -g(z, y) for a label,  -E_{y~q*}[g] for a distribution of labels
        dp/dt = p (v - sum_k p_k v_k),    Q = p + v

    `fixed_points` says where the flow ends, for any vocabulary; this shows how it gets there. The flow is that of the
    logits themselves, each free to move: in a network, tokens and contexts share parameters.

    Args:
        loss: as `fixed_points` takes it; preference losses have no view at one context.
        label: the observed token, 0, 1 or 2; 0 where q_star is not given either.
        q_star: [3] probabilities of the labels, instead of a label.
        resolution: states along an edge of the grid, at least 3: (resolution - 1)(resolution - 2) / 2 lie inside.
        starts: [L, 3] probabilities, all above 0, from which lines begin; by default along the edges and inside.
        **context: as `fixed_points` takes it: `teacher_logits`, `reference_logits`, `old_logits` of shape [3], numbers
            for `advantages`, `weights`, `critical`.

    Returns:
        The field. For a label, points and verdict are those of a population in which every label is this one.

    Raises:
        QTargetError: an argument does not fit; the loss compares sequences, couples tokens, or draws random numbers.
        MissingContextError: the loss needs context that is not given.
        LossError: the loss cannot be differentiated, or has a gradient that is not finite.

    Examples:
        >>> field = simplex_field("dft", q_star=[0.5, 0.3, 0.2], resolution=4)
        >>> field
        SimplexField(dft, q* [0.5, 0.3, 0.2]: 3 states, 19 lines, 3 fixed points; collapsing)
        >>> [round(x, 4) for x in field.p[0].tolist()], [round(x, 4) for x in field.velocity[0].tolist()]
        ([0.5, 0.25, 0.25], [0.0234, -0.0086, -0.0148])
    """
    chosen = _labels(label, q_star)
    resolution = check_whole("resolution", resolution, TOKENS, "12 is usual")
    begin = _starts() if starts is None else _checked_starts(starts)
    with torch.inference_mode(False), torch.no_grad():
        try:
            setting = make_setting(loss, q_star if q_star is not None else chosen, context)
            if setting.vocabulary != TOKENS:
                raise QTargetError(f"q_star must have shape [3], but has [{setting.vocabulary}].")
            population = make_population(setting)
        except QTargetError as error:
            raise type(error)(str(error).replace("fixed_points", "simplex_field")) from error
        p = _grid(resolution)
        flow = population.field(len(p))(p.log())[0]  # [M, 3]
        velocity = on_simplex(p.log(), flow)
        lines = flow_lines(population, begin)
        edges = resting_edges(population, float(velocity.abs().max()))
        points, verdict, reason, notes = _points(loss, setting.q_star, context)
    variant, seen = setting.variant, parameters_of(setting.loss.function)
    return SimplexField(
        setting.loss.name,
        variant.title if variant else setting.loss.name,
        variant.category if variant else "",
        None if q_star is not None else int(chosen.argmax()),
        setting.q_star,
        p,
        velocity,
        p + flow,
        tuple(lines),
        points,
        edges,
        verdict,
        reason,
        {
            name.removesuffix("_logits"): setting.context[name].softmax(-1)
            for name in LOGIT_CONTEXT
            if name in seen and name in setting.context
        },
        notes,
    )


def _points(
    loss: Any, q_star: Tensor, context: Mapping[str, Any]
) -> tuple[tuple[FixedPoint, ...], Verdict, str, tuple[str, ...]]:
    """Fixed points, verdict, reason and notes; a loss whose points cannot be found still has its arrows."""
    try:
        found = explore(loss, q_star, STARTS, context=context)[0]
    except QTargetError as error:
        return (), "undetermined", str(error).splitlines()[0], ()
    return found.points, found.verdict, found.reason, found.notes


def _labels(label: Any, q_star: Any) -> Tensor:
    """[3] one-hot of the label; the first token where nothing is given."""
    if label is not None and q_star is not None:
        raise QTargetError("simplex_field takes a label or a q_star, not both.")
    if label is not None and (not is_whole(label) or not 0 <= label < TOKENS):
        raise QTargetError(f"label must be 0, 1 or 2, one of three tokens, not {label!r}; or pass q_star=[...].")
    return torch.eye(TOKENS, dtype=torch.float64)[int(label or 0)]


def _grid(resolution: int) -> Tensor:
    """[M, 3] states (i, j, k) / resolution that lie inside."""
    whole = range(1, resolution)
    inside = [(i, j, resolution - i - j) for i in reversed(whole) for j in reversed(whole) if i + j < resolution]
    return torch.tensor(inside, dtype=torch.float64) / resolution


def _starts() -> Tensor:
    """[L, 3] where lines begin: five states along each edge, a little inside, and four inside."""
    edge = [
        [(1 - EDGE) * share, (1 - EDGE) * (1 - share), EDGE]
        for share in torch.linspace(0.02, 0.98, 5, dtype=torch.float64).tolist()
    ]
    along = torch.tensor(edge, dtype=torch.float64)
    middle = torch.full((1, TOKENS), 1 / TOKENS, dtype=torch.float64)
    return torch.cat([along, along.roll(1, -1), along.roll(2, -1), torch.eye(TOKENS).to(middle) / 4 + 0.25, middle])


def _checked_starts(starts: Any) -> Tensor:
    try:
        given = torch.as_tensor(starts, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise QTargetError(f"starts must be [L, 3] probabilities, not {starts!r:.60}.") from error
    if given.ndim != 2 or given.shape[1] != TOKENS or len(given) == 0:
        raise QTargetError(f"starts must have shape [L, 3], but have {list(given.shape)}; pass e.g. [[0.2, 0.5, 0.3]].")
    if not bool((given > 0).all()) or float((given.sum(-1) - 1).abs().max()) > SUMS_TO_ONE:
        raise QTargetError("starts must lie inside the simplex: probabilities above 0 that sum to 1.")
    return given
