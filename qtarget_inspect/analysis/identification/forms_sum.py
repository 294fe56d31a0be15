"""Forms of law that add up: complements c0 + c1 X^a, saturating weights c X^a / (X^a + l), sums of few quantities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qtarget_inspect.analysis.identification.forms import FoundLaw, Number, scaled
from qtarget_inspect.analysis.identification.numbers import digits_of, polished, shortest
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.vocabulary.formula import Law, constant
from qtarget_inspect.vocabulary.quantities import Quantity

EXPONENTS = tuple(
    sign * value for value in (0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 11.0) for sign in (1, -1)
)
"""Exponents to start from; they are estimated from there on."""

REFINED = 6
"""How many of the most promising quantities are looked at."""

PROMISING = 0.3
"""A curve is refined where it leaves less than this share of the squares that a constant leaves."""

IDLE = 1e-9
"""A term that nowhere makes more than this share of a sum is none."""

NEAR = 1e-9
"""Curves that leave less at a first look are equally promising, and the order of precedence decides."""


@dataclass(frozen=True)
class _Curve:
    """c0 + c1 X^a for the weight (or for one over it), its linear part solved for a given exponent.

    Args:
        samples: the weight.
        quantity: X.
        inverse: whether the curve is that of one over the weight.
    """

    samples: Samples
    quantity: Quantity
    inverse: bool

    def column(self, exponent: float) -> np.ndarray:
        """[N] X^a, cut before it overflows."""
        return np.exp(np.clip(exponent * self.samples.log(self.quantity), -690, 690))

    @property
    def target(self) -> np.ndarray:
        """[N] what the curve is fitted to."""
        with np.errstate(all="ignore"):
            return 1 / self.samples.values if self.inverse else self.samples.values

    @property
    def weight(self) -> np.ndarray:
        """[fitted] weights of the squares: relative errors count, and small values of a curve through 0 less."""
        fit, values = self.samples.fitted, np.abs(self.samples.values)
        with np.errstate(all="ignore"):
            doubt = self.samples.sigma + 16 * self.samples.eps * values
            if self.inverse:
                doubt = doubt / values**2
        size = np.abs(self.target)[fit]
        return 1 / (size + 0.05 * np.median(size) + 1e3 * doubt[fit])

    def solve(self, exponent: float, known: dict[int, float] | None = None) -> np.ndarray:
        """(c0, c1) by weighted least squares, those in `known` kept."""
        fit, weight, known = self.samples.fitted, self.weight, known or {}
        columns = [np.ones(int(fit.sum())), self.column(exponent)[fit]]
        y = (self.target[fit] - sum(known[i] * columns[i] for i in known)) * weight
        free = [i for i in range(2) if i not in known]
        numbers = np.array([known.get(i, 0.0) for i in range(2)])
        if free:
            matrix = np.stack([columns[i] * weight for i in free], -1)
            scale = np.sqrt((matrix**2).sum(0)) + 1e-300
            numbers[free] = np.linalg.lstsq(matrix / scale, y, rcond=None)[0] / scale
        return numbers

    def rests(self, exponent: float) -> np.ndarray:
        """[fitted] weighted errors of the best curve with an exponent."""
        fit, (c0, c1) = self.samples.fitted, self.solve(exponent)
        return (self.target[fit] - c0 - c1 * self.column(exponent)[fit]) * self.weight

    def excess(self, exponent: float, numbers: np.ndarray, mask: np.ndarray) -> float:
        """Largest error of the weight, in units of what is allowed."""
        c0, c1 = numbers
        with np.errstate(all="ignore"):
            column = self.column(exponent)
            noise = np.abs(exponent) * self.samples.noise(self.quantity) * np.abs(c1 * column)
            value, size = c0 + c1 * column, np.abs(c0) + np.abs(c1 * column)
            if self.inverse:
                value, noise, size = 1 / value, noise / value**2, size / value**2
            allowed = self.samples.allowed(size, noise / np.maximum(size, 1e-300))
            return self.samples.excess(value, allowed, mask)


def curves(
    samples: Samples, pool: Sequence[Quantity], inverse: bool, exponents: Sequence[float] = EXPONENTS
) -> FoundLaw | None:
    """c0 + c1 X^a, or with `inverse` the saturating c X^a / (X^a + l), over the quantities of a pool.

    Args:
        samples: the weight.
        pool: quantities X.
        inverse: which of the two.
        exponents: what a is looked for from.

    Returns:
        The law, None where no such law predicts the weight.
    """
    fit = samples.fitted
    if inverse and bool((samples.values[fit] == 0).any()):
        return None
    starts: list[tuple[float, int, _Curve, float]] = []
    for order, quantity in enumerate(pool):
        if not np.isfinite(samples.log(quantity)[fit]).all() or np.ptp(samples.log(quantity)[fit]) < 1e-6:
            continue
        curve = _Curve(samples, quantity, inverse)
        left = _screen(curve, exponents)
        best = int(np.argmin(left))
        starts.append((max(float(left[best]), NEAR), order, curve, exponents[best]))
    starts.sort(key=lambda one: one[:2])
    for share, _, curve, start in starts[:REFINED]:
        if share > PROMISING:
            break
        found = _settle(curve, start)
        if found is not None:
            return found
    return None


def _screen(curve: _Curve, exponents: Sequence[float]) -> np.ndarray:
    """[exponents] share of the weighted squares that a curve leaves of those that a constant leaves."""
    fit, weight = curve.samples.fitted, curve.weight
    one, y = weight, curve.target[fit] * weight
    columns = np.stack([curve.column(a)[fit] * weight for a in exponents])
    unit = one / np.sqrt((one**2).sum())
    y = y - (y * unit).sum() * unit
    columns = columns - (columns @ unit)[:, None] * unit
    length = np.sqrt((columns**2).sum(-1))
    columns = columns / np.where(length > 0, length, np.inf)[:, None]
    return 1 - (columns @ y) ** 2 / max(float((y**2).sum()), 1e-300)


def _settle(curve: _Curve, start: float) -> FoundLaw | None:
    """Refine an exponent, shorten the numbers, and hold the law against all tokens."""
    from scipy.optimize import minimize_scalar  # heavy, so not at import

    fit, use = curve.samples.fitted, curve.samples.use

    def squares(exponent: float) -> float:
        return float((curve.rests(exponent) ** 2).sum())

    ends = sorted((0.6 * start, 1.7 * start))
    exponent = float(minimize_scalar(squares, bounds=ends, method="bounded", options={"xatol": 1e-9}).x)
    exponent = polished(curve.rests, exponent)

    def own(value: float) -> float:
        return curve.excess(value, curve.solve(value), fit)

    if own(exponent) > 1:
        return None
    exponent = shortest(exponent, own, 1.0, own(exponent))
    known: dict[int, float] = {}
    for i in (0, 1):
        numbers = curve.solve(exponent, known)

        def with_number(value: float, i: int = i) -> float:
            return curve.excess(exponent, curve.solve(exponent, {**known, i: value}), fit)

        left = curve.excess(exponent, numbers, fit)
        zero = abs(numbers[i]) < 1e-3 and with_number(0.0) <= min(1.0, 4 * left)
        known[i] = 0.0 if zero else shortest(float(numbers[i]), with_number, 1.0, left)
    numbers = curve.solve(exponent, known)
    worst = curve.excess(exponent, numbers, use)
    if worst > 1 or numbers[1] == 0:
        return None
    written = (
        _saturating(curve.quantity, exponent, numbers) if curve.inverse else _affine(curve.quantity, exponent, numbers)
    )
    return None if written is None else FoundLaw(written[0], written[1], worst)


def _affine(quantity: Quantity, exponent: float, numbers: np.ndarray) -> tuple[Law, dict[str, Number]]:
    c0, c1 = (float(number) for number in numbers)
    flipped = exponent < 0 and not quantity.fraction
    term = scaled(constant(1.0) / quantity.law(-exponent) if flipped else quantity.law(exponent), c1)
    law = term + constant(c0) if c0 < 0 < c1 else constant(c0) + term
    return law, {"constant": c0, "factor": c1, "exponent": exponent}


def _saturating(quantity: Quantity, exponent: float, numbers: np.ndarray) -> tuple[Law, dict[str, Number]] | None:
    """1 / w = c0 + c1 X^-a: w = c X^a / (X^a + l), c = 1 / c0, l = c1 / c0."""
    c0, c1 = (float(number) for number in numbers)
    if c0 == 0 or c1 / c0 <= 0:
        return None  # a power, or a pole between the states: no saturating weight
    power = quantity.law(abs(exponent))
    if exponent > 0:  # 1 / (c0 + c1 X^a)
        return constant(1.0) / (c0 + c1 * power), {"constant": c0, "factor": c1, "exponent": exponent}
    factor, offset = (float(f"{number:.14g}") for number in (1 / c0, c1 / c0))
    if digits_of(c0) + digits_of(c1) < digits_of(factor) + digits_of(offset):
        law = power / (c1 + c0 * power)
    else:
        law = scaled(power / (power + offset), factor)
    return law, {"factor": factor, "offset": offset, "exponent": -exponent}


@dataclass(frozen=True)
class _Term:
    """A quantity, its square, or the product of two, as a column of a sum."""

    quantities: tuple[tuple[Quantity, float], ...]

    def values(self, samples: Samples) -> np.ndarray:
        """[N] the term."""
        return np.exp(np.clip(sum(a * samples.log(q) for q, a in self.quantities), -690, 690))

    def noise(self, samples: Samples) -> np.ndarray:
        """[N] its rounding."""
        return sum((abs(a) * samples.noise(q) for q, a in self.quantities), np.zeros_like(samples.values))

    @property
    def law(self) -> Law:
        """As a law."""
        law: Law = constant(1.0)
        for quantity, exponent in self.quantities:
            law = law / quantity.law(-exponent) if exponent < 0 else law * quantity.law(exponent)
        return law


def sums(samples: Samples, pool: Sequence[Quantity], top: Sequence[Quantity]) -> FoundLaw | None:
    """c0 + c1 T1 + c2 T2, the terms quantities, their squares, or products with p_y.

    Args:
        samples: the weight.
        pool: quantities; the first is p_y.
        top: quantities that take part as they are.

    Returns:
        The law, None where no such law predicts the weight.
    """
    fit = samples.fitted
    if not fit.any():
        return None
    live = [q for q in pool if np.isfinite(samples.log(q)[fit]).all() and np.ptp(samples.log(q)[fit]) > 1e-6]
    terms = [_Term(((q, 1.0),)) for q in live] + [_Term(((q, 2.0),)) for q in live]
    terms += [_Term(((q, -1.0),)) for q in live]
    terms += [_Term(((pool[0], 1.0), (q, 1.0))) for q in live if q is not pool[0]]
    terms += [_Term(((q, 1.0),)) for q in top if np.isfinite(samples.log(q)[fit]).all()]
    with np.errstate(all="ignore"):
        values = np.stack([term.values(samples)[fit] for term in terms])
    target = samples.values[fit]
    weight = 1 / (np.abs(target) + 0.05 * np.median(np.abs(target)) + 1e3 * samples.sigma[fit])
    for with_constant in (False, True):
        near = _promising(values * weight, target * weight, weight if with_constant else None)
        bound = 1e-5 if samples.eps < 1e-12 else 1e-2
        for left, pair in near:
            if left > bound:
                break
            found = _fit_sum(samples, [terms[i] for i in pair], with_constant, weight)
            if found is not None:
                return found
    return None


def _promising(columns: np.ndarray, y: np.ndarray, one: np.ndarray | None) -> list[tuple[float, tuple[int, int]]]:
    """Pairs of columns that leave least of y, with the share of its length that they leave."""
    if one is not None:
        unit = one / np.sqrt((one**2).sum())
        columns = columns - (columns @ unit)[:, None] * unit
        y = y - (y @ unit) * unit
    length = np.sqrt((columns**2).sum(-1))
    columns = columns / np.where(length > 1e-12, length, np.inf)[:, None]
    gram, right, whole = columns @ columns.T, columns @ y, float(y @ y)
    if whole == 0:
        return []
    first, second = np.triu_indices(len(columns), 1)
    overlap = gram[first, second]
    independent = 1 - overlap**2
    explained = np.where(
        independent > 1e-10,
        (right[first] ** 2 + right[second] ** 2 - 2 * overlap * right[first] * right[second])
        / np.maximum(independent, 1e-10),
        0.0,
    )
    best = np.argsort(-explained, kind="stable")[:24]
    pairs = []
    for i in best.tolist():
        pair = (int(first[i]), int(second[i]))
        matrix = columns[list(pair)].T
        rest = y - matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]
        pairs.append((max(float(np.sqrt((rest @ rest) / whole)), NEAR), pair))
    return sorted(pairs)


def _fit_sum(samples: Samples, terms: Sequence[_Term], with_constant: bool, weight: np.ndarray) -> FoundLaw | None:
    fit = samples.fitted
    with np.errstate(all="ignore"):
        columns = [term.values(samples) for term in terms]
        noises = [term.noise(samples) for term in terms]
    if with_constant:
        columns, noises = [np.ones_like(columns[0]), *columns], [np.zeros_like(noises[0]), *noises]
    known: dict[int, float] = {}

    def solve() -> np.ndarray:
        free = [i for i in range(len(columns)) if i not in known]
        numbers = np.array([known.get(i, 0.0) for i in range(len(columns))])
        if free:
            matrix = np.stack([columns[i][fit] * weight for i in free], -1)
            y = (samples.values[fit] - sum(known[i] * columns[i][fit] for i in known)) * weight
            scale = np.sqrt((matrix**2).sum(0)) + 1e-300
            numbers[free] = np.linalg.lstsq(matrix / scale, y, rcond=None)[0] / scale
        return numbers

    def excess(numbers: np.ndarray, mask: np.ndarray) -> float:
        parts = [number * column for number, column in zip(numbers, columns, strict=True)]
        size = sum(np.abs(part) for part in parts)
        noise = sum(np.abs(part) * noise for part, noise in zip(parts, noises, strict=True))
        return samples.excess(sum(parts), samples.allowed(size, noise / np.maximum(size, 1e-300)), mask)

    if excess(solve(), fit) > 1:
        return None
    for i in range(len(columns)):

        def error(value: float, i: int = i) -> float:
            known[i] = value
            left = excess(solve(), fit)
            del known[i]
            return left

        known[i] = shortest(float(solve()[i]), error, 1.0, excess(solve(), fit))
    numbers = solve()
    worst = excess(numbers, samples.use)
    sizes = [np.abs(number * column[fit]) for number, column in zip(numbers, columns, strict=True)]
    idle = any(bool((size <= IDLE * sum(sizes)).all()) for size in sizes)
    if worst > 1 or idle:
        return None
    laws = ([constant(1.0)] if with_constant else []) + [term.law for term in terms]
    law = sum((scaled(one, float(number)) for one, number in zip(laws, numbers, strict=True)), constant(0.0))
    names = (["constant"] if with_constant else []) + [f"factor of {term.law.text}" for term in terms]
    return FoundLaw(law, dict(zip(names, (float(number) for number in numbers), strict=True)), worst)
