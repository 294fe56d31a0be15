"""How a loss bears numbers: half-precision logits, masked vocabulary entries, certain and impossible labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.audit_checks.finding import Finding, Level, not_checked
from qtarget_inspect.analysis.audit_checks.subject import Subject, differentiate, largest
from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.gradients import first_line

HALVES = (torch.bfloat16, torch.float16)

SPOILT = 0.1
"""An error of Q, in units of its size, that is no loss of digits any more."""

LARGE = 1e4
"""A logit by which p_y is 1, or 0, to the last bit."""

MASKED = "masked entries (-inf)"

MASKED_EVERY = 4
"""One vocabulary entry in so many is masked by -inf."""


def check_half_precision(subject: Subject) -> Finding:
    """What half-precision logits cost: |dQ| beyond the rounding of the half-precision gradient itself.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" where nothing is lost; "note" where digits are; "warning" where the loss raises or is not finite.
    """
    if not subject.repeatable:
        return not_checked("half precision", "two calls with the same seed differ")
    texts, levels = [], {"ok"}
    values: dict[str, Any] = {}
    for dtype in HALVES:
        short = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
        half = subject.sample.to(dtype)
        exact = half.to(torch.float64)
        try:
            value, gradient = differentiate(subject.loss, half)
        except QTargetError as error:
            cause = error.__cause__ or error
            texts.append(f"{short} logits raise {type(cause).__name__}: {first_line(cause):.80}")
            levels.add("warning")
            values[short] = None
            continue
        reference = differentiate(subject.loss, exact)[1]
        gradient = gradient.double()
        if not bool(torch.isfinite(gradient).all()) or bool(torch.isnan(value).any()):
            texts.append(f"{short} logits give a value or gradient that is not finite")
            levels.add("warning")
            values[short] = float("nan")
            continue
        off = subject.divisors * (gradient - reference).abs()
        unit = torch.finfo(dtype).eps * subject.divisors * reference.abs()
        beyond = largest((off - unit).clamp(min=0))
        size = max(1.0, largest(subject.divisors * reference))
        values |= {short: largest(off), f"{short}_beyond_rounding": beyond}
        if beyond <= torch.finfo(dtype).eps / 16 * size:
            texts.append(f"{short} logits: no more than the rounding of the gradient itself ({largest(off):.1g} in Q)")
        else:
            kind = str(value.dtype).removeprefix("torch.")
            texts.append(f"{short} logits: Q is off by up to {largest(off):.1g} (value in {kind}); upcast them first")
            levels.add("warning" if largest(off) > SPOILT * size else "note")
    level: Level = "warning" if "warning" in levels else "note" if "note" in levels else "ok"
    return Finding("half precision", level, "; ".join(texts), values)


def check_extreme_logits(subject: Subject) -> Finding:
    """Whether masked vocabulary entries and labels of probability 0 or 1 give finite gradients.

    Args:
        subject: the loss under audit.

    Returns:
        "warning" where value or gradient is NaN or infinite; "note" where only the value is infinite.
    """
    broken, infinite = [], []
    values: dict[str, Any] = {}
    cases = _extremes(subject.sample)
    left_out = ""
    if subject.loss.inputs == "hidden":  # -inf times the zeros of the identity lm_head that it is called with is NaN
        del cases[MASKED]
        left_out = " (masked entries cannot be tried on a loss of hidden states)"
    for what, tokens in cases.items():
        try:
            value, gradient = differentiate(subject.loss, tokens)
        except QTargetError as error:
            broken.append(f"{what}: raises {type(error.__cause__ or error).__name__}")
            values[what] = "raised"
            continue
        bad_rows = int((~torch.isfinite(gradient)).any(-1).sum())
        values[what] = bad_rows
        if bool(torch.isnan(value).any()) or bad_rows:
            kind = (
                "NaN" if bool(torch.isnan(value).any()) else "infinite" if bool(torch.isinf(value).any()) else "finite"
            )
            rows = f"not finite on {bad_rows} of {len(tokens)} tokens" if bad_rows else "finite"
            broken.append(f"{what}: value {kind}, gradient {rows}")
        elif bool(torch.isinf(value).any()):
            infinite.append(what)
    if broken:
        text = f"{'; '.join(broken)}. Use log_softmax, and torch.where around 0 * inf"
        return Finding("extreme logits", "warning", text, values)
    if infinite:
        return Finding("extreme logits", "note", f"{', '.join(infinite)}: infinite value, finite gradient", values)
    return Finding(
        "extreme logits", "ok", f"values and gradients stay finite with {', '.join(values)}{left_out}", values
    )


def _extremes(sample: TokenBatch) -> dict[str, TokenBatch]:
    """The sample with a part of the vocabulary masked, for every model alike; with certain and impossible labels."""
    columns = torch.arange(sample.vocabulary, device=sample.labels.device)
    masked = (columns % MASKED_EVERY == 0) & (columns != sample.labels[:, None])  # [n, V]

    def with_fields(**changed: Tensor) -> TokenBatch:
        return TokenBatch.unchecked({
            "logits": sample.logits,
            "labels": sample.labels,
            **sample.context,
            **changed,
        })

    models = {name: getattr(sample, name) for name in ("logits", *LOGIT_CONTEXT) if getattr(sample, name) is not None}
    index = sample.labels[:, None]
    return {
        MASKED: with_fields(**{k: z.masked_fill(masked, float("-inf")) for k, z in models.items()}),
        "p_y = 1 (label at +1e4)": with_fields(logits=sample.logits.scatter(-1, index, LARGE)),
        "p_y = 0 (label at -1e4)": with_fields(logits=sample.logits.scatter(-1, index, -LARGE)),
    }
