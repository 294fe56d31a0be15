"""The lines of an inspection in words: each a label and a sentence, made from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from qtarget_inspect.analysis.decomposition import (
    FLAG_DEPENDENT,
    FLAG_FULL_TRUST,
    FLAG_SATURATED,
    Decomposition,
    Gauge,
    Reading,
    decompose,
    may_leave,
)
from qtarget_inspect.analysis.identification.result import UNKNOWN_LAW
from qtarget_inspect.tables.notes import pulls_in_words
from qtarget_inspect.vocabulary.numerals import short_name
from qtarget_inspect.vocabulary.pulls import LABEL

if TYPE_CHECKING:
    from qtarget_inspect.inspection.result import Inspection


SHOWN = 3
"""Registered losses of the same gradient that are named."""


def describe(seen: Inspection) -> list[tuple[str, str]]:
    """Label and text of every line below the head.

    Args:
        seen: the inspection.

    Returns:
        Pairs, in the order they are shown.
    """
    target, facts = seen.target, []
    if seen.variant is not None:
        facts.append(("loss", f"{seen.variant.formula}   ({seen.variant.category}, {seen.variant.reference})"))
    facts += [("gamma", _gamma(seen)), ("over p_y", _curve(seen)), ("residual", _residual(seen))]
    facts += [("pulls", _pulls(seen)), ("Q", _target(seen)), ("readings", _readings(seen))]
    facts += [("nearest", text) for text in _nearest(seen)]
    facts += [("learns", seen.learned.text if seen.learned is not None else f"not told: {seen.unsaid['learns']}")]
    facts += [("reduction", target.reduction.text)]
    facts += [("tokens", f"coupled: {target.coupled}" if target.coupled else "no coupling found")]
    facts += [("audit", seen.audit.summary if seen.audit is not None else f"not tried: {seen.unsaid['audit']}")]
    facts += [("states", f"{seen.states}; gradient by {target.method}")]
    if seen.identification is not None:
        facts.append(("named on", seen.identification.states))
    if seen.dtype != seen.reading.q.dtype:
        facts.append(("precision", "the loss casts to float32 inside: numbers are good to about 1e-7"))
    return facts + [("note", note) for note in target.notes]


def _known(seen: Inspection) -> np.ndarray:
    gamma = seen.values["gamma"]
    return gamma[np.isfinite(gamma) & (seen.unique if seen.explained else True)]


def _gamma(seen: Inspection) -> str:
    known = _known(seen)
    if not known.size:
        return "undefined on every token"
    text = span(known)
    if not seen.explained:
        return f"{text}   (Q on the label)"
    formula = _law(seen)
    if formula is not None:
        text = text if formula == text else f"{formula}   ({text})"
    undetermined = len(seen.values["gamma"]) - known.size
    return text + (f"; undetermined on {_tokens(undetermined)}" if undetermined else "")


def _law(seen: Inspection) -> str | None:
    """gamma as a formula: declared, or found; None where neither is known in the gauge that is shown."""
    if seen.variant is not None and seen.variant.pulls is not None:
        return pulls_in_words(seen.variant.pulls, seen.reading.gauge, seen.pulls.total_pull)[0]
    found = seen.identification
    if found is None or not _agrees(seen) or found.gamma_law.text == UNKNOWN_LAW:
        return None
    return found.gamma_law.text


def _agrees(seen: Inspection) -> bool:
    """Whether the black box was named in the gauge that is shown."""
    return seen.identification is not None and seen.identification.gauge == seen.reading.gauge


def _nearest(seen: Inspection) -> list[str]:
    """The nearest registered losses, other than the loss itself; none where the loss could not be named."""
    if seen.identification is None:
        return [f"not told: {seen.unsaid['law']}"]
    others = [one for one in seen.identification.nearest if seen.variant is None or one.name != seen.variant.label]
    exact = [one.text for one in others if one.relation][:SHOWN]
    return ["; ".join(exact) if exact else others[0].text] if others else []


def _curve(seen: Inspection) -> str:
    table = seen.table()
    picked = table[table["gamma_mean"].notna()]
    if picked.empty or picked["gamma_max"].max() - picked["gamma_min"].min() <= 1e-6:
        return "the same at every p_y"
    bins = [f"<{row.p_y_to:g}: {row.gamma_mean:.2g}" for row in picked.itertuples(index=False)]
    return "mean gamma at p_y " + "  ".join(bins)


def _residual(seen: Inspection) -> str:
    if not seen.explained:
        return "what is left of Q without the label; no known attractor explains it"
    if FLAG_SATURATED in seen.pulls.flags:
        return "cannot be told: there are as many directions as dimensions"
    if seen.variant is not None and seen.variant.pulls is not None:
        text = pulls_in_words(seen.variant.pulls, seen.reading.gauge, seen.pulls.total_pull)[1]
    elif seen.identification is not None and seen.identification.pulls is not None and _agrees(seen):
        text = seen.identification.residual.text
        text = "the model itself: nothing but the label is pulled to" if text == "model" else text
    else:
        text = _mixture(seen)
    flagged = seen.reading.flags.get(FLAG_FULL_TRUST)
    if flagged is None:
        return text
    full = flagged[torch.from_numpy(seen.unique).to(flagged.device)]  # elsewhere gamma is one of many
    if not bool(full.any()):
        return text
    if bool(full.all()):
        others = [name for name in _live_pulls(seen) if name != LABEL]
        more = f"; the remainder is not 0, it comes from the pull to {', '.join(others)}" if others else ""
        return f"none: gamma is 1{more}"
    return f"{text}   (none where gamma is 1, {_percent(full.double().mean())} of tokens)"


def _mixture(seen: Inspection) -> str:
    """The residual of a fit: the pulls besides the label's, and the model where it has a share."""
    others = [name for name in _live_pulls(seen) if name != LABEL]
    if not others:
        return "the model itself: nothing but the label is pulled to"
    total = seen.pulls.total_pull.cpu().numpy()[seen.unique]
    complete = seen.reading.gauge == "normalized" or bool((np.abs(total - 1) <= 1e-4).all())
    parts = others if complete else ["the model", *others]
    return parts[0] if len(parts) == 1 else f"mix of {', '.join(parts)}"


def _live_pulls(seen: Inspection) -> dict[str, np.ndarray]:
    """Pulls that are not zero beside the others, on the tokens where they are unique."""
    pulls = {name: weight.cpu().numpy()[seen.unique] for name, weight in seen.pulls.pulls.items()}
    largest = max(np.abs(weight).max() for weight in pulls.values())
    live = {name: weight for name, weight in pulls.items() if np.abs(weight).max() > 1e-6 * largest}
    return {short_name(name): weight for name, weight in live.items()}


def _pulls(seen: Inspection) -> str:
    if not seen.explained:
        return "not explained; identify the loss, or pass attractors= to qt.decompose"
    total = span(seen.pulls.total_pull.cpu().numpy()[seen.unique])
    if seen.variant is not None and seen.variant.pulls is not None:
        parts = seen.variant.pulls.text
    else:
        parts = ", ".join(f"{name} {span(weight)}" for name, weight in _live_pulls(seen).items())
        found = seen.identification
        if found is not None and found.pulls is not None and _agrees(seen):
            parts = found.pulls.text
    return f"{parts or 'none: nothing moves'}   ({seen.pulls.source}; total pull {total})"


def _target(seen: Inspection) -> str:
    """Whether Q is a distribution, and if not, where and why."""
    values, noise = seen.values, seen.noise
    signed = values["negative_mass"] > noise
    off = np.abs(values["mass"] - 1)
    unbalanced = off > 10 * noise
    if not signed.any() and not unbalanced.any():
        return "a distribution everywhere (sum 1, no negative mass)"
    parts = []
    if signed.any():
        q = torch.nan_to_num(seen.reading.q, nan=torch.inf)
        row = int(np.argmin(np.where(signed, q.amin(-1).cpu().numpy(), np.inf)))
        column = int(q[row].argmin())
        token = "the label" if column == int(seen.target.batch.labels[row]) else f"token {column}"
        where = f"{token} at p_y = {values['p_label'][row]:.2g}"
        parts.append(
            f"negative mass on {_percent(signed.mean())} of tokens, down to {float(q[row, column]):.2g} ({where})"
        )
        known = _known(seen)
        if seen.explained and known.size and known.max() > 1 + 10 * noise.max():
            parts.append(f"the pull to the label exceeds 1 (up to {known.max():.3g})")
    if unbalanced.any():
        parts.append(f"its sum is off 1 by up to {np.nanmax(off):.2g}: the loss is not shift invariant")
    return "NOT a distribution: " + "; ".join(parts)


def _readings(seen: Inspection) -> str:
    parts = []
    for name, reading in other_readings(seen).items():
        left = float(torch.nan_to_num(reading.unexplained).max())
        fits = left <= may_leave(seen.target.g)
        parts.append(f"{name} {_mean(reading, seen.unique)}" if fits else f"{name} does not fit (leaves {left:.1g})")
    return "mean gamma: " + ", ".join(parts)


def other_readings(seen: Inspection) -> dict[str, Decomposition]:
    """The loss read in all three readings, in the gauge that is shown.

    Args:
        seen: an inspection.

    Returns:
        reading -> decomposition.
    """
    gauge: Gauge = "normalized" if seen.reading.gauge == "normalized" else "unit"
    readings: dict[str, Decomposition] = {"attractor": seen.pulls}
    names: tuple[Reading, ...] = ("self", "label-free")
    for name in names:
        readings[name] = decompose(seen.target, gauge=gauge, reading=name)
    return readings


def unique_tokens(reading: Decomposition) -> torch.Tensor:
    """[N] bool, tokens on which the pulls are unique; all of them where they are unique on none.

    Args:
        reading: a decomposition.

    Returns:
        [N] mask.
    """
    dependent = reading.flags.get(FLAG_DEPENDENT)
    if dependent is None or bool(dependent.all()):
        return torch.ones_like(reading.gamma, dtype=torch.bool)
    return ~dependent


def _mean(reading: Decomposition, unique: np.ndarray) -> str:
    gamma = reading.gamma.cpu().numpy()
    gamma = gamma[np.isfinite(gamma) & unique]
    return f"{gamma.mean():.4g}" if gamma.size else "undefined"


def span(values: np.ndarray) -> str:
    """A range in words: one number where all are equal to four digits, else "low to high".

    Args:
        values: numbers, NaN left out.

    Returns:
        Text.

    Examples:
        >>> span(np.array([0.25, 1.0])), span(np.array([0.9, 0.9]))
        ('0.25 to 1', '0.9')
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return "undefined"
    low, high = float(values.min()), float(values.max())
    if max(abs(low), abs(high)) < 1e-9:  # a fitted zero
        return "0"
    return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.3g} to {high:.4g}"


def _percent(share: float | torch.Tensor) -> str:
    percent = 100 * float(share)
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"
