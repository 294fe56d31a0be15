"""Checks of losses as code: the same gradient as another, and no warning of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtarget_inspect.analysis.equivalence import Equivalence, equivalent
from qtarget_inspect.analysis.loss_audit import audit_loss
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.teaching.check import Check, not_yet, right, unusable_loss
from qtarget_inspect.teaching.states import exercise_states


def check_same(loss: Any, other: Any) -> Check:
    """Has a student's loss the gradient that the exercise asks for?

    Args:
        loss: what the student wrote; one that returns None is not filled in.
        other: the loss of the exercise, as `invert` takes it.

    Returns:
        Right, or how the two gradients are related, and the state on which they differ most.

    Examples:
        >>> from qtarget_inspect import losses
        >>> check_same(losses.p_loss, "dft")
        right: the same gradient as dft on 1536 states.
        >>> check_same(losses.sft, "dft")
        not yet: the direction is right, the step is not: yours is 1 to 1e+08 times that of dft, depending on the token.
    """
    unusable = unusable_loss(loss, exercise_states())
    if unusable is not None:
        return unusable
    try:
        found = equivalent(loss, other)
    except QTargetError as error:
        return not_yet(f"the two cannot be compared: {error}")
    if found:
        return right(f"the same gradient as {found.loss_b} on {found.states} states.")
    return not_yet(_how_related(found))


def check_audit(loss: Any, checks: Sequence[str], *, like: Any = None) -> Check:
    """Is a student's loss free of certain warnings, and does it still teach what it should?

    Args:
        loss: what the student wrote; one that returns None is not filled in.
        checks: names of findings of `audit_loss` that must be no warning, say "accumulation".
        like: a loss whose gradient it should have, reductions undone; None for any.

    Returns:
        Right, or the first warning that is left, in the audit's words.

    Raises:
        QTargetError: an audit has no check of that name.

    Examples:
        >>> from qtarget_inspect import losses
        >>> check_audit(lambda z, y: losses.sft(z, y).mean(), ["accumulation"])
        not yet: accumulation: micro-batches of 4 and 2 tokens, averaged: a token counts 0.75 to 1.5 times ...
    """
    unusable = unusable_loss(loss, exercise_states())
    if unusable is not None:
        return unusable
    try:
        audit = audit_loss(loss)
    except QTargetError as error:
        return not_yet(f"it cannot be audited: {error}")
    known = [finding.name for finding in audit.findings]
    unknown = [name for name in checks if name not in known]
    if unknown:
        raise QTargetError(f"check_audit: an audit has no check {', '.join(unknown)}; it has {', '.join(known)}.")
    for name in checks:
        if audit[name].level == "warning":
            return not_yet(f"{name}: {audit[name].text}")
    if like is not None:
        same = check_same(loss, like)
        if not same:
            return not_yet(f"no warning is left, but the loss has changed: {same.hint}")
    return right(f"no warning from {', '.join(checks)}.")


def _how_related(found: Equivalence) -> str:
    """The relation between two gradients, in words that point at the mistake."""
    worst = f"most at p_y = {found.worst.p_label:.2g}"
    if found.relation == "constant factor" and isinstance(found.factor, float):
        way = "the other way, " if found.factor < 0 else ""
        return f"the right direction, {way}{abs(found.factor):.3g} times the step of {found.loss_b} on every token."
    if found.relation == "per-token factor" and isinstance(found.factor, tuple):
        low, high = found.factor
        return (
            f"the direction is right, the step is not: yours is {low:.3g} to {high:.3g} times that of {found.loss_b}, "
            "depending on the token."
        )
    return (
        f"the gradients point different ways on {int((~found.rows.aligned).sum())} of {found.states} states, {worst}: "
        f"something else than in {found.loss_b} pulls or lets gradient through."
    )
