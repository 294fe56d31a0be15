"""How a loss sums over its tokens: reduction, num_items_in_batch, gradient accumulation, one token alone, coupling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.audit_checks.finding import Finding, not_checked
from qtarget_inspect.analysis.audit_checks.subject import Subject, differentiate, largest, row_sizes
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.calling import parameters_of
from qtarget_inspect.engine.plan import fixed_number_of_items
from qtarget_inspect.engine.reduction import LEAK

ITEMS = (1, 2, 8)
"""Values of num_items_in_batch that are tried."""

WHOLE_ONLY = "the loss takes the whole batch only: it may hold something for each of its rows, or need many tokens"


def check_reduction(subject: Subject) -> Finding:
    """What the loss does to its per-token values.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" for a vector or a sum; "note" where something was divided; "warning" where the reduction cannot be told.
    """
    name = "reduction"
    if subject.target is None:
        return Finding(name, "warning", f"cannot be told: {subject.trouble}", {"kind": "unknown"})
    reduction = subject.target.reduction
    divisor = reduction.divisor
    values: dict[str, Any] = {"kind": reduction.kind}
    if isinstance(divisor, Tensor):
        values |= {"divisor_min": float(divisor.min()), "divisor_max": float(divisor.max())}
    else:
        values["divisor"] = float(divisor)
    if reduction.kind in ("none", "sum", "alone"):
        return Finding(name, "ok", reduction.text, values)
    text = reduction.text.removesuffix(", undone")
    return Finding(name, "note", f"{text}: a token's step shrinks with its batch (inversion undoes it)", values)


def check_items(subject: Subject) -> Finding:
    """Whether the loss divides by num_items_in_batch.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" where the loss has no such parameter; "note" where it divides by it; "warning" where it ignores it, does
        something else with it, or cannot do without.
    """
    name, loss = "num_items_in_batch", subject.loss
    fixed = fixed_number_of_items(loss)
    if fixed is not None:
        return Finding(name, "note", f"fixed at {fixed:g}, so not tried with other numbers", {"fixed": fixed})
    if "num_items_in_batch" not in parameters_of(loss.function):
        return Finding(name, "ok", "is no parameter of the loss")
    gradients = {items: _gradient_with_items(subject, items) for items in (*ITEMS, None)}
    sizes = {items: largest(value) if isinstance(value, Tensor) else value for items, value in gradients.items()}
    one = sizes[1]
    if isinstance(one, str) or not one:
        return not_checked(name, one if isinstance(one, str) else "the gradient is zero on the tokens tried")
    shares = {items: size if isinstance(size, str) else size / one for items, size in sizes.items()}
    values = {f"share_{items}": share for items, share in shares.items()}
    without = shares[None]
    none = (
        f"raises without it ({without})"
        if isinstance(without, str)
        else f"without it the gradient of {len(subject.sample)} tokens is {without:.4g} of that with 1"
    )
    numbers = [(items, shares[items]) for items in ITEMS]
    if all(not isinstance(share, str) and abs(share * items - 1) < 1e-3 for items, share in numbers):
        text = (
            f"divides by it: with 8 the gradient is 1/8 of that with 1: its step, not its target, depends on it; {none}"
        )
        return Finding(name, "warning" if isinstance(without, str) else "note", text, values)
    if all(not isinstance(share, str) and abs(share - 1) < 1e-3 for _, share in numbers):
        return Finding(name, "warning", "takes it and ignores it: 1, 2 and 8 give the same gradient", values)
    shown = ", ".join(f"{items}: {share if isinstance(share, str) else f'{share:.4g}'}" for items, share in numbers)
    return Finding(
        name, "warning", f"neither divides by it nor ignores it; gradient relative to that with 1: {shown}", values
    )


def _gradient_with_items(subject: Subject, items: int | None, tokens: Any = None) -> Tensor | str:
    """The gradient with a number of items, or what was raised."""
    loss = with_items(subject.loss, items)
    try:
        return differentiate(loss, subject.sample if tokens is None else tokens)[1]
    except QTargetError as error:
        return _cause(error)


def with_items(loss: TokenLoss, items: int | None) -> TokenLoss:
    """The loss called with a number of items.

    Args:
        loss: the adapted loss.
        items: num_items_in_batch.

    Returns:
        The loss.
    """
    return replace(loss, fixed={**loss.fixed, "num_items_in_batch": items})


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__


def check_accumulation(subject: Subject) -> Finding:
    """Whether gradient accumulation over unequal micro-batches gives each token the step that one batch gives it.

    A loss that takes num_items_in_batch is called with that of the whole and summed; others are averaged over the
    micro-batches, as trainers do.

    Args:
        subject: the loss under audit.

    Returns:
        "ok" where all tokens keep their shares; "warning" where their shares change.
    """
    name, sample = "accumulation", subject.sample
    if not subject.found.scalar:
        return Finding(name, "ok", "returns one value a token: whoever reduces them decides")
    if subject.found.whole_only:
        return not_checked(name, WHOLE_ONLY)
    if not subject.repeatable or subject.found.random:
        return not_checked(name, "two calls on the same tokens differ")
    counted = (
        "num_items_in_batch" in parameters_of(subject.loss.function) and fixed_number_of_items(subject.loss) is None
    )
    loss = with_items(subject.loss, len(sample)) if counted else subject.loss
    cut = _place_to_cut(subject)
    whole = differentiate(loss, sample)[1]
    parts = [differentiate(loss, sample.select(rows))[1] for rows in (slice(0, cut), slice(cut, len(sample)))]
    accumulated = torch.cat(parts) / (1 if counted else len(parts))
    alive = row_sizes(whole) > 1e-6 * largest(whole)
    if not bool(alive.any()):
        return not_checked(name, "the gradient is zero on the tokens tried")
    share = (accumulated * whole).sum(-1)[alive] / whole.square().sum(-1)[alive]
    low, high = float(share.min()), float(share.max())
    values = {"tokens": (cut, len(sample) - cut), "share_min": low, "share_max": high}
    how = "summed" if counted else "averaged"
    means = " (a mean of means)" if subject.target is not None and subject.target.reduction.kind == "mean" else ""
    split = f"micro-batches of {cut} and {len(sample) - cut} tokens, {how}"
    if high - low > 1e-3 * abs(high):
        text = f"{split}: a token counts {low:.3g} to {high:.3g} times as much as in one batch{means}"
        return Finding(name, "warning", text, values)
    return Finding(name, "ok", f"{split}: every token counts {high:.4g} times as much as in one batch", values)


def _place_to_cut(subject: Subject) -> int:
    """Where to cut the sample into unequal parts; between sequences where the loss looks at them."""
    tokens, ids = len(subject.sample), subject.sample.sequence_ids
    middle = 2 * tokens // 3
    if ids is None or "sequence_ids" not in subject.loss.context.values():
        return middle
    ends = [place for place in range(1, tokens) if ids[place] != ids[place - 1] and 2 * place != tokens]
    return min(ends, key=lambda place: abs(place - middle), default=middle)


def check_one_token(subject: Subject) -> Finding:
    """Whether the loss works on a single token.

    Args:
        subject: the loss under audit.

    Returns:
        "warning" where it raises or is not finite there.
    """
    name, sample = "one token", subject.sample
    if subject.found.whole_only:
        return not_checked(name, WHOLE_ONLY)
    if not subject.repeatable:
        return not_checked(name, "two calls on the same tokens differ")
    row = int(row_sizes(subject.found.together).argmax())
    try:
        value, gradient = differentiate(subject.loss, sample.select(row))
    except QTargetError as error:
        return Finding(
            name, "warning", f"raises on a single token: {error.__cause__ or error!s}", {"raised": _cause(error)}
        )
    size, size_in_company = largest(gradient), largest(subject.found.together[row])
    values = {"value": float(value.sum()), "ratio": size / size_in_company if size_in_company else float("nan")}
    if not bool(torch.isfinite(value).all()) or not bool(torch.isfinite(gradient).all()):
        return Finding(name, "warning", "a single token gives a value or gradient that is not finite", values)
    if size == 0 < size_in_company:
        return Finding(name, "warning", "a single token has no gradient: it is weighted relative to its batch", values)
    if subject.found.random:
        return Finding(name, "ok", "works", values)
    text = f"works: its gradient is {values['ratio']:.4g} times that in a batch of {len(sample)}"
    return Finding(name, "ok", text, values)


def check_coupling(subject: Subject) -> Finding:
    """Whether a token's gradient depends on the other tokens of its batch.

    Args:
        subject: the loss under audit.

    Returns:
        "note" for a detached weight; "warning" where gradient leaks between tokens.
    """
    name, target = "coupling", subject.target
    ratios = {}
    if subject.study is not None and subject.study.ratios.numel():
        ratio = subject.study.ratios
        ratios = {"ratio_min": float(ratio.min()), "ratio_max": float(ratio.max())}
    shown = f" (in company {ratios['ratio_min']:.4g} to {ratios['ratio_max']:.4g} times alone)" if ratios else ""
    if subject.leaking:
        return Finding(name, "warning", f"{LEAK}{shown}; detach what couples them", {"coupled": LEAK, **ratios})
    if target is None:
        return not_checked(name, "the reduction cannot be told, and coupling would be read from what is left")
    if target.coupled is not None:
        return Finding(name, "note", f"{target.coupled}{shown}", {"coupled": target.coupled, **ratios})
    if subject.found.random:
        return not_checked(name, "two calls on the same tokens differ")
    return Finding(name, "ok", f"none seen on {len(target.batch)} tokens: a token's gradient is its own", ratios)
