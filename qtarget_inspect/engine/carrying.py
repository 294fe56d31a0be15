"""Carrying: tensors that a loss holds by row travel with the tokens, as context of the batch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.engine.adapter import TokenLoss


def carry_rows(loss: TokenLoss, batch: TokenBatch, any_name: bool = False) -> tuple[TokenLoss, TokenBatch]:
    """Let tensors that a loss holds by row (`partial(fn, teacher_logits=t)`) travel with the tokens.

    Args:
        loss: the adapted loss.
        batch: the whole batch.
        any_name: also tensors under names that are no known context; they borrow a field that the batch does not use.

    Returns:
        The loss asking for them as context, and the batch that holds them; both as they were where there are none.
    """
    filled: dict[str, Any] = {**(getattr(loss.function, "keywords", None) or {}), **loss.fixed}
    free = [name for name in CONTEXT_NAMES if getattr(batch, name) is None and name not in loss.context.values()]
    context, carried = dict(loss.context), {}
    for key, value in filled.items():
        if not isinstance(value, Tensor) or value.shape[:1] != (len(batch),) or not (any_name or key in CONTEXT_NAMES):
            continue
        if value.ndim == 1 and len(batch) == batch.vocabulary:
            continue  # as likely one value a class as one a token
        slot = next(
            (name for name in ([key] if key in CONTEXT_NAMES else _fields_like(value, batch)) if name in free), None
        )
        if slot is not None:
            free.remove(slot)
            context[key], carried[slot] = slot, value
    if not carried:
        return loss, batch
    fixed = {key: value for key, value in loss.fixed.items() if key not in context}
    return replace(loss, context=context, fixed=fixed), batch.with_logits(batch.logits, **carried)


def held_tensors(function: Any, depth: int = 3) -> list[Tensor]:
    """Tensors that a loss holds besides its arguments: in a partial, a closure, globals it names, its attributes.

    Args:
        function: the user's callable.
        depth: how many callables inside callables are followed.

    Returns:
        The tensors, in no order.
    """
    held: list[Any] = []
    if isinstance(function, partial):
        held += [function.func, *function.args, *function.keywords.values()]
    code = getattr(function, "__code__", None)
    if code is not None:
        names = getattr(function, "__globals__", {})
        held += [names[name] for name in code.co_names if name in names]
        for cell in function.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:  # a cell that is still empty
                continue
    for thing in (function, getattr(function, "__self__", None)):
        if not isinstance(thing, ModuleType | type(None)):
            held += list(getattr(thing, "__dict__", {}).values())
    found = [thing for thing in held if isinstance(thing, Tensor)]
    if depth:
        inner = [thing for thing in held if callable(thing) and not isinstance(thing, type | Tensor)]
        found += [tensor for thing in inner for tensor in held_tensors(thing, depth - 1)]
    return found


def _fields_like(value: Tensor, batch: TokenBatch) -> tuple[str, ...]:
    """Fields of a batch that can hold a tensor of this shape and type."""
    if not value.is_floating_point():
        return ()
    if value.shape == batch.logits.shape:
        return LOGIT_CONTEXT
    return ("advantages", "weights") if value.ndim == 1 else ()
