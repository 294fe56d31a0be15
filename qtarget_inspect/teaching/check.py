"""Check: the outcome of an exercise, and what all checks do first with an answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError

Outcome = Literal["right", "not yet", "not filled in"]


@dataclass(frozen=True)
class Check:
    """What a check says of an answer. True where it is right.

    Args:
        outcome: "right", "not yet", or "not filled in".
        hint: what was computed from the answer, and what is off; never the solution.

    Examples:
        >>> Check("not yet", "gamma has the wrong sign.")
        not yet: gamma has the wrong sign.
        >>> bool(Check("right", "gamma is p_y."))
        True
    """

    outcome: Outcome
    hint: str

    def __bool__(self) -> bool:
        """Whether the answer is right."""
        return self.outcome == "right"

    def __repr__(self) -> str:
        """Outcome and hint."""
        return f"{self.outcome}: {self.hint}"


def right(text: str) -> Check:
    """A right answer, with what was compared."""
    return Check("right", text)


def not_yet(text: str) -> Check:
    """A wrong answer, with what is off."""
    return Check("not yet", text)


def not_filled_in(what: str) -> Check:
    """No answer: the cell is as it was handed out."""
    return Check("not filled in", f"{what}, then run this cell again.")


def is_empty(value: Any) -> bool:
    """Whether a value is what an unfilled cell holds: None or an ellipsis."""
    return value is None or value is Ellipsis


def unusable_loss(loss: Any, batch: TokenBatch) -> Check | None:
    """The check of a loss that is not there yet, or that cannot be called; None where it can.

    Args:
        loss: what the student wrote; a loss that returns None is not filled in.
        batch: some tokens to call it on.

    Returns:
        The check, or None.
    """
    if is_empty(loss):
        return not_filled_in("write the loss")
    returned: list[Any] = []
    try:
        subject = callable_loss(loss)
        subject.required_context(batch)

        @functools.wraps(subject.function)
        def watched(*args: Any, **keywords: Any) -> Any:
            returned.append(subject.function(*args, **keywords))
            return returned[-1]

        replace(subject, function=watched)(batch.logits, batch)
    except QTargetError as error:
        if returned and is_empty(returned[-1]):
            return not_filled_in("let the function return the loss")
        return not_yet(f"the engine cannot take this loss: {error}")
    except Exception as error:
        return not_yet(f"your loss raises {type(error).__name__}: {error}")
    return None


def numbers_of(law: Callable[..., Any], arguments: dict[str, Tensor]) -> Tensor | None:
    """A student's formula on N states: called with floats, state by state, or with [N] tensors where it wants those.

    Args:
        law: the formula; returns None while it is not filled in.
        arguments: parameter name -> [N].

    Returns:
        [N] float64, or None.

    Raises:
        QTargetError: it raises, or does not return one finite number a state.
    """
    count = len(next(iter(arguments.values())))
    try:
        try:
            given: Any = [law(**{name: float(value[i]) for name, value in arguments.items()}) for i in range(count)]
            given = None if all(is_empty(one) for one in given) else given
        except (TypeError, AttributeError):  # torch.log of a float, p_y.sqrt()
            given = law(**arguments)
    except Exception as error:
        raise QTargetError(f"your formula raises {type(error).__name__}: {error}") from error
    if is_empty(given):
        return None
    try:
        values = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise QTargetError(f"your formula should return a number for each p_y ({error}).") from error
    if values.shape not in ((), (count,)):
        raise QTargetError("your formula should return one number for each p_y, not several.")
    if not bool(torch.isfinite(values).all()):
        raise QTargetError("your formula gives no finite number on some states: a division by 0, or log 0?")
    return values.expand(count)
