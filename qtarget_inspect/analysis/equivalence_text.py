"""The words of an equivalence: one line that says how two losses are related, and lines with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qtarget_inspect.analysis.equivalence import Equivalence

ZERO = 1e-15
"""Entries of Q that are not larger are shown as 0."""

NEAR_ONE = 1e-4
"""Factors within this of 1 or -1 are shown with ten digits."""


def describe_equivalence(found: Equivalence) -> list[str]:
    """The finding, a line each thing.

    Args:
        found: the finding.

    Returns:
        A headline, then the state of largest difference, reductions, notes.
    """
    lines = [f"{found.loss_a} and {found.loss_b}: {_headline(found)}"]
    if not found:
        lines += _state(found)
    if found.reductions[0] != found.reductions[1]:
        first, second = (text.removesuffix(", undone") for text in found.reductions)
        lines.append(f"reductions differ and were undone first: {found.loss_a} {first}; {found.loss_b} {second}")
    return lines + [f"! {note}" for note in found.notes]


def _number(value: float) -> str:
    """A factor, with more digits where it is near 1."""
    return f"{value:.10g}" if abs(abs(value) - 1) < NEAR_ONE else f"{value:.6g}"


def _count(number: int) -> str:
    """A number of states, in words."""
    return f"{number} state{'s' if number != 1 else ''}"


def _headline(found: Equivalence) -> str:
    states, error = _count(found.states), f"{found.max_error:.0e}"
    if found.relation == "same":
        return f"the same gradient on {states} (largest difference {error})"
    if found.relation == "constant factor":
        assert isinstance(found.factor, float)
        if found.factor < 0:
            what = f"opposite directions, by a constant factor {_number(found.factor)}"
        else:
            what = f"the same up to a constant factor {_number(found.factor)}"
        formula = f"{found.loss_a} is {_number(found.factor)} times {found.loss_b}"
        return f"{what}: {formula} on {states} (largest difference then {error})"
    if found.relation == "per-token factor":
        return f"the same direction, different step per token on {states}: {_factors(found)}"
    return f"different: {_difference(found)}"


def _factors(found: Equivalence) -> str:
    """The factor's range, its law, and the states on which only one of them moves."""
    rows = found.rows
    known = rows.ratio[rows.sure]
    parts = [f"factor from {_number(known.min())} to {_number(known.max())}"]
    one_sided = rows.only_a.any() or rows.only_b.any()
    if found.law is not None:
        where = " where both have a gradient" if one_sided else ""
        formula = "the same" if found.law == "1" else f"{found.loss_a} is {found.loss_b} times {found.law}"
        parts.append(formula + where)
    for only, has, has_not in ((rows.only_a, found.loss_a, found.loss_b), (rows.only_b, found.loss_b, found.loss_a)):
        if only.any():
            parts.append(f"{has_not} has none above rounding on {int(only.sum())} where {has} has one")
    return "; ".join(parts)


def _difference(found: Equivalence) -> str:
    rows, states = found.rows, _count(found.states)
    if not bool(rows.alive_a.any()) or not bool(rows.alive_b.any()):
        silent, other = (found.loss_a, found.loss_b) if not bool(rows.alive_a.any()) else (found.loss_b, found.loss_a)
        return f"{silent} has no gradient on any of {states}, {other} has"
    if bool(rows.aligned.all()):
        against = int((rows.sure & (rows.ratio < 0)).sum())
        known = rows.ratio[rows.sure]
        law = f"; {found.loss_a} is {found.loss_b} times {found.law}" if found.law is not None else ""
        return (
            f"opposite directions on {against} of {states}, the same on others (factor from {known.min():.3g} "
            f"to {known.max():.3g}{law})"
        )
    bent, unequal = ~rows.aligned, ~rows.equal
    text = f"the directions differ on {int(bent.sum())} of {states} (largest difference {found.max_error:.2g})"
    agreeing = int(rows.equal.sum())
    return text + (f", the same gradient on {agreeing}" if agreeing and bool(unequal.any()) else "")


def _state(found: Equivalence) -> list[str]:
    """Where they differ most, with the entries of both targets."""
    worst = found.worst
    lines = [
        f"most at p_y = {worst.p_label:.3g}, label {worst.label}, entropy {worst.entropy:.3g} nats, "
        f"V = {worst.vocabulary} (row {worst.token} of {worst.batch}): gradients {worst.difference:.2g} apart"
    ]
    entries = []
    for token, p, first, second in worst.top:
        if token == worst.label or not np.isclose(first, second, rtol=1e-6, atol=1e-9):
            what = "label" if token == worst.label else f"token {token}"
            entries.append(f"{what} {_entry(first)} and {_entry(second)} (p {p:.3g})")
    lines.append(f"Q there, {found.loss_a} and {found.loss_b}: {'; '.join(entries)}")
    return lines


def _entry(value: float) -> str:
    """An entry of Q; rounding is shown as 0."""
    return f"{value:.4g}" if abs(value) > ZERO else "0"
