"""Checks of label trust: of a loss that should have a law, and of a law that a loss should have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.analysis.decomposition import Gauge, decompose
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.teaching.check import Check, is_empty, not_filled_in, not_yet, numbers_of, right, unusable_loss
from qtarget_inspect.teaching.states import exercise_states

TOLERANCE = 1e-6
"""Share of the largest value by which two numbers may differ and still count as the same."""

_OF_STATE: dict[str, Callable[[State], Tensor]] = {
    "p_y": lambda s: s.p_label,
    "entropy": lambda s: s.entropy,
    "teacher_p_y": lambda s: s.log_prob_of_label("teacher_logits").exp(),
    "reference_p_y": lambda s: s.log_prob_of_label("reference_logits").exp(),
    "old_p_y": lambda s: s.log_prob_of_label("old_logits").exp(),
}
"""What a student's formula may ask for by parameter name."""


def check_gamma(loss: Any, law: Callable[..., Any], *, gauge: Gauge = "natural") -> Check:
    """Does a student's loss have the label trust that the exercise asks for?

    gamma is the pull to the label (attractor reading), fitted to the differentiated loss on made-up states.

    Args:
        loss: what the student wrote: any loss that `invert` takes; one that returns None is not filled in.
        law: the label trust asked for, a function of p_y, [N] in [0, 1], and of any of entropy, teacher_p_y,
            reference_p_y and old_p_y, by parameter name.
        gauge: the gauge that gamma is read in.

    Returns:
        Right, or what is off, in words and numbers computed from the student's loss.

    Raises:
        QTargetError: `law` is none.

    Examples:
        >>> def weighted(logits, labels):
        ...     logp = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
        ...     return -logp.exp().detach() * logp
        >>> check_gamma(weighted, lambda p_y: p_y)
        right: gamma is as asked for at each of 13 values of p_y from 0.01 to 0.99 (unit gauge).
        >>> check_gamma(weighted, lambda p_y: p_y**2)
        not yet: gamma at p_y = 0.25 is 0.25. Right sign, but which power? Yours grows like p_y^1.
    """
    states = exercise_states()
    unusable = unusable_loss(loss, states)
    if unusable is not None:
        return unusable
    try:
        found = decompose(invert(callable_loss(loss), states), gauge=gauge)
    except QTargetError as error:
        return not_yet(f"the engine cannot invert this loss: {error}")
    wanted = numbers_of(law, _arguments(law, states))
    if wanted is None:
        raise QTargetError("check_gamma: law returns None; hand over the label trust that the exercise asks for.")
    if not explains(found):
        share = 100 * float(found.unexplained.max() / found.target.g.abs().max())
        return not_yet(
            f"pulls to the label, the uniform and the other models leave {share:.2g} % of your gradient unexplained: "
            "what else does your loss pull to, or away from?"
        )
    gamma, p_y = found.gamma, State(states, torch.float64).p_label
    if bool(torch.isnan(gamma).any()):
        return not_yet(f"gamma is undefined in the {found.gauge} gauge: {', '.join(found.flags)}.")
    if _same(gamma, wanted):
        return right(
            f"gamma is as asked for at each of {len(p_y)} values of p_y from {float(p_y.min()):.2g} to "
            f"{float(p_y.max()):.2g} ({found.gauge} gauge)."
        )
    return not_yet(_why_not(gamma, wanted, p_y, loss, states))


def check_law(law: Callable[..., Any], loss: Any, *, gauge: Gauge = "natural") -> Check:
    """Is a student's formula the label trust of a loss?

    Args:
        law: what the student wrote, a function of p_y (and of what else it names, as in `check_gamma`) that returns
            gamma; one that returns None is not filled in.
        loss: the loss of the exercise, as `invert` takes it.
        gauge: the gauge that gamma is read in.

    Returns:
        Right, or where the formula is too high and too low; not by how much.

    Raises:
        QTargetError: `loss` cannot be inverted.

    Examples:
        >>> check_law(lambda p_y: p_y, "dft")
        right: your formula is gamma of dft at each of 13 values of p_y from 0.01 to 0.99 (unit gauge).
        >>> check_law(lambda p_y: p_y, "focal")
        not yet: your gamma is too low at p_y = 0.01 to 0.45 and too high at p_y = 0.55 to 0.99.
    """
    if is_empty(law):
        return not_filled_in("write the formula")
    states = exercise_states()
    found = decompose(invert(loss, states), gauge=gauge)
    try:
        given = numbers_of(law, _arguments(law, states))
    except QTargetError as error:
        return not_yet(str(error))
    if given is None:
        return not_filled_in("let the function return gamma")
    gamma, p_y = found.gamma, State(states, torch.float64).p_label
    if _same(given, gamma):
        return right(
            f"your formula is gamma of {found.target.loss} at each of {len(p_y)} values of p_y from "
            f"{float(p_y.min()):.2g} to {float(p_y.max()):.2g} ({found.gauge} gauge)."
        )
    if _same(1 - given, gamma):
        return not_yet("your formula is what is left for the residual: gamma is the label's part.")
    other: Gauge = "normalized" if found.gauge == "unit" else "unit"
    if _same(given, decompose(found.target, gauge=other).gamma):
        return not_yet(f"that is gamma in the {other} gauge; the exercise asks for the {found.gauge} one.")
    if _same(given, decompose(found.target, gauge=found.gauge, reading="label-free").gamma):
        return not_yet("that is Q_y, the label-free reading: what the residual gives the label is still in it.")
    where, trend = _where_off(given, gamma, p_y)
    return not_yet(f"your gamma is {where}.{trend and f' gamma of this loss {trend} as p_y grows.'}")


def _arguments(law: Callable[..., Any], states: TokenBatch) -> dict[str, Tensor]:
    """Parameter name -> [N] for a formula; the first parameter is p_y, whatever it is called."""
    state = State(states, torch.float64)
    names = [
        name
        for name, parameter in inspect.signature(law).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    unknown = [name for name in names[1:] if name not in _OF_STATE]
    if unknown or not names:
        raise QTargetError(
            f"a formula takes p_y and any of {', '.join(list(_OF_STATE)[1:])}, not ({', '.join(names)})."
        )
    return {name: _OF_STATE.get(name, _OF_STATE["p_y"])(state) for name in names}


def _same(given: Tensor, wanted: Tensor) -> bool:
    return bool((given - wanted).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=TOLERANCE))


def _why_not(gamma: Tensor, wanted: Tensor, p_y: Tensor, loss: Any, states: TokenBatch) -> str:
    """What is off about the gamma of a loss; the first of these that is true."""
    at = _most_telling(gamma, wanted, p_y)
    first = f"gamma at p_y = {float(p_y[at]):.2g} is {float(gamma[at]):.3g}. "
    weight = _weight_in_the_value(loss, states)
    if weight is not None and _same(weight, wanted):
        return (
            f"{first}The value of your loss is -log p_y times the weight asked for, but gradient flows through that "
            "weight as well: is it meant to?"
        )
    ratio = gamma / wanted
    if _same(gamma, -wanted):
        return f"{first}The right size, with the wrong sign: this loss pushes the label away."
    if bool((gamma <= 0).all()) and bool((wanted >= 0).all()):
        return f"{first}The wrong sign: this loss never pulls to the label."
    if bool(torch.isfinite(ratio).all()) and float(ratio.std()) <= TOLERANCE * float(ratio.abs().mean()):
        return f"{first}The right shape, {float(ratio.mean()):.3g} times the size asked for."
    power, asked = _power(gamma, p_y), _power(wanted, p_y)
    if power is not None and asked is not None:
        return f"{first}Right sign, but which power? Yours grows like p_y^{power:.3g}."
    where, trend = _where_off(gamma, wanted, p_y)
    return f"{first}It is {where}.{trend and f' The gamma asked for {trend} as p_y grows.'}"


def _where_off(given: Tensor, wanted: Tensor, p_y: Tensor) -> tuple[str, str]:
    """Where a gamma is too low and too high, and how the wanted one runs where this one runs the other way, else ""."""
    size = TOLERANCE * wanted.abs().max()
    high, low = given > wanted + size, given < wanted - size
    parts = [f"too {word} {_places(mask, p_y)}" for word, mask in (("low", low), ("high", high)) if bool(mask.any())]
    steps = [values[p_y.argsort()].diff() for values in (given, wanted)]
    fall, grow = (all_steps.max() <= 0 for all_steps in (steps[1], -steps[1]))
    against = bool((steps[0] * steps[1]).sum() <= 0)
    return " and ".join(parts), ("falls" if fall else "grows" if grow else "") if against else ""


def _places(mask: Tensor, p_y: Tensor) -> str:
    """Where a mask is true: everywhere, at one value, or between two."""
    where = p_y[mask]
    if bool(mask.all()):
        return "everywhere"
    if len(where) == 1:
        return f"at p_y = {float(where[0]):.2g}"
    return f"at p_y = {float(where.min()):.2g} to {float(where.max()):.2g}"


def _most_telling(gamma: Tensor, wanted: Tensor, p_y: Tensor) -> int:
    """The state to name: p_y = 0.25 where gamma is off there, else where it is off most."""
    off = (gamma - wanted).abs()
    quarter = int((p_y - 0.25).abs().argmin())
    return quarter if float(off[quarter]) > TOLERANCE else int(off.argmax())


def _power(values: Tensor, p_y: Tensor) -> float | None:
    """a where values = c p_y^a, None where they are no power."""
    if not bool((values > 0).all()):
        return None
    x, y = p_y.log(), values.log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    rest = y - y.mean() - slope * (x - x.mean())
    return float(slope) if float(rest.abs().max()) < 1e-6 else None


def _weight_in_the_value(loss: Any, states: TokenBatch) -> Tensor | None:
    """[N] value / -log p_y of a loss that returns one value a token; None for other losses."""
    value = callable_loss(loss)(states.logits, states)
    if not isinstance(value, Tensor) or value.numel() != len(states):
        return None
    return (value.detach().flatten() / -State(states, torch.float64).log_p_label).to(torch.float64)
