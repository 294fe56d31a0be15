"""Notes of the unification table: what a row's numbers mean, said from the numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_NO_TOTAL_PULL, Decomposition
from qtarget_inspect.analysis.verification import Verification
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary.pulls import LABEL, Pulls

SIGN_TOLERANCE = 1e-9
"""Entries of Q above minus this count as not negative."""


def note(verification: Verification) -> str:
    """What there is to say about a row, from its checks and readings.

    Args:
        verification: the row's claim, checked.

    Returns:
        Sentences; empty where the claim holds in both gauges and Q is a distribution.
    """
    parts = []
    variant = verification.variant
    if not verification.holds:
        parts.append(f"claim fails; found: {found(variant, verification.readings['unit'])}")
        parts += [
            f"in the {name} gauge Q agrees with the claim only where it says nothing (gamma = 1)"
            for name, check in verification.checks.items()
            if check.vacuous and check.max_error <= verification.tolerance
        ]
    elif verification.gauge == "unit":
        parts.append(_other_gauge(verification.readings["normalized"]))
    elif verification.gauge == "normalized":
        parts.append(_other_gauge(verification.readings["unit"]))
    reading = verification.reading
    smallest, where = _smallest(reading)
    if smallest < -SIGN_TOLERANCE:
        gamma = float(reading.gamma[torch.isfinite(reading.gamma)].max())
        because = f"gamma up to {gamma:.3g}" if gamma > 1 + SIGN_TOLERANCE else "the pulls push away from some tokens"
        parts.append(f"Q is signed, down to {smallest:.2g} (p_y = {where:.2g}): {because}")
    if variant.coupling:
        parts.append(f"tokens are coupled by {variant.coupling}")
    return "; ".join(part for part in parts if part)


def found(variant: Variant, reading: Decomposition) -> str:
    """What inversion finds: gamma and residual from the pulls, and how far they explain Q.

    Args:
        variant: the variant.
        reading: its decomposition.

    Returns:
        A phrase with gauge and error.
    """
    if variant.pulls is not None:
        gamma, residual = pulls_in_words(variant.pulls, reading.gauge, reading.total_pull)
    else:
        live = [name for name, weight in reading.pulls.items() if bool((weight.abs() > 1e-9).any())]
        gamma = f"{float(reading.gamma.nan_to_num().min()):.3g} to {float(reading.gamma.nan_to_num().max()):.3g}"
        residual = "model" if live in ([], [LABEL]) else "mix of " + ", ".join(n for n in live if n != LABEL)
    error = float(reading.unexplained.max())
    return f"gamma = {gamma}, residual = {residual} ({reading.gauge} gauge, explained to {error:.0e})"


def found_words(variant: Variant) -> dict[str, str]:
    """What the declared pulls say in the unit gauge, word by word.

    Args:
        variant: a variant with pulls.

    Returns:
        "gamma" and "residual".
    """
    gamma, residual = pulls_in_words(variant.pulls, "unit") if variant.pulls is not None else ("-", "-")
    return {"gamma": gamma, "residual": residual}


def pulls_in_words(pulls: Pulls, gauge: str, total_pull: Tensor | None = None) -> tuple[str, str]:
    """gamma and residual as the pulls give them, in plain text.

    Args:
        pulls: the declared pulls.
        gauge: "unit" or "normalized".
        total_pull: [N] S on some tokens; where it is 1 on all of them, the model has no share in the residual.

    Returns:
        Two phrases.
    """
    toward = [term for term in pulls if term.direction.kind == "toward"]
    labels = [term.weight.text for term in toward if term.direction.name == LABEL]
    others = [term for term in toward if term.direction.name != LABEL]
    complete = total_pull is not None and bool(((total_pull - 1).abs() < SIGN_TOLERANCE).all())
    gamma = " + ".join(labels) if labels else "0"
    if gauge == "normalized" and labels and not complete:
        gamma = f"{gamma} / ({' + '.join(term.weight.text for term in toward)})"
    if not others:
        return gamma, "model"
    if len(others) == 1 and (complete or gauge == "normalized"):
        return gamma, others[0].direction.text
    parts = ", ".join(f"{term.direction.text} (pull {term.weight.text})" for term in others)
    return gamma, f"mix of {parts}" if complete or gauge == "normalized" else f"mix of model, {parts}"


def _other_gauge(reading: Decomposition) -> str:
    """What the gauge in which the claim does not hold makes of the row."""
    undefined = reading.flags.get(FLAG_NO_TOTAL_PULL)
    if undefined is not None and bool(undefined.all()):
        return "the total pull is 0: there is no normalized gauge"
    gamma = reading.gamma[torch.isfinite(reading.gamma)]
    low, high = float(gamma.min()), float(gamma.max())
    span = f"gamma = {low:.3g} throughout" if high - low <= 1e-9 else f"gamma = {low:.2g} to {high:.3g}"
    smallest, where = _smallest(reading)
    signed = f", Q down to {smallest:.2g} at p_y = {where:.2g}" if smallest < -SIGN_TOLERANCE else ""
    return f"not in the {reading.gauge} gauge: there {span}{signed}"


def _smallest(reading: Decomposition) -> tuple[float, float]:
    """Smallest entry of Q over the tokens where the gauge is defined, and p_y of that token."""
    per_token = reading.q.amin(-1)
    per_token = torch.where(torch.isfinite(reading.gamma), per_token, torch.inf)
    index = int(per_token.argmin())
    return float(per_token[index]), float(reading.target.p_label[index])


def add_twins(rows: list[dict[str, Any]], checked: list[tuple[int, Verification]]) -> None:
    """Say in the notes which rows have the same gradient on every state.

    Args:
        rows: the table's rows; notes are extended in place.
        checked: (row number, verification) of the rows that were differentiated.
    """
    for position, (index, later) in enumerate(checked):
        for _, earlier in checked[:position]:
            if float((later.target.q - earlier.target.q).abs().max()) <= later.tolerance:
                text = f"the same gradient as {earlier.variant.title}"
                text += (
                    ""
                    if later.variant.stop_gradient == earlier.variant.stop_gradient
                    else (", without its stop-gradient" if earlier.variant.stop_gradient else ", with a stop-gradient")
                )
                rows[index]["note"] = "; ".join(filter(None, [text, rows[index]["note"]]))
