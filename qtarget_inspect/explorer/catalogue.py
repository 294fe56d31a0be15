"""Catalogue: the registered losses as data for the page: names, formulas, parameters with their sliders' steps."""

from __future__ import annotations

import math
from typing import Any

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.explorer.formulas import FORMULAS, NOT_ONE_TOKEN
from qtarget_inspect.variants import Variant, variants
from qtarget_inspect.variants.ranges import Range

AXES_OF_CONTEXT = {
    "teacher_logits": ("teacher", "favourite"),
    "reference_logits": ("reference",),
    "old_logits": ("old",),
    "advantages": ("advantage",),
    "critical": ("critical",),
    "weights": (),
    "sequence_ids": (),
}
"""Context that a loss asks for -> the page's sliders that move it. `weights` are 1, and a token is its own sequence."""

_UNBOUNDED = {
    "alpha": (0.0, 0.1, 0.2, 0.5, 0.7, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0),
    "poly_weight": (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0),
    "entropy_weight": (-0.5, -0.2, -0.1, 0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
}
"""Steps of parameters that may be any number."""

_LARGEST_WHOLE = 20


def losses_of_the_page() -> list[dict[str, Any]]:
    """Every registered loss that the page can evaluate by itself.

    Returns:
        A record a loss, in the order of the registry: name, title, category, formula, reference, source, parameters
        (name, default, steps, range), axes (the sliders that it depends on beside p_y and the others' shape), pulls.
    """
    return [_record(variant) for name, variant in variants().items() if name in FORMULAS]


def refusal(variant: Variant) -> str | None:
    """Why the page cannot show a registered loss.

    Args:
        variant: the loss.

    Returns:
        The reason; None where it can.

    Examples:
        >>> import qtarget_inspect as qt
        >>> refusal(qt.get("dpo")), refusal(qt.get("dft"))
        ('it compares two sequences, and the page has one token', None)
    """
    if variant.name in NOT_ONE_TOKEN:
        return NOT_ONE_TOKEN[variant.name]
    return "it compares sequences, and the page has one token" if variant.category == "preference" else None


def steps(name: str, default: float, allowed: Range | None) -> list[float]:
    """Positions of a parameter's slider: round numbers within its range, its default among them.

    Args:
        name: the parameter.
        default: its default.
        allowed: its range, None for any number.

    Returns:
        Rising numbers.

    Raises:
        QTargetError: the default is no number.

    Examples:
        >>> steps("eta", 0.5, Range(0, 1))[:3], steps("top_k", 20, Range(2, integer=True))[-2:]
        ([0.0, 0.05, 0.1], [19, 20])
        >>> steps("kl_weight", 0.05, Range(0))
        [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    """
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise QTargetError(f"the page has sliders for numbers only; {name} is {default!r:.60}.")
    allowed = allowed or Range()
    if allowed.integer:
        low = max(allowed.low, 1)
        found: set[float] = set(range(int(low), max(_LARGEST_WHOLE, int(default)) + 1))
    elif math.isfinite(allowed.low) and math.isfinite(allowed.high):
        found = {round(allowed.low + (allowed.high - allowed.low) * step / 20, 6) for step in range(21)}
        if name == "threshold":
            found -= {0.5, 1.0}  # p_y or a mass can be just that, and then equality hangs on rounding
    elif math.isfinite(allowed.low):
        found = {allowed.low + number for number in _round_numbers(default - allowed.low)}
    elif math.isfinite(allowed.high):
        found = {allowed.high - number for number in _round_numbers(allowed.high - default)}
    else:
        found = set(_UNBOUNDED.get(name, (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0)))
    inside = {number for number in found if _holds(number, allowed)}
    return sorted(inside | {default})


def _round_numbers(size: float) -> set[float]:
    """0, and 1, 2, 5 times powers of ten from a fiftieth of a size to twenty times of it, or to 1."""
    size = size or 1.0
    low, high = size / 50.001, max(20.001 * size, 1.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = {round(m * 10.0**power, 12) for power in powers for m in (1, 2, 5)}
    return {0.0} | {number for number in numbers if low <= number <= high}


def _holds(number: float, allowed: Range) -> bool:
    above = number > allowed.low if allowed.low_open else number >= allowed.low
    below = number < allowed.high if allowed.high_open else number <= allowed.high
    return above and below


def axes_of(context: tuple[str, ...]) -> list[str]:
    """The sliders that a loss depends on, beside p_y and the others' shape.

    Args:
        context: the names of the context it asks for.

    Returns:
        Names of axes.
    """
    return [axis for name in context for axis in AXES_OF_CONTEXT[name]]


def _record(variant: Variant) -> dict[str, Any]:
    axes = axes_of(variant.context) + (["log_z"] if variant.name == "z-loss" else [])
    return {
        "name": variant.name,
        "title": variant.title,
        "category": variant.category,
        "formula": variant.formula,
        "reference": variant.reference,
        "source": variant.source,
        "axes": axes,
        "parameters": [
            {
                "name": name,
                "default": default,
                "steps": steps(name, default, variant.ranges.get(name)),
                "range": variant.ranges[name].text if name in variant.ranges else "a number",
            }
            for name, default in variant.parameters.items()
        ],
        "pulls": FORMULAS[variant.name],
    }
