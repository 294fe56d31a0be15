"""Forms of law with advantages: a clipped policy gradient and a penalty beside it, and preferences of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qtarget_inspect.analysis.identification.forms import FoundLaw, scaled
from qtarget_inspect.analysis.identification.numbers import shortest
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.vocabulary import policy_laws, preference_laws, quantities
from qtarget_inspect.vocabulary.formula import Law, constant
from qtarget_inspect.vocabulary.quantities import Quantity


@dataclass(frozen=True)
class Preference:
    """A law over pairs of sequences with numbers to be found.

    Args:
        make: numbers -> law.
        names: what the numbers are called.
        starts: numbers to start from.
    """

    make: Callable[..., Law]
    names: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]


PREFERENCES = (
    Preference(preference_laws.dpo_pull, ("beta",), ((0.1,), (0.5,), (2.0,))),
    Preference(preference_laws.simpo_pull, ("beta", "margin"), ((2.0, 1.0), (1.0, 0.0), (4.0, 2.0), (10.0, 3.0))),
    Preference(preference_laws.orpo_pull, ("odds_weight",), ((0.1,), (1.0,))),
)


def preference_law(samples: Samples, context: Sequence[str]) -> FoundLaw | None:
    """DPO, SimPO or ORPO (arXiv 2305.18290, 2405.14734, 2403.07691), their numbers estimated.

    Args:
        samples: the weight.
        context: context that the loss can see.

    Returns:
        The law, None where none of them predicts the weight.
    """
    if not {"advantages", "sequence_ids"} <= set(context):
        return None
    for preference in PREFERENCES:
        needed = preference.make(*preference.starts[0]).requires
        found = _fit_preference(samples, preference) if set(needed) <= set(context) else None
        if found is not None:
            return found
    return None


def _fit_preference(samples: Samples, preference: Preference) -> FoundLaw | None:
    from scipy.optimize import least_squares  # heavy, so not at import

    fit = samples.fitted
    # sums of a few log-probabilities in an exponent, and 1 - P of a whole sequence where that stands in the formula
    doubt = quantities.sequence_doubt()
    noise = 400 + 64 * np.concatenate([
        preference_laws.over_pair(state, doubt.noise(state)).numpy() for state in samples.states
    ])

    rounding = samples.allowed(np.abs(samples.values), noise)[fit]
    size = np.abs(samples.values[fit]) + 1e-300
    size = size * (0.01 + (rounding / size) / np.median(rounding / size))  # relative errors, where they mean something

    def predict(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
        return samples.evaluate(preference.make(*(float(number) for number in numbers)))

    def excess(numbers: Sequence[float] | np.ndarray, mask: np.ndarray) -> float:
        predicted = predict(numbers)
        return samples.excess(predicted, samples.allowed(np.abs(predicted), noise), mask)

    def rests(numbers: np.ndarray) -> np.ndarray:
        return (predict(numbers)[fit] - samples.values[fit]) / size

    for start in preference.starts:
        solved = least_squares(rests, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=60)
        if excess(solved.x, fit) > 1:
            continue
        numbers = [float(number) for number in solved.x]
        for i in range(len(numbers)):

            def left(value: float, i: int = i) -> float:
                return excess([*numbers[:i], value, *numbers[i + 1 :]], fit)  # noqa: B023, used at once

            numbers[i] = shortest(numbers[i], left, 1.0, left(numbers[i]))
        worst = excess(numbers, samples.use)
        if worst <= 1:
            return FoundLaw(preference.make(*numbers), dict(zip(preference.names, numbers, strict=True)), worst)
    return None


@dataclass(frozen=True, eq=False)
class Split:
    """A weight as a gain that may be switched, and a penalty that is always there.

    Args:
        gain: A r.
        penalty: d X + e.
        rest: what the weight less the penalty is, in units of the gain.
        numbers: those of the penalty.
    """

    gain: Law
    penalty: Law
    rest: Samples
    numbers: dict[str, float]


def penalties(samples: Samples, pool: Sequence[Quantity], context: Sequence[str]) -> Iterator[Split]:
    """Ways to read a weight as c A r 1[...] + d X + e: a clipped policy gradient with a penalty (arXiv 2402.03300).

    Where the ratio r has moved against the advantage, PPO's clip never acts: there the two parts are told apart. What
    is left of the weight elsewhere is then A r, or nothing.

    Args:
        samples: the weight.
        pool: quantities, for the penalty X and for r.
        context: context that the loss can see.

    Yields:
        The splits under which the weight is explained where no clip acts.
    """
    if "advantages" not in context:
        return
    advantage = policy_laws.advantage()
    advantages = samples.evaluate(advantage)
    for ratio in (quantity for quantity in pool if quantity.text.startswith("p_y/")):
        gained = advantages * np.exp(samples.log(ratio))
        safe = samples.only((advantages * samples.log(ratio) <= 0) & np.isfinite(gained))
        if not safe.enough:
            continue
        for quantity in pool:
            for exponent in (-1.0, 1.0):
                found = _penalty(safe, gained, quantity, exponent)
                if found is None:
                    continue
                penalty, rounding, numbers = found
                with np.errstate(all="ignore"):
                    per_gain = (samples.values - samples.evaluate(penalty)) / gained
                    doubt = (samples.sigma + rounding) / np.abs(gained)
                clear = np.isfinite(per_gain) & (doubt <= 1e-3 * np.median(np.abs(per_gain[safe.fitted])))
                rest = samples.only(clear).with_values(np.nan_to_num(per_gain), np.nan_to_num(doubt, nan=np.inf))
                yield Split(ratio.law() * advantage, penalty, rest, numbers)


def _penalty(
    samples: Samples, gained: np.ndarray, quantity: Quantity, exponent: float
) -> tuple[Law, np.ndarray, dict[str, float]] | None:
    """d X + e such that the weight is c A r + d X + e; with what rounding it leaves on every token."""
    fit = samples.fitted
    log = samples.log(quantity)
    if not np.isfinite(log[fit]).all() or np.ptp(log[fit]) < 1e-6:
        return None
    column = np.exp(np.clip(exponent * log, -690, 690))
    values = samples.values
    scale = np.abs(gained[fit]) + np.abs(column[fit]) + 1
    weight = 1 / (np.abs(values[fit]) + 1e-2 * scale)
    matrix = np.stack([gained[fit], column[fit], np.ones(int(fit.sum()))], -1)
    solved = np.linalg.lstsq(matrix * weight[:, None], values[fit] * weight, rcond=None)[0]

    def excess(numbers: np.ndarray, mask: np.ndarray) -> float:
        gain, factor, offset = numbers
        predicted = gain * gained + factor * column + offset
        size = np.abs(gain * gained) + np.abs(factor * column) + np.abs(offset)
        return samples.excess(predicted, samples.allowed(size, samples.noise(quantity) + 8), mask)

    if excess(solved, fit) > 1:
        return None
    for i in (0, 1, 2):

        def left(value: float, i: int = i) -> float:
            return excess(np.array([*solved[:i], value, *solved[i + 1 :]]), fit)

        solved[i] = shortest(float(solved[i]), left, 1.0, left(float(solved[i])))
    if excess(solved, samples.use) > 1:
        return None
    factor, offset = float(solved[1]), float(solved[2])
    term = quantity.law(exponent)
    law = (
        factor * (term - 1) if math.isclose(offset, -factor, rel_tol=1e-9) else scaled(term, factor) + constant(offset)
    )
    rounding = samples.eps * (8 + samples.noise(quantity)) * np.abs(factor * column)
    return law, rounding, {"penalty weight": factor, "penalty offset": offset}
