"""Forms of law with a formula of their own: focal weights, and powers of p_y whose exponent is a quantity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qtarget_inspect.analysis.identification.forms import FoundLaw, constant_law, monomials, scaled
from qtarget_inspect.analysis.identification.numbers import polished, shortest
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.vocabulary import gate_laws, laws, quantities
from qtarget_inspect.vocabulary.formula import Law, power
from qtarget_inspect.vocabulary.quantities import Quantity

FOCAL_EXPONENTS = tuple(float(value) for value in np.geomspace(0.02, 12.0, 32))


def focal_law(samples: Samples) -> FoundLaw | None:
    """c [(1 - p_y)^g - g p_y (1 - p_y)^(g-1) log p_y], the label's pull of the focal loss (arXiv 1708.02002).

    Args:
        samples: the weight.

    Returns:
        The law, None where it does not predict the weight.
    """
    from scipy.optimize import minimize_scalar  # heavy, so not at import

    fit, values = samples.fitted, samples.values
    if not (values[fit] > 0).all():
        return None
    log_p, log_doubt = samples.log(quantities.label_prob()), samples.log(quantities.label_doubt())
    noise = 4 * samples.noise(quantities.label_doubt())

    def shape(gamma: float) -> np.ndarray:
        return np.exp(gamma * log_doubt) * (1 - gamma * log_p * np.exp(log_p - log_doubt))

    def rests(gamma: float) -> np.ndarray:
        ratio = np.log(values[fit] / shape(gamma)[fit])
        steady = samples.eps * noise[fit] * (1 + gamma)
        weight = 1 / (1 + steady / (100 * samples.eps))
        return (ratio - np.average(ratio, weights=weight)) * weight

    def predict(gamma: float, factor: float) -> tuple[np.ndarray, np.ndarray]:
        value = factor * shape(gamma)
        return value, samples.allowed(np.abs(value), noise * (1 + gamma))

    squares = [float((rests(gamma) ** 2).sum()) for gamma in FOCAL_EXPONENTS]
    start = FOCAL_EXPONENTS[int(np.argmin(squares))]
    gamma = float(
        minimize_scalar(
            lambda value: float((rests(value) ** 2).sum()),
            bounds=(0.8 * start, 1.25 * start),
            method="bounded",
            options={"xatol": 1e-9},
        ).x
    )
    gamma = polished(rests, gamma)

    def factor_at(value: float) -> float:
        ratio = np.log(values[fit] / shape(value)[fit])
        return float(np.exp(np.average(ratio, weights=1 / noise[fit] ** 2)))

    def error(value: float) -> float:
        return samples.excess(*predict(value, factor_at(value)), fit)

    if error(gamma) > 1:
        return None
    gamma = shortest(gamma, error, 1.0, error(gamma))
    factor = factor_at(gamma)
    factor = shortest(factor, lambda value: samples.excess(*predict(gamma, value), fit), 1.0, error(gamma))
    worst = samples.excess(*predict(gamma, factor), samples.use)
    if worst > 1:
        return None
    return FoundLaw(scaled(gate_laws.focal_trust(gamma), factor), {"focal exponent": gamma, "factor": factor}, worst)


def varying_power(samples: Samples, pool: Sequence[Quantity]) -> FoundLaw | None:
    """p_y to a power that is itself a quantity of the state, p_y^(c X^a), as in DEFT (arXiv 2602.11424).

    Args:
        samples: the weight.
        pool: quantities X.

    Returns:
        The law, None where no such law predicts the weight.
    """
    fit, values = samples.fitted, samples.values
    if not (values[fit] > 0).all():
        return None
    log_p = samples.log(quantities.label_prob())
    with np.errstate(all="ignore"):
        exponent = np.log(np.where(values > 0, values, np.nan)) / log_p
        doubt = (samples.sigma / np.abs(values) + samples.eps * (8 + 8 * np.abs(log_p))) / np.abs(log_p)
    clear = np.isfinite(exponent) & (np.abs(log_p) > 1e-3) & (exponent > 0)
    if not clear[fit].any():
        return None
    inner = samples.only(clear).with_values(np.nan_to_num(exponent), np.nan_to_num(doubt, nan=np.inf, posinf=1e300))
    if not inner.enough or constant_law(inner) is not None:
        return None
    found = monomials(inner, pool, 1)
    if found is None:
        return None
    law = power(laws.label_prob(), found.law)
    predicted = samples.evaluate(law)
    with np.errstate(all="ignore"):
        noise = 64 * (1 + np.abs(log_p)) * (1 + np.abs(exponent))
    worst = samples.excess(predicted, samples.allowed(np.abs(predicted), np.nan_to_num(noise, posinf=1e6)), samples.use)
    return FoundLaw(law, found.numbers, worst) if worst <= 1 else None


def proportional(samples: Samples, candidates: Sequence[Law]) -> FoundLaw | None:
    """c X for a quantity X that may be negative, such as log Z of the z-loss.

    Args:
        samples: the weight.
        candidates: laws X.

    Returns:
        The law, None where no such law predicts the weight.
    """
    for candidate in candidates:
        values = samples.evaluate(candidate)
        fit = samples.fitted & (values != 0)
        if not fit.any():
            continue
        weight = np.abs(values[fit]) / (samples.sigma[fit] + 1e-300 + 16 * samples.eps * np.abs(samples.values[fit]))
        factor = float(np.average(samples.values[fit] / values[fit], weights=weight))

        def excess(number: float, mask: np.ndarray, values: np.ndarray = values) -> float:
            predicted = number * values
            # a sum of terms of both signs: its rounding is that of the terms, of the order of 1
            allowed = samples.allowed(np.abs(number) * (8 + np.abs(values)), np.zeros_like(values))
            return samples.excess(predicted, allowed, mask)

        if excess(factor, samples.fitted) > 1:
            continue
        factor = shortest(factor, lambda number: excess(number, samples.fitted), 1.0, excess(factor, samples.fitted))
        worst = excess(factor, samples.use)
        if worst <= 1:
            return FoundLaw(scaled(candidate, factor), {"factor": factor}, worst)
    return None
