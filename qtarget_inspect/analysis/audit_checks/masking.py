"""What a loss does with labels of ignore_index: one among others, and a batch that has nothing else."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from qtarget_inspect.analysis.audit_checks.finding import Finding, not_checked
from qtarget_inspect.analysis.audit_checks.subject import Subject, differentiate, largest, row_sizes
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.calling import IGNORE_INDEX
from qtarget_inspect.engine.gradients import first_line, own_random_numbers

ON_GPU = "a label of -100 that is used as an index stops the GPU for the whole process; audit a batch on the CPU"


def with_labels(tokens: TokenBatch, labels: Tensor) -> TokenBatch:
    """The same tokens with other labels, which may be -100.

    Args:
        tokens: the tokens.
        labels: [n] labels.

    Returns:
        The batch, unchecked.
    """
    return TokenBatch.unchecked({"logits": tokens.logits, **tokens.context, "labels": labels})


def check_ignore_index(subject: Subject) -> Finding:
    """What becomes of a token whose label is -100.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" where it is dropped; "note" where the loss refuses such labels, or has no use for labels; "warning" where
        the token is trained all the same, or another token is spoilt.
    """
    name, sample = "ignore_index", subject.sample
    if sample.labels.is_cuda:
        return not_checked(name, ON_GPU)
    row = min(1, len(sample) - 1)
    labels = sample.labels.clone()
    labels[row] = IGNORE_INDEX
    before = subject.found.together
    try:
        gradient = differentiate(subject.loss, with_labels(sample, labels))[1]
    except QTargetError as error:
        text = f"a label of -100 is refused ({_raised(error)}): hand it valid tokens only"
        return Finding(name, "note", text, {"raised": True})
    others = torch.arange(len(sample), device=labels.device) != row
    values = {"masked_row": largest(gradient[row]), "row_before": largest(before[row])}
    if not bool(torch.isfinite(gradient).all()):
        return Finding(name, "warning", "one label of -100 makes gradients that are not finite", values)
    if largest(gradient[row]) == 0:
        kept = row_sizes(before[others])
        ratio = largest(gradient[others]) / float(kept.max()) if float(kept.max()) else float("nan")
        text = f"a label of -100 drops its token; the others' gradients become {ratio:.4g} times as large"
        return Finding(name, "ok", text, values | {"others": ratio})
    if subject.repeatable and not subject.found.random and torch.equal(gradient, before):
        return Finding(name, "note", "a label of -100 drops nothing: labels have no effect on the gradient", values)
    if subject.leaking:
        text = f"a label of -100 leaves its row a gradient (up to {values['masked_row']:.2g}) from the others' losses"
        return Finding(name, "note", text, values)
    text = (
        f"a label of -100 is trained like any other (gradient up to {values['masked_row']:.2g}): counted from the end "
        "of the vocabulary, or clamped to a token"
    )
    return Finding(name, "warning", text, values)


def check_all_masked(subject: Subject) -> Finding:
    """What the loss returns for a batch of nothing but -100.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" for a finite value without pull; "note" where such labels are refused, or where the value is a constant
        that `.backward()` refuses; "warning" for NaN, and for gradients.
    """
    name, sample = "all masked", subject.sample
    if sample.labels.is_cuda:
        return not_checked(name, ON_GPU)
    masked = with_labels(sample, torch.full_like(sample.labels, IGNORE_INDEX))
    leaf = sample.logits.clone().requires_grad_(True)
    try:
        with (
            torch.enable_grad(),
            own_random_numbers(leaf.device, seed=0),
            warnings.catch_warnings(action="ignore"),
        ):
            value = subject.loss(leaf, masked)
        gradient = differentiate(subject.loss, masked)[1]
    except Exception as error:  # whatever a loss raises on labels it does not know is the finding
        return Finding(name, "note", f"labels of -100 are refused ({_raised(error)})", {"raised": True})
    values = {"value": float(value.detach().sum()), "gradient": largest(gradient)}
    if not bool(torch.isfinite(value).all()) or not bool(torch.isfinite(gradient).all()):
        finite = bool(torch.isfinite(gradient).all())
        what = "value that is not finite (its gradient is)" if finite else "gradient that is not finite"
        text = f"a batch without a valid label gives a {what}: 0/0? Divide by at least one token"
        return Finding(name, "warning", text, values)
    if largest(gradient) > 0:
        text = f"a batch without a valid label still has a gradient (up to {largest(gradient):.2g})"
        ignores_labels = torch.equal(gradient, subject.found.together)
        return Finding(name, "note" if ignores_labels else "warning", text, values)
    if not value.requires_grad:
        text = f"a batch without a valid label gives the constant {values['value']:g}: .backward() on it raises"
        return Finding(name, "note", text, values)
    return Finding(name, "ok", f"a batch without a valid label gives {values['value']:g} and no gradient", values)


def _raised(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {first_line(cause):.80}"
