"""How a loss wants to be called: which shift it applies, whether it writes into what it is given, what repeats."""

from __future__ import annotations

from dataclasses import replace

import torch

from qtarget_inspect.analysis.audit_checks.finding import Finding, not_checked
from qtarget_inspect.analysis.audit_checks.subject import Subject, differentiate, largest
from qtarget_inspect.analysis.audit_checks.watching import watch_writes
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.engine.alignment import is_aligned

_TAKES = {
    "flat": "takes logits [N, V] and labels [N]",
    "batched": "takes logits [B, T, V] and labels [B, T]",
    "token": "takes one token, logits [V] and a label",
}


def check_shift(subject: Subject) -> Finding:
    """Whether the loss shifts labels against logits inside.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" without a shift; "note" with one, or where labels turn no gradient; "warning" where rolled labels train
        the last position on the first label.
    """
    name, layout = "shift", subject.loss.layout
    if layout == "causal":
        return _shift_inside(subject)
    text, values = f"{_TAKES[layout]} as they are: no shift inside", {"layout": layout, "shift": "none"}
    if layout != "token" and is_aligned(subject.loss, subject.sample, subject.found.together) is None:
        return Finding(name, "note", f"{_TAKES[layout]}; labels turn no gradient, so no shift can be seen", values)
    return Finding(name, "ok", text, values)


def _shift_inside(subject: Subject) -> Finding:
    """Slice and pad leave the last position untrained; roll trains it on the first label."""
    sample = subject.sample
    rows = torch.cat([torch.arange(len(sample)), torch.tensor([0])]).to(sample.labels.device)
    grid = sample.select(rows)  # T = n + 1, every label valid, the first one too
    gradient = differentiate(replace(subject.loss, layout="batched"), grid)[1]
    rolls = bool((gradient[-1] != 0).any())
    inside = "shifts inside (the logits at t are trained on the label at t + 1): hand it labels that are not shifted"
    values = {"layout": "causal", "shift": "roll" if rolls else "slice or pad"}
    if rolls:
        text = f"{inside}. It rolls: the last position is trained on the first label unless that is -100"
        return Finding("shift", "warning", text, values)
    return Finding("shift", "note", f"{inside}; the last position is not trained", values)


def check_writes(subject: Subject) -> Finding:
    """Whether the loss writes in place into its arguments.

    Args:
        subject: the loss under audit.

    Returns:
        "warning" where it writes into logits, labels or context; "ok" otherwise, in-place operations on its own
        intermediate tensors named.
    """
    name = "in-place writes"
    seen = watch_writes(subject.loss, subject.sample)
    own = f"; works in place on tensors of its own ({', '.join(seen.own)})" if seen.own else ""
    values = {"written": seen.arguments, "own": seen.own}
    if seen.arguments:
        text = f"writes into its {' and '.join(seen.arguments)}: clone before changing, or the caller's tensors change"
        return Finding(name, "warning", text + own, values)
    return Finding(name, "ok", f"none into logits, labels or context{own}", values)


def check_determinism(subject: Subject) -> Finding:
    """Whether calls repeat: with the same seed, and with another.

    Args:
        subject: the loss under audit.

    Returns:
        "warning" where calls with the same seed differ; "note" where only other seeds make a difference.
    """
    name, scale = "determinism", max(largest(subject.found.together), 1e-300)
    (value, gradient), (again, gradient_again) = (differentiate(subject.loss, subject.sample) for _ in range(2))
    same_seed = max(largest(gradient - gradient_again), largest((value - again).nan_to_num()))
    other = differentiate(subject.loss, subject.sample, seed=1)[1]
    other_seed = largest(gradient - other)
    values = {"same_seed": same_seed / scale, "other_seed": other_seed / scale}
    if same_seed > 0 or not subject.repeatable:
        text = (
            f"two calls on the same tokens with the same seed differ (gradient by up to {same_seed / scale:.2g} of its "
            "largest entry): it keeps a state (a step counter, an average), or draws numbers that torch's seed does "
            "not govern"
        )
        return Finding(name, "warning", text, values)
    if other_seed > 0:
        text = f"draws random numbers: the gradient differs by up to {other_seed / scale:.2g} of its largest entry"
        return Finding(name, "note", f"{text} between seeds; the same seed repeats it", values)
    return Finding(name, "ok", "two calls, and two seeds, give the same value and gradient to the last bit", values)


def check_order(subject: Subject) -> Finding:
    """Whether a token's gradient depends on where it stands among the others.

    Args:
        subject: the loss under audit.

    Returns:
        "note" where it does.
    """
    name = "order of tokens"
    if not subject.repeatable or subject.found.random:
        return not_checked(name, "two calls on the same tokens differ")
    if subject.found.whole_only:
        return not_checked(name, "the loss takes the whole batch only, and may hold something for each of its rows")
    sample: TokenBatch = subject.sample
    order = torch.arange(len(sample) - 1, -1, -1, device=sample.labels.device)
    gradient = subject.found.together
    moved = differentiate(subject.loss, sample.select(order))[1]
    change = largest(moved[order] - gradient) / max(largest(gradient), 1e-300)
    values = {"change": change}
    if change > subject.rounding:
        text = f"a token's gradient depends on its place: reversed, rows change by up to {change:.2g} of the largest"
        return Finding(name, "note", text, values)
    return Finding(name, "ok", f"does not matter: reversed, rows change by {change:.0e} of the largest entry", values)


def check_cast(subject: Subject) -> Finding:
    """Whether the loss casts to float32 inside.

    Args:
        subject: the loss under audit.

    Returns:
        "note" where it does.
    """
    values = {"dtype": str(subject.dtype).removeprefix("torch.")}
    if subject.dtype == torch.float32:
        text = (
            "casts to float32 inside: its gradient ignores changes of the logits below 1e-7, and 1 - p_y has no digits "
            "left beyond p_y = 1 - 1e-7"
        )
        return Finding("internal cast", "note", text, values)
    return Finding("internal cast", "ok", "none: computes in the type of the logits", values)
