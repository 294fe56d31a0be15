"""What a loss's value says beside its gradient: stop-gradients by finite differences, constants added to the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.analysis.audit_checks.finding import Finding, not_checked
from qtarget_inspect.analysis.audit_checks.subject import Subject, differentiate, largest, row_sizes
from qtarget_inspect.core.batch import TokenBatch

STEPS = {torch.float64: 1e-5, torch.float32: 1e-2}
"""Step of the central differences, in units of the logits."""

DISAGREE = {torch.float64: 1e-5, torch.float32: 2e-2}
"""Share of a gradient row by which a slope may miss it and still be truncation and rounding."""

ROWS, SMALLEST_ROW = 6, 1e-3
"""How many tokens are tried; how small, beside the largest, a gradient may be to stand above rounding of the value."""

CONSTANT = 3.0
"""What is added to the logits, from minus to plus this over the tokens."""


def check_stop_gradient(subject: Subject) -> Finding:
    """Whether the value rises as its gradient says: where not, something is detached.

        (L(z + h d) - L(z - h d)) / 2h    against    <g, d>,    d along g and along a fixed direction

    Args:
        subject: the loss under audit.

    Returns:
        "note" where they disagree: a stop-gradient, or a backward pass of the loss's own.
    """
    name, sample = "stop-gradient", subject.sample
    if not subject.repeatable:
        return not_checked(name, "two calls with the same seed differ, so values cannot be subtracted")
    sizes = row_sizes(subject.found.together)
    likeliest = sizes.argsort(descending=True)[:ROWS].tolist()
    rows = [row for row in likeliest if sizes[row] > SMALLEST_ROW * sizes.max()]
    if not rows:
        return not_checked(name, "the gradient is zero on the tokens tried")
    value = differentiate(subject.loss, sample)[0]
    dtype = torch.float64 if value.dtype == subject.dtype == torch.float64 else torch.float32
    off, seen = 0.0, 0
    for row in rows:
        gradient = subject.found.together[row]
        fixed = torch.cos(torch.arange(sample.vocabulary, dtype=gradient.dtype, device=gradient.device))
        for direction in (gradient, fixed - fixed.mean()):
            unit = direction / direction.norm()
            slope = _slope(subject, row, unit, STEPS[dtype])
            if torch.isfinite(slope):
                off = max(off, float((slope - gradient @ unit).abs() / gradient.norm()))
                seen += 1
    if not seen:
        return not_checked(name, "the value is not finite on the tokens tried")
    values = {"disagreement": off, "tokens": len(rows)}
    if off > DISAGREE[dtype]:
        text = (
            f"finite differences of the value miss the gradient by up to {off:.2g} of its size: something is detached "
            "(or has a backward of its own). The value is not what is minimised; gradcheck will not agree"
        )
        return Finding(name, "note", text, values)
    text = (
        f"none that shows: finite differences of the value agree with the gradient to {off:.0e} on {len(rows)} tokens"
    )
    return Finding(name, "ok", f"{text} (a detached step function does not show)", values)


def _slope(subject: Subject, row: int, unit: Tensor, step: float) -> Tensor:
    """Central difference of the summed value along a direction of one token's logits."""
    sample, ends = subject.sample, []
    for sign in (1, -1):
        logits = sample.logits.clone()
        logits[row] += sign * step * unit
        value = differentiate(subject.loss, _with_logits(sample, logits))[0]
        ends.append(value.to(torch.float64))
    return ((ends[0] - ends[1]) / (2 * step)).sum()


def _with_logits(tokens: TokenBatch, logits: Tensor) -> TokenBatch:
    return TokenBatch.unchecked({**tokens.context, "labels": tokens.labels, "logits": logits})


def check_shift_invariance(subject: Subject) -> Finding:
    """Whether a constant added to a token's logits, which leaves p as it is, changes anything; whether Q sums to 1.

    Args:
        subject: the loss under audit.

    Returns:
        "note" where it does, with the mass of Q.
    """
    name, sample = "shift invariance", subject.sample
    if not subject.repeatable:
        return not_checked(name, "two calls with the same seed differ")
    gradient = subject.found.together
    scale = max(largest(gradient), 1e-300)
    offsets = torch.linspace(-CONSTANT, CONSTANT, len(sample), dtype=sample.logits.dtype, device=sample.logits.device)
    value = differentiate(subject.loss, sample)[0]
    moved_value, moved = differentiate(subject.loss, _with_logits(sample, sample.logits + offsets[:, None]))
    change = largest(moved - gradient) / scale
    change_of_value = largest((moved_value - value).nan_to_num()) / max(largest(value.nan_to_num()), 1e-300)
    mass = 1 - (subject.divisors * gradient).sum(-1)
    off = largest(gradient.sum(-1)) / scale
    values = {
        "gradient": change,
        "value": change_of_value,
        "mass_min": float(mass.min()),
        "mass_max": float(mass.max()),
    }
    if off > subject.rounding:
        spread = f"mass {values['mass_min']:.3g} to {values['mass_max']:.3g} on these tokens"
        does = "changes the gradient" if change > subject.rounding else "leaves the gradient as it is"
        text = f"the gradient does not sum to 0 over the vocabulary: Q has {spread}; a constant on the logits {does}"
        return Finding(name, "note", text, values)
    if max(change, change_of_value) > 10 * subject.rounding:
        text = (
            f"adding a constant to a token's logits leaves p as it is, but changes the value by {change_of_value:.2g} "
            f"and the gradient by {change:.2g} of their size"
        )
        return Finding(name, "note", text, values)
    text = f"adding a constant to a token's logits changes nothing (gradient by {change:.0e} of its size); Q sums to 1"
    return Finding(name, "ok", text, values)
