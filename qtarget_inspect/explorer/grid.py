"""Grid: targets of a user's loss at every position that the page's sliders can stand at, worked out by the engine."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.identification import identify
from qtarget_inspect.core.batch import CONTEXT_NAMES, TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.adapter import adapt, name_of
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.explorer.catalogue import axes_of, refusal
from qtarget_inspect.explorer.positions import (
    DEFAULTS,
    POSITIONS,
    VOCABULARY,
    every_position,
    tokens_at,
    triangle_points,
    triangle_tokens,
)
from qtarget_inspect.variants import Variant, resolve
from qtarget_inspect.variants.variant import CATEGORIES
from qtarget_inspect.vocabulary.pulls import LABEL, Pulls, natural_gauge

AXES = ("teacher", "favourite", "reference", "old", "advantage", "critical", "log_z")
"""Sliders beside p_y and the others' shape, the slowest first."""

HELD_FIRST = ("log_z", "critical", "advantage", "old", "reference")
"""Sliders that stay at their defaults, one after the other, where the whole grid of a loss would be too large."""

MOST_BYTES = 2_250_000
"""What one loss may add to the page, in base64 a third more."""

EXPLAINED = 1e-6
"""Pulls that leave more than this of some Q unexplained are not shown."""

LABEL_COUNTS = "it treats labels by their ids: here the label is token 0"
"""Note on a loss whose target is another one where the label is another token of the same p."""

_ROW = VOCABULARY + 2
"""Numbers a position: Q in the unit gauge, the pull to the label, the total pull."""


def precomputed(spec: Any) -> dict[str, Any]:
    """A loss on the page's grid.

    Args:
        spec: a loss in any form that `invert` takes.

    Returns:
        name, title, category, formula, reference, gauge, gamma and residual (in words), note, needs (context), axes
        (slider -> positions), held (slider -> where it is held), and two arrays as `_packed` writes them: targets
        [axes..., shape, p, V + 2], which are Q in the unit gauge, a_label and S, the last two NaN where no known pulls
        explain Q; triangle [axes..., M, 3], g on the triangle, where favourite is 0 (the model's) or not.

    Raises:
        QTargetError: the loss fails, needs what the page has not, couples its tokens, or gives what is no number.
    """
    loss, name = resolve(spec), name_of_loss(spec)
    reason = refusal(loss) if isinstance(loss, Variant) else None
    if reason is not None:
        raise QTargetError(f"the explorer cannot show {name}: {reason}.")
    needs = _needs(loss)
    moved = axes_of(needs) + ([] if _shift_invariant(loss, needs) else ["log_z"])
    held, axes = _within(moved)
    batch = _only(tokens_at(every_position({**axes, "shape": POSITIONS["shape"], "p": POSITIONS["p"]}, held)), needs)
    q = _targets(loss, batch, name)
    words, trust, total = _read(loss, batch, q)
    if not _same_for_every_label(loss, needs):
        words["note"] = "; ".join(filter(None, [words["note"], LABEL_COUNTS]))
    return {
        "name": name,
        "title": loss.title if isinstance(loss, Variant) else name_of(loss),
        **words,
        "needs": list(needs),
        "axes": axes,
        "held": held,
        "targets": _packed(torch.cat([q, trust.unsqueeze(-1), total.unsqueeze(-1)], -1)),
        "triangle": _packed(_on_triangle(loss, name, needs, axes, held)),
    }


def name_of_loss(spec: Any) -> str:
    """How the page calls a loss, in its address too: without the folders of a file.

    Args:
        spec: a loss in any form that `invert` takes.

    Returns:
        "my_losses.py:focal", "sft", or the callable's own name.

    Examples:
        >>> import qtarget_inspect as qt
        >>> name_of_loss("logit-norm"), name_of_loss(qt.losses.sft)
        ('logit-norm(temperature=0.04)', 'sft')
    """
    loss = resolve(spec)
    if isinstance(loss, Variant):
        return loss.label
    if isinstance(spec, str) and ".py:" in spec:
        path, _, function = spec.rpartition(":")
        return f"{path.replace(chr(92), '/').rsplit('/', 1)[-1]}:{function}"
    return name_of(loss)


def _needs(loss: Any) -> tuple[str, ...]:
    """Context that a loss takes, optional context included."""
    if isinstance(loss, Variant):
        return loss.context
    asked = set(adapt(loss).context.values())
    return tuple(name for name in CONTEXT_NAMES if name in asked)


def _only(batch: TokenBatch, needs: Sequence[str]) -> TokenBatch:
    """The batch with no more context than a loss takes, so that nothing else is fitted or handed over."""
    context = {name: getattr(batch, name) for name in (*needs, "sequence_ids")}
    return TokenBatch(batch.logits, batch.labels, **context)


def _within(moved: Sequence[str]) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
    """Which sliders are held so that the grid stays small, and the axes that are left."""
    kept = [axis for axis in AXES if axis in moved]
    held: dict[str, float] = {}
    for axis in HELD_FIRST:
        positions = math.prod(len(POSITIONS[name]) for name in (*kept, "shape", "p"))
        if 4 * _ROW * positions <= MOST_BYTES:
            break
        if axis in kept:
            kept.remove(axis)
            held[axis] = DEFAULTS[axis]
    return held, {axis: POSITIONS[axis] for axis in kept}


def _targets(loss: Any, batch: TokenBatch, name: str) -> Tensor:
    """[n, V] Q of tokens that stand alone, float64."""
    target = invert(loss, batch, dtype=torch.float64)
    if target.coupled is not None:
        raise LossError(
            f"the explorer shows one token at a time, and {name} couples its tokens ({target.coupled}). "
            "Use qt.invert(loss, batch) on whole batches."
        )
    if not bool(torch.isfinite(target.q).all()):
        raise LossError(f"{name}: Q is not finite at some positions of the page's sliders; qt.audit_loss may say why.")
    return target.q


def _shift_invariant(loss: Any, needs: Sequence[str]) -> bool:
    """Whether Q stays as it is when all logits move together."""
    few = {"p": POSITIONS["p"][::8], "shape": (0.8, 2.0)}
    low, high = (
        invert(loss, _only(tokens_at(every_position(few, {"log_z": log_z})), needs), dtype=torch.float64).q
        for log_z in (0.0, 10.0)
    )
    return bool((low - high).abs().max() < EXPLAINED)


def _same_for_every_label(loss: Any, needs: Sequence[str]) -> bool:
    """Whether Q follows the tokens where these change places: whether the label's id counts for nothing by itself."""
    batch = _only(tokens_at(every_position({"p": POSITIONS["p"][::8], "shape": (0.8, 2.0)}, {})), needs)
    q = invert(loss, batch, dtype=torch.float64).q
    for label in range(1, VOCABULARY):
        order = torch.arange(VOCABULARY).roll(label)  # token 0 stands at `label`
        logits = {name: getattr(batch, name)[:, order] for name in ("logits", *needs) if name.endswith("logits")}
        moved = replace(batch, labels=torch.full_like(batch.labels, label), **logits)
        try:
            found = invert(loss, moved, dtype=torch.float64).q
        except QTargetError:  # a constant, for one: masked out
            return False
        if bool((found - q[:, order]).abs().max() > EXPLAINED):
            return False
    return True


def _read(loss: Any, batch: TokenBatch, q: Tensor) -> tuple[dict[str, Any], Tensor, Tensor]:
    """The loss's row in words, [n] its pull to the label, [n] its total pull; NaN where no known pulls explain Q."""
    words, pulls = _words(loss)
    unknown = torch.full((len(batch),), math.nan, dtype=torch.float64)
    if pulls is None:
        return words, unknown, unknown
    state = State(batch, torch.float64)
    weights = pulls.weights(state)
    left = (pulls.target(state, weights) - q).abs().amax(-1)
    total = pulls.total(weights)
    trust = weights.get(LABEL, torch.zeros_like(total))
    if float(left.max()) > EXPLAINED * max(1.0, float(q.abs().max())):
        words |= {"gauge": "unit", "gamma": "unknown law"}
        words["note"] = f"the pulls {pulls.text} leave up to {float(left.max()):.1e} of Q unexplained here"
        return words, unknown, unknown
    gauge = natural_gauge(pulls.directions, weights, 1e-12)
    words |= {"gauge": gauge, "gamma": pulls.gamma_law(gauge, total).text}
    words["residual"] = pulls.residual_text(gauge, total)
    return words, trust, total


def _words(loss: Any) -> tuple[dict[str, Any], Pulls | None]:
    """What is known of a loss in words, and its pulls: the declared ones, or those that are found by calling it."""
    words = {"category": "", "formula": "", "reference": "", "gauge": "unit", "gamma": "unknown law"}
    words |= {"residual": "unknown", "note": ""}
    if isinstance(loss, Variant):
        words |= {"category": loss.category, "formula": loss.formula, "reference": loss.reference}
        if loss.pulls is not None:
            return words, loss.pulls
    try:
        found = identify(loss)
    except QTargetError as error:  # Q is there all the same
        return {**words, "note": f"not identified: {error}"}, None
    words |= {"gamma": found.gamma_law.text, "residual": found.residual.text, "note": "; ".join(found.warnings)}
    words["category"] = found.category if found.category in CATEGORIES else words["category"]
    return words, found.pulls if found.has_law else None


def _on_triangle(
    loss: Any, name: str, needs: Sequence[str], axes: Mapping[str, Sequence[float]], held: Mapping[str, float]
) -> Tensor:
    """[axes... * M, 3] g on tokens of three."""
    p = triangle_points()
    kept = {axis: ((0.0, 1.0) if axis == "favourite" else values) for axis, values in axes.items()}
    at = every_position({**kept, "point": range(len(p))}, held)
    batch = _only(triangle_tokens(p[at["point"].long()], at), needs)
    return batch.logits.softmax(-1) - _targets(loss, batch, name)


def _packed(values: Tensor) -> str:
    """float32, little-endian, in base64; enough for 1e-6, and for pixels."""
    return base64.b64encode(values.to(torch.float32).numpy().astype("<f4").tobytes()).decode("ascii")
