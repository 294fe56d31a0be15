"""Verdict: what a loss does to the distribution of its labels, in one word with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import Population
from qtarget_inspect.analysis.population.flow import Flow
from qtarget_inspect.analysis.population.points import FixedPoint, short
from qtarget_inspect.analysis.population.tolerances import SAME_POINT, SUPPORT, TV_EQUAL
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.errors import LossError

Verdict = Literal[
    "proper", "sharpening", "flattening", "anchored", "collapsing", "multi-stable", "mixed", "undetermined"
]

VERDICTS: tuple[str, ...] = get_args(Verdict)

UNSETTLED_SHARE = 0.1
"""Share of starts that may still be moving at the end without leaving the verdict open."""

_MOVED = 1e-6  # expected gradient, of a typical one, that another context brings to a point that depends on it


def total_variation(a: Tensor, b: Tensor) -> float:
    """Total variation between two distributions, 0.5 sum |a - b|.

    Args:
        a: [V] probabilities.
        b: [V] probabilities.

    Returns:
        A number in [0, 1].
    """
    return 0.5 * float((a - b).abs().sum())


def judge(points: Sequence[FixedPoint], flow: Flow, population: Population) -> tuple[Verdict, str]:
    """The verdict and why, from the points that were found.

    Args:
        points: all points.
        flow: where the starts went.
        population: loss, labels and context.

    Returns:
        The verdict, as `fixed_points` defines it, and a sentence.
    """
    q_star = population.setting.q_star
    if population.scale == 0:
        return "undetermined", "nothing moves: the gradient is zero at every state that was tried"
    unsettled = float((~flow.settled).double().mean())
    if unsettled > UNSETTLED_SHARE:
        return "undetermined", f"{unsettled:.0%} of the starts were still moving when the flow was left"
    stable = [point for point in points if point.stable]
    if not stable:
        return "undetermined", "no point that was found is stable"
    if len(stable) > 1:
        return "multi-stable", _several(stable)
    (point,) = stable
    # a distribution with a token that is drawn, and is never produced in the end
    lost = (q_star > SUPPORT[population.dtype]) & (point.p == 0)
    if point.kind == "continuum" and not bool(lost.any()):
        return "multi-stable", "starts end at points next to each other (a continuum): where depends on the start"
    if bool(lost.any()):
        return "collapsing", _collapse(point, lost)
    return _of_one_point(point, population)


def _of_one_point(point: FixedPoint, population: Population) -> tuple[Verdict, str]:
    """The verdict on a loss with one stable point on which no label dies out."""
    q_star, p = population.setting.q_star, point.p
    exact = point.residual == point.residual or point.kind == "vertex"
    tolerance = TV_EQUAL[population.dtype] if exact else SAME_POINT
    apart = total_variation(p, q_star)
    anchors = anchors_of(point, population)
    depends = f"; it depends on {' and '.join(anchors)}, and equals q* for these" if anchors else ""
    if apart <= tolerance:
        return "proper", f"p = q*, total variation {apart:.0e}{depends}"
    if anchors:
        return "anchored", f"p depends on {' and '.join(anchors)}; total variation to q* is {apart:.3g}"
    order = torch.argsort(q_star + 1e-9 * p, descending=True)
    sums_p, sums_q = p[order].cumsum(0), q_star[order].cumsum(0)
    in_order = bool((p[order].diff() <= tolerance).all())
    if in_order and bool((sums_p >= sums_q - tolerance).all()):
        return "sharpening", f"p majorises q*: likely labels gain; total variation {apart:.3g}"
    if in_order and bool((sums_p <= sums_q + tolerance).all()):
        return "flattening", f"q* majorises p: unlikely labels gain; total variation {apart:.3g}"
    return "mixed", f"p is neither q*, nor sharper, nor flatter than it; total variation {apart:.3g}"


def anchors_of(point: FixedPoint, population: Population) -> list[str]:
    """Which of the given models the point depends on: with another one in its place E[g] is no longer zero there.

    Args:
        point: a point.
        population: loss, labels and context.

    Returns:
        Words: "teacher", "reference", "old".
    """
    setting = population.setting
    found = []
    logits = point.p.clamp(min=torch.finfo(torch.float64).tiny).log().unsqueeze(0)
    alive = point.p > 0
    for name in LOGIT_CONTEXT:
        if name not in setting.context:
            continue
        given = setting.context[name]
        tilt = torch.linspace(1, -1, setting.vocabulary, dtype=given.dtype)
        others = [setting.replaced({**setting.context, name: 0.5 * given + sign * tilt}) for sign in (1, -1)]
        try:
            own = population.field(1)(logits)[0]
            moved = [replace(population, setting=other).field(1)(logits)[0] for other in others]
        except LossError:
            continue
        if max(float((flow - own)[0, alive].abs().max()) for flow in moved) > _MOVED * population.scale:
            found.append(name.removesuffix("_logits"))
    return found


def _several(stable: Sequence[FixedPoint]) -> str:
    kinds: dict[str, int] = {}
    for point in stable:
        kinds[point.kind] = kinds.get(point.kind, 0) + 1
    plural = {"interior": "inside", "vertex": "at a vertex", "face": "on a face", "continuum": "a continuum"}
    words = ", ".join(f"{count} {plural[kind]}" for kind, count in kinds.items())
    unreached = sum(point.basin == 0 for point in stable)
    also = f"; no start reached {unreached} of them" if unreached else ""
    extra = ", of which some rest next to each other" if "continuum" in kinds else ""
    return f"{len(stable)} stable ends ({words}{extra}): the start decides{also}"


def _collapse(point: FixedPoint, lost: Tensor) -> str:
    count = int(lost.sum())
    which = ", ".join(str(k) for k in lost.nonzero().squeeze(-1)[:6].tolist()) + (", ..." if count > 6 else "")
    tokens = f"token{'s' if count > 1 else ''} {which} die{'' if count > 1 else 's'} out"
    if point.kind == "continuum":
        return f"{tokens}; where p ends on the face of the others depends on the start (a continuum)"
    return f"p runs to {short(point.p)}: {tokens} though q* holds {'them' if count > 1 else 'it'}"
