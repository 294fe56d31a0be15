"""The table of identifications: every registered loss as a black box gets its own row back, or "unknown"."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

import qtarget_inspect as qt
from qtarget_inspect.core.state import State
from qtarget_inspect.variants import Range
from qtarget_inspect.vocabulary.pulls import natural_gauge, total_pull

from .judging import FLOAT32_TOLERANCE, TOLERANCE, assert_says_unknown, inverted, row_error
from .states import dense_states, fresh_states, large_vocabulary

pytestmark = pytest.mark.xdist_group("registry-table")  # one worker, so that the counts find every verdict made

DRAWS = 2
"""How often the parameters of a loss are drawn, beside its defaults."""

WITHOUT_LAW = ("unlikelihood-tokens", "squared-logits", "logit-norm", "gem-sigmoid")
"""Three that are no pulls, and one that pulls in a direction of its own."""

ROWS = {
    "sft": ("one-hot", "unit"),
    "dft": ("label trust", "unit"),
    "p-loss": ("label trust", "unit"),
    "beyond-log": ("label trust", "unit"),
    "profit": ("label trust", "unit"),
    "eaft": ("label trust", "unit"),
    "iw-sft": ("label trust", "unit"),
    "cft": ("label trust", "unit"),
    "label-smoothing": ("residual distribution", "unit"),
    "sft-kl": ("residual distribution", "normalized"),
    "asft": ("both", "normalized"),
    "psft": ("label trust", "unit"),
    "gem": ("residual distribution", "unit"),
    "kd": ("residual distribution", "unit"),
    "kd-hybrid": ("residual distribution", "unit"),
    "target-sft": ("both", "unit"),
    "focal": ("label trust", "unit"),
    "gce": ("label trust", "unit"),
    "symmetric-ce": ("label trust", "unit"),
    "poly-1": ("label trust", "unit"),
    "unlikelihood": ("residual distribution", "unit"),
    "thresholded-log": ("label trust", "unit"),
    "thresholded-log-below": ("label trust", "unit"),
    "tailr": ("label trust", "unit"),
    "deft": ("label trust", "unit"),
    "prift-prob": ("label trust", "unit"),
    "prift-mass": ("label trust", "unit"),
    "eaft-llama-factory": ("label trust", "unit"),
    "eaft-axolotl": ("label trust", "unit"),
    "iw-sft-per-token": ("label trust", "unit"),
    "asft-reverse-kl": ("both", "unit"),
    "forward-kl": ("residual distribution", "unit"),
    "reverse-kl": ("divergence", "unit"),
    "jsd": ("divergence", "unit"),
    "alpha-divergence": ("residual distribution", "normalized"),
    "total-variation": ("divergence", "unit"),
    "kd-top-k": ("residual distribution", "normalized"),
    "kd-top-k-renormalized": ("residual distribution", "unit"),
    "kd-hybrid-temperature": ("residual distribution", "normalized"),
    "confidence-penalty": ("residual distribution", "unit"),
    "z-loss": ("regulariser", "unit"),
    "reinforce": ("policy gradient", "unit"),
    "ppo": ("policy gradient", "unit"),
    "k3": ("label trust", "unit"),
    "grpo": ("policy gradient", "unit"),
    "dpo": ("preference", "unit"),
    "simpo": ("preference", "unit"),
    "orpo": ("preference", "unit"),
}
"""Category by inversion and natural gauge, worked out by hand; the same for all parameters inside their ranges."""

NAMES = [name for name, variant in qt.variants().items() if variant.source in ("paper", "beyond the paper")]


@dataclass(frozen=True)
class Verdict:
    """Whether an identification is right, silent or wrong, and why."""

    verdict: str
    reason: str


def drawn(variant: qt.Variant, draw: int) -> qt.Variant:
    """A variant with parameters drawn at random inside their ranges; draw 0 keeps the defaults."""
    generator = random.Random(f"{variant.name} {draw}")
    if draw == 0:
        return variant
    return variant.with_parameters(**{name: _number(allowed, generator) for name, allowed in variant.ranges.items()})


def _number(allowed: Range, generator: random.Random) -> float | int:
    """Between two ends 2 % away from either; beyond one end by 0.05 to 6; whole numbers up to 40; else up to 8."""
    low, high = allowed.low, allowed.high
    if allowed.integer:
        return generator.randint(int(low), 40 if math.isinf(high) else int(high))
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * generator.uniform(0.02, 0.98)
    size = math.exp(generator.uniform(math.log(0.05), math.log(6.0)))
    if math.isfinite(low):
        return low + size
    return high - size if math.isfinite(high) else generator.choice((-1, 1)) * size


def casting(variant: qt.Variant) -> Callable[..., Tensor]:
    """The loss of a variant with everything cast to float32 first, as public code does."""

    def loss(logits: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        half = {name: value.float() if value.is_floating_point() else value for name, value in context.items()}
        return variant(logits.float(), labels, **half)

    names = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("logits", "labels")]
    names += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in variant.context]
    loss.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    loss.__name__ = f"casting {variant.label}"
    return loss


@cache
def judged(name: str, draw: int, cast: bool) -> Verdict:
    """Identify one member of the registry as a black box, and hold it against inversion and the declared pulls."""
    variant = drawn(qt.get(name), draw)
    found = qt.identify(casting(variant) if cast else variant)
    assert found.precision == (torch.float32 if cast else torch.float64), found.precision
    if not found.has_law:
        assert_says_unknown(found)
        return Verdict("silent", f"{variant.label}: {'; '.join(found.warnings)}")
    tolerance = FLOAT32_TOLERANCE if cast else TOLERANCE
    error = max(
        row_error(found.predict_q(states), inverted(variant, states))
        for states in (fresh_states(), dense_states(), large_vocabulary())
    )
    text = found.pulls.text if found.pulls else "no pulls"
    if not error < tolerance:
        return Verdict("wrong", f"{variant.label}: {text}: Q is off by {error:.1e}")
    if name in WITHOUT_LAW:
        return Verdict("wrong", f"{variant.label} has no law, but {text} is named")
    differences = list(_differences(found, variant, tolerance))
    return Verdict("wrong" if differences else "right", f"{variant.label}: {text}: {differences}")


def _differences(found: qt.Identification, variant: qt.Variant, tolerance: float) -> Iterator[str]:
    """Where category, gauge or gamma are other than the declared pulls have them."""
    assert variant.pulls is not None
    if (found.category, found.gauge) != ROWS[variant.name]:
        yield f"category and gauge: {found.category}, {found.gauge}, not {ROWS[variant.name]}"
    state = State(fresh_states(), torch.float64)
    weights, directions = variant.pulls.weights(state), variant.pulls.directions
    gauge = natural_gauge(directions, weights)
    if found.gauge != gauge:
        yield f"gauge: {found.gauge}, not {gauge}"
    gamma, total = weights.get("label", torch.zeros(len(fresh_states()))), total_pull(directions, weights)
    if gauge == "normalized":
        gamma = gamma / torch.where(total > 0, total, torch.nan)
    predicted = found.predict_gamma(fresh_states())
    defined = torch.isfinite(gamma)
    if gauge == "unit" and not bool(defined.all()):
        yield "gamma is not defined"
    small = total.abs().clamp(max=1.0) if gauge == "normalized" else torch.ones_like(total)
    apart = ((predicted - gamma).abs() * small / gamma.abs().clamp(min=1.0))[defined]
    if not float(apart.nan_to_num(nan=torch.inf).max()) < tolerance:
        yield f"gamma: off by {float(apart.max()):.1e}"


def cases(draws: range) -> list[tuple[str, int]]:
    """Names with draws; a loss without parameters is drawn once."""
    return [(name, draw) for name in NAMES for draw in draws if draw == 0 or qt.get(name).ranges]


def counts(draws: range, cast: bool) -> dict[str, list[str]]:
    """Verdict -> reasons, of the losses that have a law."""
    verdicts = [judged(name, draw, cast) for name, draw in cases(draws) if name not in WITHOUT_LAW]
    return {kind: [one.reason for one in verdicts if one.verdict == kind] for kind in ("right", "silent", "wrong")}


def check(name: str, draw: int, cast: bool) -> None:
    """Never wrong; silent where there is no law."""
    one = judged(name, draw, cast)
    assert one.verdict != "wrong", one.reason
    if name in WITHOUT_LAW:
        assert one.verdict == "silent", one.reason


def test_the_hand_written_rows_are_those_of_the_registry():
    assert set(ROWS) | set(WITHOUT_LAW) == set(NAMES)
    for name in ("unlikelihood-tokens", "squared-logits", "logit-norm"):
        assert qt.get(name).pulls is None


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if qt.get(name).source == "paper" else pytest.mark.slow) for name in NAMES],
)
def test_a_loss_at_its_defaults_gets_its_row(name):
    check(name, 0, cast=False)
    if name not in WITHOUT_LAW:
        assert judged(name, 0, cast=False).verdict == "right", judged(name, 0, cast=False).reason


@pytest.mark.slow
@pytest.mark.parametrize(("name", "draw"), cases(range(1, DRAWS + 1)))
def test_a_loss_with_parameters_drawn_at_random_is_never_given_a_wrong_law(name, draw):
    check(name, draw, cast=False)


@pytest.mark.slow
def test_nineteen_of_twenty_losses_get_their_row():
    found = counts(range(DRAWS + 1), cast=False)
    total = sum(map(len, found.values()))
    assert not found["wrong"], found["wrong"]
    assert total > 100
    assert len(found["right"]) >= 0.95 * total, found["silent"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_casts_to_float32_is_never_given_a_wrong_law(name):
    check(name, 0, cast=True)


@pytest.mark.slow
def test_nineteen_of_twenty_losses_that_cast_get_their_row():
    found = counts(range(1), cast=True)
    assert not found["wrong"], found["wrong"]
    assert len(found["right"]) >= 0.95 * sum(map(len, found.values())), found["silent"]
