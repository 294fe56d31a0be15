"""Law search: the simplest law that predicts a weight on states held back; none rather than a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from qtarget_inspect.analysis.identification.forms import FoundLaw, constant_law, monomials
from qtarget_inspect.analysis.identification.forms_policy import Split, penalties, preference_law
from qtarget_inspect.analysis.identification.forms_special import focal_law, proportional, varying_power
from qtarget_inspect.analysis.identification.forms_sum import curves, sums
from qtarget_inspect.analysis.identification.library import Library
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.analysis.identification.switches import Locate, Switch, find_switch
from qtarget_inspect.vocabulary import gate_laws, policy_laws
from qtarget_inspect.vocabulary.formula import Law, clipped, constant

REPEATED = 4
"""A weight that takes its largest (or smallest) value on this many tokens is clipped there."""


@dataclass(frozen=True)
class Search:
    """What a search may use.

    Args:
        known: quantities that a weight may depend on.
        context: context that the loss can see.
        locate: asks the loss again where a switch turns; None where only a user's batch is known.
        embed: from the law of what is searched to that of the whole weight, of which it may be a factor or a term.
    """

    known: Library
    context: tuple[str, ...]
    locate: Locate | None
    embed: Callable[[Law], Law] = lambda law: law


def find_law(samples: Samples, search: Search) -> FoundLaw | None:
    """The simplest law that predicts a weight on every token, those held back included.

    Tried in this order: smooth laws; a law between clips; a law that is switched on and off by a threshold; two values;
    the same times the advantage; preferences of pairs; a clipped policy gradient with a penalty. Each is fitted to some
    tokens and has to predict the others up to rounding.

    Args:
        samples: the weight.
        search: what may be used.

    Returns:
        The law, None where none predicts the weight.
    """
    if not samples.enough:
        return None
    with np.errstate(all="ignore"):  # what is tried may overflow; what is found is held against every token
        return _first_of_all(samples, search)


def _first_of_all(samples: Samples, search: Search) -> FoundLaw | None:
    return _first(
        lambda: _switched_or_smooth(samples, search),
        lambda: _times_advantage(samples, search),
        lambda: preference_law(samples, search.context),
        lambda: _beside_penalty(samples, search),
    )


def _first(*attempts: Callable[[], FoundLaw | None]) -> FoundLaw | None:
    """What the first attempt that finds something finds."""
    for attempt in attempts:
        try:
            found = attempt()
        except np.linalg.LinAlgError:  # columns that overflowed: this form is none for these values
            continue
        if found is not None:
            return found
    return None


def _switched_or_smooth(samples: Samples, search: Search) -> FoundLaw | None:
    on = ~_zero(samples)
    if not samples.enough:
        return None
    if not on[samples.use].any():
        return FoundLaw(constant(0.0), {"constant": 0.0})
    lit = samples.only(on)
    return _first(
        lambda: _checked(samples, smooth_law(lit, search.known)),
        lambda: _clipped(samples, search.known),
        lambda: _switched(samples, on, search),
        lambda: _two_values(samples, search),
    )


def _zero(samples: Samples) -> np.ndarray:
    """[N] bool, where a weight is 0 as far as can be told."""
    return np.abs(samples.values) <= 8 * samples.sigma + samples.smallest


def _checked(samples: Samples, found: FoundLaw | None) -> FoundLaw | None:
    """A law that was found on some tokens, if it predicts all of them; powers may have underflowed."""
    if found is None:
        return None
    predicted = samples.evaluate(found.law)
    zero = _zero(samples) & samples.use
    wrong = zero & (np.abs(predicted) > 16 * samples.sigma + 10 * samples.smallest)
    return None if wrong.any() else found


def smooth_law(samples: Samples, known: Library) -> FoundLaw | None:
    """The simplest law without switches or clips.

    Args:
        samples: the weight, on tokens where it is not 0.
        known: quantities that it may depend on.

    Returns:
        The law, None where none predicts the weight.
    """
    if not samples.enough or bool((samples.values[samples.use] == 0).all()):
        return None
    core, top = known.core, known.top_k
    return _first(
        lambda: constant_law(samples),
        lambda: monomials(samples, core, 1),
        lambda: monomials(samples, top, 1),
        lambda: curves(samples, core, inverse=False),
        lambda: curves(samples, core, inverse=True),
        lambda: focal_law(samples),
        lambda: proportional(samples, (gate_laws.log_partition(),)),
        lambda: monomials(samples, core, 2),
        lambda: varying_power(samples, core),
        lambda: curves(samples, top, inverse=False, exponents=(1.0,)),
        lambda: monomials(samples, core, 2, also=top),
        lambda: sums(samples, core, top),
        lambda: monomials(samples, core[:14], 3),
    )


def _clipped(samples: Samples, known: Library) -> FoundLaw | None:
    """A law kept below its largest or above its smallest value, where that is taken again and again."""
    for low, high in _ends(samples):
        inside = samples.use.copy()
        for end in (low, high):
            if end is not None:
                inside &= ~_equal(samples, end)
        part = samples.only(inside)
        found = smooth_law(part, known)
        if found is None or found.law.number is not None:
            continue
        law = clipped(found.law, low, high)
        predicted = samples.evaluate(law)
        allowed = samples.allowed(np.abs(predicted), np.full_like(predicted, 100.0))
        kept = ~inside & samples.use  # at a clip: the law has to be beyond it; inside it was checked
        if samples.excess(predicted, allowed, kept) <= 1:
            ends = {"low": low, "high": high}
            numbers = {**found.numbers, **{key: value for key, value in ends.items() if value is not None}}
            return FoundLaw(law, numbers, found.excess)
    return None


def _equal(samples: Samples, value: float) -> np.ndarray:
    return np.abs(samples.values - value) <= 8 * samples.sigma + 64 * samples.eps * abs(value) + samples.smallest


def _ends(samples: Samples) -> Iterator[tuple[float | None, float | None]]:
    """Clips to try: above, below, both."""
    values = samples.values[samples.use]
    low, high = (_settled(samples, float(end)) for end in (values.min(), values.max()))
    repeated = [int((_equal(samples, end) & samples.use).sum()) >= REPEATED for end in (low, high)]
    if repeated[1]:
        yield None, high
    if repeated[0] and low != 0:
        yield low, None
    if all(repeated) and low != 0:
        yield low, high


def _settled(samples: Samples, end: float) -> float:
    """The value of a clip from all the tokens that sit on it, shortened where rounding allows."""
    at = _equal(samples, end) & samples.use
    precise = at & (samples.sigma <= np.median(samples.sigma[at]))
    value = float(np.median(samples.values[precise]))
    short = float(f"{value:.6g}")
    return short if abs(short - value) <= 32 * samples.eps * abs(value) else value


def _switched(samples: Samples, on: np.ndarray, search: Search) -> FoundLaw | None:
    """A law times an indicator: what the weight is where it is not 0, and what turns it on."""
    lit = samples.only(on)
    if not lit.enough or not (~on & samples.use).any():
        return None
    found = _first(lambda: smooth_law(lit, search.known), lambda: _clipped(lit, search.known))
    if found is None:
        return None
    # a token whose weight would be within rounding of 0 even if it were on tells nothing
    telling = on | (np.abs(samples.evaluate(found.law)) > 32 * samples.sigma + 10 * samples.smallest)
    switch = _find_switch(samples.only(telling), on, search, found.law, constant(0.0))
    return (
        None if switch is None else FoundLaw(found.law * switch.law, {**found.numbers, **switch.numbers}, found.excess)
    )


def _two_values(samples: Samples, search: Search) -> FoundLaw | None:
    """One value on some tokens and another one on the rest."""
    values = samples.values[samples.use]
    low, high = (_settled(samples, float(end)) for end in (values.min(), values.max()))
    at_low, at_high = _equal(samples, low), _equal(samples, high)
    if low == high or not (at_low | at_high)[samples.use].all() or (at_low & at_high)[samples.use].any():
        return None
    switch = _find_switch(samples, at_high, search, constant(high), constant(low))
    if switch is None:
        return None
    return FoundLaw(constant(low) + (high - low) * switch.law, {"low": low, "high": high, **switch.numbers})


def _find_switch(samples: Samples, on: np.ndarray, search: Search, lit: Law, unlit: Law) -> Switch | None:
    """What tells tokens with one law from those with the other."""
    locate = search.locate
    if locate is None:
        return find_switch(samples, on, search.known, search.context, None)
    whole = search.embed(lit), search.embed(unlit)
    return find_switch(
        samples, on, search.known, search.context, lambda pairs, quantity: locate(pairs, quantity, *whole)
    )


def _times_advantage(samples: Samples, search: Search) -> FoundLaw | None:
    """The advantage times a law: policy gradients."""
    if "advantages" not in search.context:
        return None
    advantage = policy_laws.advantage()
    values = samples.evaluate(advantage)
    if bool((values[samples.use] == 0).any()):
        return None
    rest = samples.with_values(samples.values / values, samples.sigma / np.abs(values))
    found = _switched_or_smooth(rest, replace(search, embed=lambda law: search.embed(law * advantage)))
    if found is None or found.law.number == 0:
        return None
    numbers = {key: value for key, value in found.numbers.items() if key != "constant"}
    return FoundLaw(found.law * advantage, numbers or found.numbers, found.excess)


def _with_split(embed: Callable[[Law], Law], split: Split) -> Callable[[Law], Law]:
    return lambda law: embed(law * split.gain + split.penalty)


def _beside_penalty(samples: Samples, search: Search) -> FoundLaw | None:
    """A clipped policy gradient and a penalty beside it."""
    for split in penalties(samples, search.known.core, search.context):
        found = _switched_or_smooth(split.rest, replace(search, embed=_with_split(search.embed, split)))
        if found is not None and found.law.number != 0:
            return FoundLaw(found.law * split.gain + split.penalty, {**found.numbers, **split.numbers}, found.excess)
    return None
