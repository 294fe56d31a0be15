"""Switches: what turns a weight on and off, and where, located by asking the loss again on states in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.library import Library
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import laws, policy_laws
from qtarget_inspect.vocabulary.formula import Binding, Law, constant
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex
from qtarget_inspect.vocabulary.quantities import Quantity

Turns = list[tuple[float, float]]
"""Per pair of tokens, the logarithms of a quantity on both sides of a turn, as near as rounding allows."""

Locate = Callable[[Sequence[tuple[int, int]], Quantity, Law, Law], Turns | None]
"""(pairs of tokens on and off, quantity, the weight's law when on and when off) -> turns; None where there are none."""

_Ask = Callable[[Sequence[tuple[int, int]], Quantity], Turns | None]

PAIRS = 24
"""A threshold is located between so many pairs of states."""

SHARP = 2
"""Between at least so many of them it has to turn sharply, and between all of them at the same value of its quantity. A
quantity that jumps (a mass up to the label, where tokens change places) may step over its threshold on the others."""

AGREEMENT = {True: 1e-11, False: 3e-5}
"""How far, relatively, located thresholds may lie apart, for losses in float64 and in float32."""


@dataclass(frozen=True)
class Switch:
    """An indicator.

    Args:
        law: 1 where the weight is on, 0 where it is off.
        numbers: its thresholds: a number each, or an interval where the loss could not be asked again.
        excess: 0; an indicator predicts exactly or not at all.
    """

    law: Law
    numbers: dict[str, float | tuple[float, float]] = field(default_factory=dict)
    excess: float = 0.0


@dataclass(frozen=True)
class _Threshold:
    """1[X > t] or 1[X <= t]."""

    quantity: Quantity
    above: bool
    low: float
    high: float

    @property
    def located(self) -> bool:
        return self.high - self.low <= 1e-4 * abs(self.high)

    @property
    def value(self) -> float:
        """The threshold: the shortest number in the interval."""
        if not self.located:
            return (self.low * self.high) ** 0.5
        for digits in range(1, 16):
            short = float(f"{self.low:.{digits}g}")
            slack = 4e-15 * abs(short)
            if self.low - slack <= short <= self.high + slack:
                return short
        return 0.5 * (self.low + self.high)

    @property
    def law(self) -> Law:
        sign, latex_sign = (">", ">") if self.above else ("<=", r"\le")
        threshold, quantity = self.value, self.quantity
        text, latex = rounded(threshold, 6), rounded_latex(threshold, 6)
        if not self.located:
            text = f"t, {rounded(self.low)} < t < {rounded(self.high)}"
            latex = rf"t,\;{rounded_latex(self.low)} < t < {rounded_latex(self.high)}"
        return Law(
            f"1[{quantity.text} {sign} {text}]",
            rf"\mathbf{{1}}[{quantity.latex} {latex_sign} {latex}]",
            self._value,
            quantity.requires,
            Binding.ATOM,
        )

    def _value(self, state: State) -> Tensor:
        """[N] 0 or 1; NaN inside an interval, where it is not known."""
        value = self.quantity.log(state).exp()
        on = ((value > self.value) == self.above).to(state.dtype)
        return on if self.located else torch.where((value > self.low) & (value < self.high), torch.nan, on)

    @property
    def number(self) -> float | tuple[float, float]:
        return self.value if self.located else (self.low, self.high)


def find_switch(
    samples: Samples,
    on: np.ndarray,
    known: Library,
    context: tuple[str, ...],
    locate: _Ask | None,
) -> Switch | None:
    """The indicator that is 1 exactly where a weight is on.

    A quantity qualifies where its values on the tokens that are on and on those that are off do not overlap. Where the
    loss can be asked again, the turn is located between several pairs of states, and has to come at the same value of
    the quantity each time; the wrong quantity would turn at different ones. Without, and where several quantities
    qualify, nothing is said.

    Args:
        samples: the weight.
        on: [N] bool.
        known: quantities.
        context: context that the loss can see.
        locate: asks the loss again, pairs of tokens and a quantity -> turns; None where it cannot be asked.

    Returns:
        The switch, None where none is found.
    """
    use = samples.use
    if "critical" in context and bool((samples.evaluate(laws.critical_mask())[use].astype(bool) == on[use]).all()):
        return Switch(laws.critical_mask())
    whole = _thresholds(samples, on, use, known, locate)
    if whole is not None:
        return Switch(whole.law, {"threshold": whole.number})
    if "advantages" in context:
        return _by_sign(samples, on, known, locate)
    return None


def _by_sign(samples: Samples, on: np.ndarray, known: Library, locate: _Ask | None) -> Switch | None:
    """One threshold where the advantage is positive and another where it is negative: the clip of PPO."""
    positive = samples.evaluate(policy_laws.advantage()) > 0
    sides: list[Law] = []
    numbers: dict[str, float | tuple[float, float]] = {}
    for side, name in ((positive, "A > 0"), (~positive, "A < 0")):
        mask = samples.use & side
        if not mask.any() or on[mask].all() or not on[mask].any():
            sides.append(constant(float(on[mask].all())))
            continue
        found = _thresholds(samples, on, mask, known, locate)
        if found is None:
            return None
        sides.append(found.law)
        numbers[f"threshold at {name}"] = found.number
    up, down = sides

    def value(state: State) -> Tensor:
        return torch.where(state.context("advantages") > 0, up(state), down(state))

    requires = tuple(dict.fromkeys((*up.requires, *down.requires, "advantages")))
    text = f"[{up.text} where A > 0, {down.text} where A < 0]"
    return Switch(Law(text, rf"[{up.latex}\;(A > 0), {down.latex}\;(A < 0)]", value, requires), numbers)


def _thresholds(
    samples: Samples, on: np.ndarray, mask: np.ndarray, known: Library, locate: _Ask | None
) -> _Threshold | None:
    """The one threshold that separates on from off among some tokens."""
    if on[mask].all() or not on[mask].any():
        return None
    qualified = []
    for quantity in [*known.core, *known.top_k]:
        log = samples.log(quantity)
        yes, no = log[mask & on], log[mask & ~on]
        if np.isnan(yes).any() or np.isnan(no).any():
            continue
        above = yes.min() > no.max()
        if above or yes.max() < no.min():
            qualified.append((quantity, above))
        if len(qualified) >= 6:
            break
    if locate is None:
        distinct = [one for one in qualified if not _same_order(samples, qualified[0][0], one[0], mask)]
        if not qualified or distinct:
            return None
        quantity, above = qualified[0]
        log = samples.log(quantity)
        low, high = _between(log[mask & on], log[mask & ~on], above)
        return _Threshold(quantity, above, float(np.exp(low)), float(np.exp(high)))
    for quantity, above in qualified:
        found = _located(samples, quantity, above, _pairs(samples.log(quantity), on, mask, samples.states), locate)
        if found is not None:
            return found
    return None


def _located(
    samples: Samples, quantity: Quantity, above: bool, pairs: Sequence[tuple[int, int]], locate: _Ask
) -> _Threshold | None:
    """The threshold on a quantity, if it comes at the same value between all pairs of states."""
    lows, highs = np.empty(0), np.empty(0)
    for start in range(0, len(pairs), PAIRS):
        ends = locate(pairs[start : start + PAIRS], quantity)
        if ends is None:
            return None
        lows, highs = np.append(lows, [min(end) for end in ends]), np.append(highs, [max(end) for end in ends])
        slack = AGREEMENT[samples.eps < 1e-12] * np.maximum(1.0, np.abs(highs))
        if float((lows - slack).max()) > float((highs + slack).min()):
            return None
        sharp = highs - lows <= slack
        if int(sharp.sum()) >= SHARP:
            return _Threshold(quantity, above, *_common(lows, highs, sharp))
    return None


def _common(lows: np.ndarray, highs: np.ndarray, sharp: np.ndarray) -> tuple[float, float]:
    """The interval that holds the threshold, by the sharp turns."""
    return float(np.exp(lows[sharp].min())), float(np.exp(highs[sharp].max()))


def _between(yes: np.ndarray, no: np.ndarray, above: bool) -> tuple[float, float]:
    return (float(no.max()), float(yes.min())) if above else (float(yes.max()), float(no.min()))


def _same_order(samples: Samples, first: Quantity, second: Quantity, mask: np.ndarray) -> bool:
    """Whether two quantities order the tokens alike, so that a threshold on one is a threshold on the other."""
    order = np.argsort(samples.log(first)[mask], kind="stable")
    ranked = samples.log(second)[mask][order]
    steps = np.diff(ranked)
    return bool((steps >= -1e-9).all() or (steps <= 1e-9).all())


def _pairs(log: np.ndarray, on: np.ndarray, mask: np.ndarray, states: Sequence[State]) -> list[tuple[int, int]]:
    """Pairs of tokens of one batch, on and off, from both sides of the turn, some near to it and some far."""
    sizes = [len(state.batch) for state in states]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    best: list[tuple[int, int]] = []
    for low, high in pairwise(starts.tolist()):
        place = np.arange(low, high)
        yes, no = place[(mask & on)[low:high]], place[(mask & ~on)[low:high]]
        if not len(yes) or not len(no):
            continue
        above = log[yes].min() > log[no].max()
        turn = 0.5 * (log[yes].min() + log[no].max() if above else log[yes].max() + log[no].min())
        yes, no = (side[np.argsort(np.abs(log[side] - turn), kind="stable")] for side in (yes, no))
        count = min(PAIRS, len(yes), len(no))
        pairs = [(int(yes[i]), int(no[(i + shift) % len(no)])) for shift in (0, 7, 19, 41) for i in range(count)]
        best = max(best, pairs, key=len)
    return best
