"""Notes of the unification table: what a row's numbers mean, said from the numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_NO_TOTAL_PULL, Decomposition
from qtarget_inspect.analysis.verification import Verification
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary.pulls import LABEL, PullGauge, Pulls


def note(verification: Verification) -> str:
    """What there is to say about a row, from its checks and readings.

    Args:
        verification: the row's claim, checked.

    Returns:
        Sentences; empty where the claim holds in both gauges and Q is a distribution.
    """
    parts = []
    variant, reading = verification.variant, verification.reading
    if verification.pulls_error > rounding(reading.q.dtype):
        parts.append(f"the declared pulls are off Q by {verification.pulls_error:.1g}; gamma is fitted instead")
    if verification.holds is None:
        parts.append(_untold(verification))
    elif not verification.holds:
        where = [name for name, check in verification.checks.items() if check.holds]
        only = f"holds only in the {where[0]} gauge; " if where else ""
        parts.append(f"claim fails; {only}found: {found(variant, verification.readings['unit'])}")
        parts += [
            f"in the {name} gauge Q agrees with the claim only where it says nothing (gamma = 1)"
            for name, check in verification.checks.items()
            if check.vacuous
        ]
    elif verification.gauge != "both":
        parts.append(_other_gauge(verification.readings["normalized" if verification.gauge == "unit" else "unit"]))
    parts.append(_signed(reading))
    if variant.coupling:
        parts.append(f"tokens are coupled by {variant.coupling}")
    return "; ".join(part for part in parts if part)


def _untold(verification: Verification) -> str:
    """Why these states cannot tell a right claim from a wrong one."""
    claim, check = verification.claim, verification.check
    if check.defined == 0:
        return f"not testable on these states: the {check.gauge} gauge is defined on none of them"
    reasons = ["gamma is 1"]
    if claim.differs_from is not None:
        reasons.append(f"{claim.differs_from.replace('_logits', '')} equals the model")
    return f"not testable on these states: everywhere {' or '.join(reasons)}, or the model is flat; the claim agrees"


def _signed(reading: Decomposition) -> str:
    """Where Q is negative and why, empty where it is not."""
    smallest, where = _smallest(reading)
    defined = torch.isfinite(reading.gamma)
    if not bool(defined.any()) or smallest >= -rounding(reading.q.dtype) * float(row_size(reading.q[defined]).max()):
        return ""
    gamma = float(reading.gamma[defined].max())
    because = f"gamma up to {gamma:.3g}" if gamma > 1 + 1e-6 else "the pulls push away from some tokens"
    return f"Q is signed, down to {smallest:.2g} (p_y = {where:.2g}): {because}"


def found(variant: Variant, reading: Decomposition) -> str:
    """What inversion finds: gamma and residual from the pulls, and how far they explain Q.

    Args:
        variant: the variant.
        reading: its decomposition.

    Returns:
        A phrase with gauge and error.
    """
    error = float(reading.unexplained.max())
    if not explained(variant, reading):
        return f"no known attractors explain it (the best fit leaves {error:.0e} of Q)"
    words = words_of(variant, reading)
    return f"gamma = {words['gamma']}, residual = {words['residual']} ({reading.gauge} gauge, explained to {error:.0e})"


def explained(variant: Variant, reading: Decomposition) -> bool:
    """Whether the pulls of a reading are more than the least bad fit: declared, or leaving no more than rounding.

    Args:
        variant: the variant.
        reading: its decomposition.

    Returns:
        False where a fit leaves more than single-precision rounding of Q; then its weights mean nothing.
    """
    left = (reading.unexplained / row_size(reading.target.q)).max()
    return variant.pulls is not None or bool(left <= rounding(torch.float32))


def words_of(variant: Variant, reading: Decomposition) -> dict[str, str]:
    """gamma and residual as inversion finds them, word by word.

    Args:
        variant: the variant.
        reading: its decomposition.

    Returns:
        "gamma" and "residual": from the pulls, from the fit, or that nothing explains Q.
    """
    if variant.pulls is not None:
        gamma, residual = pulls_in_words(variant.pulls, reading.gauge, reading.total_pull)
    elif not explained(variant, reading):
        gamma, residual = "unknown", "unknown"
    else:
        live = [name for name, weight in reading.pulls.items() if bool((weight.abs() > 1e-9).any())]
        gamma = f"{float(reading.gamma.nan_to_num().min()):.3g} to {float(reading.gamma.nan_to_num().max()):.3g}"
        residual = "model" if live in ([], [LABEL]) else "mix of " + ", ".join(n for n in live if n != LABEL)
    return {"gamma": gamma, "residual": residual}


def found_words(variant: Variant) -> dict[str, str]:
    """What the declared pulls say in the unit gauge, word by word.

    Args:
        variant: a variant with pulls.

    Returns:
        "gamma" and "residual".
    """
    gamma, residual = pulls_in_words(variant.pulls, "unit") if variant.pulls is not None else ("-", "-")
    return {"gamma": gamma, "residual": residual}


def pulls_in_words(pulls: Pulls, gauge: PullGauge, total_pull: Tensor | None = None) -> tuple[str, str]:
    """gamma and residual as the pulls give them, in plain text.

    Args:
        pulls: the declared pulls.
        gauge: "unit" or "normalized".
        total_pull: [N] S on some tokens; where it is 1 on all of them, the model has no share in the residual.

    Returns:
        Two phrases.
    """
    return pulls.gamma_law(gauge, total_pull).text, pulls.residual_text(gauge, total_pull)


def _other_gauge(reading: Decomposition) -> str:
    """What the gauge in which the claim does not hold makes of the row."""
    undefined = reading.flags.get(FLAG_NO_TOTAL_PULL)
    if undefined is not None and bool(undefined.all()):
        return "the total pull is 0: there is no normalized gauge"
    gamma = reading.gamma[torch.isfinite(reading.gamma)]
    low, high = float(gamma.min()), float(gamma.max())
    everywhere = "throughout" if len(gamma) == len(reading.gamma) else "wherever it is defined"
    span = f"gamma = {low:.3g} {everywhere}" if high - low <= 1e-9 else f"gamma = {low:.2g} to {high:.3g}"
    signed = _signed(reading)
    return f"not in the {reading.gauge} gauge: there {span}" + (f", {signed.split(':')[0]}" if signed else "")


def _smallest(reading: Decomposition) -> tuple[float, float]:
    """Smallest entry of Q over the tokens where the gauge is defined, and p_y of that token."""
    per_token = reading.q.amin(-1)
    per_token = torch.where(torch.isfinite(reading.gamma), per_token, torch.inf)
    index = int(per_token.argmin())
    return float(per_token[index]), float(reading.target.p_label[index])


def add_twins(rows: list[dict[str, Any]], checked: list[tuple[int, Verification]]) -> None:
    """Say in the notes which row has the gradient of an earlier one, on these states.

    Args:
        rows: the table's rows; notes are extended in place.
        checked: (row number, verification) of the rows that were differentiated.
    """
    for position, (index, later) in enumerate(checked):
        size = row_size(later.target.q)
        for _, earlier in checked[:position]:
            apart = (later.target.q - earlier.target.q).abs().amax(-1)
            if bool((apart <= rounding(later.target.q.dtype) * size).all()):
                rows[index]["note"] = "; ".join(
                    filter(None, [_twin(later.variant, earlier.variant), rows[index]["note"]])
                )
                break


def _twin(later: Variant, earlier: Variant) -> str:
    text = f"on these states the same gradient as {earlier.title}"
    if later.stop_gradient == earlier.stop_gradient:
        return text
    return f"{text}, {'without its' if earlier.stop_gradient else 'with a'} stop-gradient"
