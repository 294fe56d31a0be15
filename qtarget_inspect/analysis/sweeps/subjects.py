"""Subjects: the losses of a sweep, with one name along it, and a parameter set where the sweep asks for it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from qtarget_inspect.analysis.sweeps.states import STATE_NUMBERS
from qtarget_inspect.core.checks import check_names_differ, is_list
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.engine.adapter import TokenLoss, adapt, name_of
from qtarget_inspect.engine.calling import parameters_of
from qtarget_inspect.variants import Variant, resolve, variants


@dataclass(frozen=True)
class Subject:
    """A loss of a sweep.

    Args:
        loss: the variant or callable.
        name: its name with the parameters that are not swept.
        title: the variant's title, else the name.
        category: the variant's category, "" for other losses.
    """

    loss: Any
    name: str
    title: str
    category: str

    def at(self, parameters: Mapping[str, Any]) -> Any:
        """The loss with parameters set: a variant's own, a callable's by keyword.

        Args:
            parameters: name -> value.

        Returns:
            A loss that `invert` takes.

        Raises:
            RegistryError: a variant's value lies outside its range.
        """
        if not parameters:
            return self.loss
        if isinstance(self.loss, Variant):
            return self.loss.with_parameters(**parameters)
        if isinstance(self.loss, TokenLoss):
            missing = tuple(name for name in self.loss.missing if name not in parameters)
            return replace(self.loss, fixed={**self.loss.fixed, **parameters}, missing=missing)
        return functools.partial(self.loss, **parameters)

    def default_of(self, parameter: str) -> float | None:
        """The value that a parameter has where nothing is said; None where it has none, or no number."""
        known = self.loss.parameters if isinstance(self.loss, Variant) else _filled(self.loss)
        if parameter in known:
            value = known[parameter]
        else:
            signature = parameters_of(_function(self.loss)).get(parameter)
            value = None if signature is None else signature.default
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def subjects_of(losses: Any, swept: Sequence[str]) -> list[Subject]:
    """The losses of a sweep.

    Args:
        losses: one loss, or a list of them, as `invert` takes them.
        swept: names of the losses' parameters that are swept.

    Returns:
        One subject a loss.

    Raises:
        QTargetError: there is none, two have the same name, one lacks a parameter, or one compares sequences.
    """
    given = list(losses) if is_list(losses) else [losses]
    if not given:
        raise QTargetError("sweep: losses is empty. Pass a loss or a list of them, e.g. ['sft', 'dft'].")
    found = [_subject(resolve(loss), swept) for loss in given]
    check_names_differ("sweep", [one.name for one in found])
    return found


def _subject(loss: Variant | Callable[..., Any], swept: Sequence[str]) -> Subject:
    if not isinstance(loss, Variant):
        if isinstance(loss, type):
            adapt(loss)  # says that it is a class
        name = loss.name if isinstance(loss, TokenLoss) else name_of(_without(loss, swept))
        lacking = [parameter for parameter in swept if not _takes(loss, parameter)]
        if lacking:
            raise QTargetError(f"sweep: {name} takes no keyword {', '.join(lacking)}, so it cannot be swept over it.")
        return Subject(loss, name, name, "")
    if loss.category == "preference":
        raise QTargetError(
            f"sweep: {loss.name} compares two sequences: what it teaches a token depends on the other sequence of the "
            "pair, so no number of the token alone fixes it. Use qt.invert on a batch with pairs."
        )
    lacking = [parameter for parameter in swept if parameter not in loss.parameters]
    if lacking:
        having = [name for name, one in variants().items() if set(lacking) <= set(one.parameters)]
        remedy = f"losses that have it: {', '.join(having)}" if having else f"a state has {', '.join(STATE_NUMBERS)}"
        raise QTargetError(
            f"sweep: {loss.name} has no parameter {', '.join(lacking)} (its parameters: "
            f"{', '.join(loss.parameters) or 'none'}); {remedy}."
        )
    kept = {key: value for key, value in loss.parameters.items() if key not in swept}
    words = ", ".join(f"{key}={value!r}" for key, value in kept.items())
    return Subject(loss, f"{loss.name}({words})" if words else loss.name, loss.title, loss.category)


def _without(loss: Any, swept: Sequence[str]) -> Any:
    """A partial without what is swept, for its name."""
    if not isinstance(loss, functools.partial):
        return loss
    return functools.partial(loss.func, **{key: value for key, value in loss.keywords.items() if key not in swept})


def _takes(loss: Any, parameter: str) -> bool:
    """Whether a callable can be given a parameter by keyword."""
    if parameter in _filled(loss) or parameter in parameters_of(_function(loss)):
        return True
    try:
        source = getattr(_function(loss), "forward", _function(loss))  # a module is called through its forward
        known = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known)


def _filled(loss: Any) -> Mapping[str, Any]:
    """Keywords that are filled in already, by `adapt` or functools.partial."""
    if isinstance(loss, TokenLoss):
        return {**_filled(loss.function), **loss.fixed}
    return loss.keywords if isinstance(loss, functools.partial) else {}


def _function(loss: Any) -> Callable[..., Any]:
    return loss.function if isinstance(loss, TokenLoss) else loss


def refuse_coupled(name: str, coupled: str | None) -> None:
    """Refuse a callable whose tokens hang together: its curve would depend on which other values are swept.

    Args:
        name: the loss.
        coupled: what inversion found.

    Raises:
        LossError: tokens are coupled.
    """
    if coupled is not None:
        raise LossError(
            f"sweep: {name} couples the tokens of a batch ({coupled}), so what it teaches one made-up token depends on "
            "the others that are swept. Use qt.invert on a batch that means something."
        )
