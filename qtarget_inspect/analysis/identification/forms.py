"""Forms of law with one or two quantities: constants, powers, complements, saturating and focal weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from qtarget_inspect.analysis.identification.numbers import FEW_DIGITS, digits_of, oddness, shortest
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.vocabulary.formula import Law, constant
from qtarget_inspect.vocabulary.quantities import Quantity

Number = float | tuple[float, float]
"""A number that was estimated, or the interval it lies in."""


@dataclass(frozen=True)
class FoundLaw:
    """A law that predicts a weight on all states, those held back included.

    Args:
        law: value and formula.
        numbers: what was estimated, name -> number; an interval where a threshold could not be asked for.
        excess: largest error in units of the rounding that is expected.
    """

    law: Law
    numbers: Mapping[str, Number] = field(default_factory=dict)
    excess: float = 0.0


def scaled(law: Law, factor: float) -> Law:
    """A law times a number, written as a quotient where that is shorter: H_20 / 3."""
    if factor and digits_of(factor) > FEW_DIGITS and digits_of(1 / factor) < digits_of(factor):
        return law / constant(1 / factor)
    return factor * law


def constant_law(samples: Samples) -> FoundLaw | None:
    """The same weight on every token."""
    fit = samples.fitted
    values = samples.values[fit]
    doubt = samples.sigma[fit] + samples.eps * np.abs(values).max(initial=1e-30)
    number = float(np.average(values, weights=(np.median(doubt) / (doubt + np.median(doubt))) ** 2))

    def excess(value: float, mask: np.ndarray) -> float:
        predicted = np.full_like(samples.values, value)
        return samples.excess(predicted, samples.allowed(np.abs(predicted), np.zeros_like(predicted)), mask)

    if excess(number, fit) > 1:
        return None
    number = shortest(number, lambda value: excess(value, fit), 1.0, excess(number, fit))
    worst = excess(number, samples.use)
    return FoundLaw(constant(number), {"constant": number}, worst) if worst <= 1 else None


@dataclass(frozen=True)
class Monomial:
    """c X^a Y^b ..., fitted in logarithms."""

    quantities: tuple[Quantity, ...]
    exponents: np.ndarray
    log_factor: float
    sign: float

    def predict(self, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """[N] the weight and [N] what it may be off by."""
        with np.errstate(all="ignore"):
            total = np.full_like(samples.values, self.log_factor)
            noise = np.zeros_like(samples.values)
            for quantity, exponent in zip(self.quantities, self.exponents, strict=True):
                total = total + exponent * samples.log(quantity)
                noise = noise + abs(exponent) * samples.noise(quantity)
            predicted = self.sign * np.exp(total)
            return predicted, samples.allowed(np.abs(predicted), noise)

    def excess(self, samples: Samples, mask: np.ndarray) -> float:
        """Largest error over some tokens, in units of what is allowed."""
        with np.errstate(all="ignore"):
            return samples.excess(*self.predict(samples), mask)

    @property
    def law(self) -> Law:
        """As a law, positive powers in front."""
        law: Law | None = None
        parts = sorted(zip(self.quantities, self.exponents, strict=True), key=lambda part: part[1] < 0)
        for quantity, exponent in parts:
            if exponent < 0 and law is not None and not quantity.fraction:
                law = law / quantity.law(-float(exponent))
            else:
                law = quantity.law(float(exponent)) if law is None else law * quantity.law(float(exponent))
        assert law is not None
        return scaled(law, self.sign * float(np.exp(self.log_factor)))

    @property
    def numbers(self) -> dict[str, Number]:
        """Factor and exponents by name."""
        exponents = {
            "exponent" if len(self.quantities) == 1 else f"exponent of {quantity.text}": float(exponent)
            for quantity, exponent in zip(self.quantities, self.exponents, strict=True)
        }
        tops = [quantity for quantity in self.quantities if quantity.text.startswith("H_")]
        top_k = {"top_k": float(tops[0].text[2:].split("/")[0])} if tops else {}
        return {"factor": self.sign * float(np.exp(self.log_factor)), **exponents, **top_k}


def monomials(samples: Samples, pool: Sequence[Quantity], count: int, also: Sequence[Quantity] = ()) -> FoundLaw | None:
    """c X^a ... with `count` quantities of the pool; with `also`, one of them comes from there.

    Args:
        samples: the weight, of one sign.
        pool: quantities.
        count: how many.
        also: quantities of which exactly one takes part, where given.

    Returns:
        The law, None where no such law predicts the weight.
    """
    fit = samples.fitted
    values = samples.values[fit]
    if not values.size or not ((values > 0).all() or (values < 0).all()):
        return None
    sign = float(np.sign(values[0]))
    target = np.log(np.abs(values))
    doubt = samples.sigma[fit] / np.abs(values)
    sure = doubt <= max(100 * samples.eps, float(np.median(doubt)) * 4)
    if int(sure.sum()) < 8:
        return None
    pools = [[*pool] for _ in range(count - (1 if also else 0))] + ([[*also]] if also else [])
    usable = {q.text: _usable(samples, q, fit) for part in pools for q in part}
    core = [q for q in pool if usable[q.text]]
    extra = [q for q in also if usable[q.text]]
    sets = (
        list(combinations(core, count))
        if not also
        else [(*base, q) for base in combinations(core, count - 1) for q in extra]
    )
    if not sets:
        return None
    spread = _left_by(samples, sets, fit, sure, target)
    bound = 1e-5 if samples.eps < 1e-12 else 3e-2
    order = np.argsort(spread, kind="stable")
    near = [i for i in order[:12] if spread[i] <= bound]
    accepted = []
    for i in near:
        found = _fit_monomial(samples, sets[i], fit, sign, doubt)
        if found is not None:
            accepted.append((_plainness(found), int(i), found))
    if not accepted:
        return None
    _, _, best = min(accepted, key=lambda one: one[:2])
    return FoundLaw(best.law, best.numbers, best.excess(samples, samples.use))


def _usable(samples: Samples, quantity: Quantity, fit: np.ndarray) -> bool:
    log = samples.log(quantity)[fit]
    return bool(np.isfinite(log).all()) and float(np.ptp(log)) > 1e-9


def _plainness(found: Monomial) -> int:
    """How much is odd about a law: exponents and factors that are not 1."""
    numbers = [*found.exponents.tolist(), float(np.exp(found.log_factor))]
    return 2 * sum(oddness(number) for number in numbers) + sum(exponent < 0 for exponent in found.exponents.tolist())


def _left_by(
    samples: Samples, sets: Sequence[tuple[Quantity, ...]], fit: np.ndarray, sure: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """[sets] largest error of the logarithm that a fit over each set leaves, on tokens whose weight is sure."""
    names = list(dict.fromkeys(q.text for one in sets for q in one))
    by_name = {q.text: q for one in sets for q in one}
    columns = np.stack([samples.log(by_name[name])[fit][sure] for name in names])  # [F, n]
    columns = columns - columns.mean(-1, keepdims=True)
    columns /= np.sqrt((columns**2).sum(-1, keepdims=True)) + 1e-300
    y = target[sure] - target[sure].mean()
    place = {name: i for i, name in enumerate(names)}
    index = np.array([[place[q.text] for q in one] for one in sets])  # [S, count]
    gram, right = columns @ columns.T, columns @ y
    count = index.shape[1]
    small = gram[index[:, :, None], index[:, None, :]] + 1e-13 * np.eye(count)
    solved = np.linalg.solve(small, right[index][..., None])[..., 0]  # [S, count]
    left = np.empty(len(sets))
    for start in range(0, len(sets), 512):
        part = slice(start, start + 512)
        fitted = np.einsum("sc,scn->sn", solved[part], columns[index[part]])
        left[part] = np.abs(y - fitted).max(-1)
    return left


def _fit_monomial(
    samples: Samples, chosen: tuple[Quantity, ...], fit: np.ndarray, sign: float, doubt: np.ndarray
) -> Monomial | None:
    """Weighted least squares in logarithms; numbers shortened one by one, the rest fitted again."""
    logs = np.stack([samples.log(q)[fit] for q in chosen], -1)
    noise = doubt + samples.eps * (8 + sum(samples.noise(q)[fit] for q in chosen))
    weight = 1 / (noise + np.median(noise))
    target = np.log(np.abs(samples.values[fit]))
    known: dict[int, float] = {}

    def solve(log_factor: float | None = None) -> Monomial:
        free = [i for i in range(len(chosen)) if i not in known]
        y = target - sum(known[i] * logs[:, i] for i in known)
        if log_factor is not None:
            y = y - log_factor
        columns = [logs[:, i] for i in free] + ([np.ones_like(y)] if log_factor is None else [])
        solved = np.linalg.lstsq(np.stack(columns, -1) * weight[:, None], y * weight, rcond=None)[0] if columns else []
        exponents = np.array([known.get(i, 0.0) for i in range(len(chosen))])
        for place, i in enumerate(free):
            exponents[i] = solved[place]
        return Monomial(chosen, exponents, float(solved[-1]) if log_factor is None else log_factor, sign)

    best = solve()
    if best.excess(samples, fit) > 1:
        return None
    for i in range(len(chosen)):
        before = best.excess(samples, fit)

        def error(value: float, i: int = i) -> float:
            known[i] = value
            left = solve().excess(samples, fit)
            del known[i]
            return left

        known[i] = shortest(float(best.exponents[i]), error, 1.0, before)
        best = solve()
        if known[i] == 0:
            return None  # a law of fewer quantities, found elsewhere
    factor = float(np.exp(best.log_factor))
    fixed = best.exponents

    def with_factor(value: float) -> Monomial:
        return Monomial(chosen, fixed, float(np.log(value)), sign)

    def left(value: float) -> float:
        return with_factor(value).excess(samples, fit) if value > 0 else np.inf

    best = with_factor(shortest(factor, left, 1.0, best.excess(samples, fit), inverse=True))
    return best if best.excess(samples, samples.use) <= 1 else None
