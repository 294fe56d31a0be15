"""Checks of what is learned: a distribution worked out by hand, and a loss that should learn in a given way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch

from qtarget_inspect.analysis.population.verdict import Verdict, total_variation
from qtarget_inspect.analysis.population.view import FixedPoints, fixed_points
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.teaching.check import Check, is_empty, not_filled_in, not_yet, right, unusable_loss
from qtarget_inspect.teaching.states import exercise_states

TOLERANCE = 2e-3
"""How far an entry worked out by hand may be off."""

STARTS = 12


def check_learned(p: Any, loss: Any, q_star: Sequence[float], **context: Any) -> Check:
    """Is a distribution what a population learns from a loss: the stable point of the flow of E_{y~q*}[g]?

    Args:
        p: what the student worked out: V probabilities; None, or a list with None in it, is not filled in.
        loss: the loss of the exercise, as `fixed_points` takes it.
        q_star: [V] the distribution of the labels.
        **context: as `fixed_points` takes it.

    Returns:
        Right, or what is off: the sum, or whether it is too sharp or too flat.

    Raises:
        QTargetError: the loss has not one stable point, so that there is no answer to compare with.

    Examples:
        >>> check_learned([0.5, 0.3, 0.2], "sft", [0.5, 0.3, 0.2])
        right: sft learns this: proper.
        >>> check_learned([0.5, 0.3, 0.2], "gem", [0.5, 0.3, 0.2])
        not yet: that is q* itself, and E_{y~q*}[g] is not 0 there: put p = q* into Q and look where it differs.
    """
    if is_empty(p) or (isinstance(p, (list, tuple)) and any(is_empty(entry) for entry in p)):
        return not_filled_in("write down the distribution")
    found = fixed_points(loss, q_star, STARTS, **context)
    if len(found.stable) != 1 or found.learned is None:
        raise QTargetError(f"check_learned: {found.loss} learns no one distribution here ({found.verdict}).")
    try:
        given = torch.as_tensor(p, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return not_yet(f"a distribution is a list of {len(found.q_star)} numbers; yours is {p!r:.60}.")
    if given.shape != found.q_star.shape:
        return not_yet(f"q* has {len(found.q_star)} tokens; yours has shape {list(given.shape)}.")
    if not bool(torch.isfinite(given).all()):
        return not_yet("an entry is not a finite number.")
    if abs(float(given.sum()) - 1) > 3 * TOLERANCE or bool((given < 0).any()):
        return not_yet(
            f"your entries sum to {float(given.sum()):.4g}: a distribution sums to 1 and has no negative entry."
        )
    if float((given - found.learned).abs().max()) <= TOLERANCE:
        return right(f"{found.loss} learns this: {found.verdict}.")
    if float((given - found.q_star).abs().max()) <= TOLERANCE:
        return not_yet(
            "that is q* itself, and E_{y~q*}[g] is not 0 there: put p = q* into Q and look where it differs."
        )
    return not_yet(_shape_of(given, found))


def check_verdict(loss: Any, verdict: Verdict, q_star: Sequence[float] = (0.5, 0.3, 0.2), **context: Any) -> Check:
    """Does a student's loss learn in the way the exercise asks for, "proper" say?

    Args:
        loss: what the student wrote; one that returns None is not filled in.
        verdict: one of the verdicts of `fixed_points`.
        q_star: [V] the distribution of the labels.
        **context: as `fixed_points` takes it.

    Returns:
        Right, or what the loss does instead, and how far it ends from q*.

    Raises:
        QTargetError: `verdict` is none of those.

    Examples:
        >>> from qtarget_inspect import losses
        >>> check_verdict(losses.sft, "proper")
        right: sft is proper on [0.5, 0.3, 0.2].
        >>> check_verdict(losses.dft, "proper")
        not yet: dft is collapsing on [0.5, 0.3, 0.2], not proper: it ends at a total variation of 0.5 from q*.
    """
    if verdict not in get_args(Verdict):
        raise QTargetError(f"verdict must be one of {', '.join(get_args(Verdict))}, not {verdict!r}.")
    unusable = unusable_loss(loss, exercise_states())
    if unusable is not None:
        return unusable
    try:
        found = fixed_points(loss, q_star, STARTS, **context)
    except QTargetError as error:
        return not_yet(f"what it learns cannot be told: {error}")
    where = "[" + ", ".join(f"{share:g}" for share in found.q_star.tolist()) + "]"
    if found.verdict == verdict:
        return right(f"{found.loss} is {verdict} on {where}.")
    if found.learned is None:
        return not_yet(f"{found.loss} is {found.verdict} on {where}, not {verdict}: {found.reason}.")
    return not_yet(
        f"{found.loss} is {found.verdict} on {where}, not {verdict}: it ends at a total variation of "
        f"{found.total_variation:.2g} from q*."
    )


def _shape_of(given: torch.Tensor, found: FixedPoints) -> str:
    """Too sharp, too flat, or another order than what is learned."""
    assert found.learned is not None
    away = f"yours lies at a total variation of {total_variation(given, found.learned):.2g} from what is learned"
    steps = [p.unsqueeze(0) - p.unsqueeze(1) for p in (given, found.learned)]
    if bool(((steps[0] * steps[1] < 0) & (steps[1].abs() > TOLERANCE)).any()):
        return f"{away}: it puts the tokens in another order."
    own, wanted = (float(torch.special.entr(p).sum()) for p in (given, found.learned))
    return f"{away}: yours is too {'sharp' if own < wanted else 'flat'}."
