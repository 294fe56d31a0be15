"""Parameters: ranges are said in one place and checked wherever values come in."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.variants import BEYOND_VARIANTS, PAPER_VARIANTS, Range
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.pulls import Pulls

OUTSIDE = [
    ("eaft", "top_k", (1, 0, -1, 2.5, "a", True, None), "a whole number >= 2"),
    ("profit", "threshold", (1, -0.1, "a", math.nan), "a number in [0, 1)"),
    ("iw-sft", "maximum", (0, -1, math.inf), "a number > 0"),
    ("label-smoothing", "label_smoothing", (1, 3, -0.1), "a number in [0, 1)"),
    ("sft-kl", "kl_weight", (-1, "a"), "a number >= 0"),
    ("asft", "kl_weight", (-1, "a", math.nan, [1]), "a number >= 0"),
    ("psft", "epsilon", (1, -0.1), "a number in [0, 1)"),
    ("psft", "epsilon_high", (-0.1, "a"), "a number >= 0"),
    ("gem", "beta", (0, -1), "a number > 0"),
    ("kd", "temperature", (0, -1, 1j), "a number > 0"),
    ("kd-hybrid", "kd_weight", (2, -0.1), "a number in [0, 1]"),
    ("target-sft", "eta", (2, -0.1), "a number in [0, 1]"),
    ("beyond-log", "alpha", (math.inf, "a", None), "a finite number"),
    ("focal", "focusing", (-1,), "a number >= 0"),
    ("gce", "alpha", (1.5, -0.1), "a number in [0, 1]"),
    ("symmetric-ce", "log_zero", (1,), "a number <= 0"),
    ("thresholded-log-below", "threshold", (0,), "a number in (0, 1]"),
    ("jsd", "teacher_share", (0, 1), "a number in (0, 1)"),
    ("alpha-divergence", "eta", (0, 1), "a number in (0, 1)"),
    ("kd-top-k", "top_k", (0, 1.5), "a whole number >= 1"),
    ("ppo", "epsilon", (1,), "a number in [0, 1)"),
    ("dpo", "beta", (0,), "a number > 0"),
]

EDGES = [
    ("eaft", {"top_k": 2}),
    ("profit", {"threshold": 0}),
    ("label-smoothing", {"label_smoothing": 0}),
    ("asft", {"kl_weight": 0}),
    ("psft", {"epsilon": 0, "epsilon_high": 0}),
    ("gem", {"beta": 1}),
    ("kd", {"temperature": 3}),
    ("kd-hybrid", {"kd_weight": 1}),
    ("target-sft", {"eta": 1}),
    ("beyond-log", {"alpha": -0.5}),
    ("iw-sft", {"maximum": 1}),
    ("focal", {"focusing": 0}),
    ("focal", {"focusing": 0.5}),
    ("gce", {"alpha": 0}),
    ("gce", {"alpha": 1}),
    ("symmetric-ce", {"log_zero": 0, "reverse_weight": 0}),
    ("poly-1", {"poly_weight": -1}),
    ("thresholded-log", {"threshold": 0}),
    ("thresholded-log-below", {"threshold": 1}),
    ("tailr", {"ratio_threshold": 0, "min_weight": 1}),
    ("tailr", {"ratio_threshold": 1, "min_weight": 0.3}),
    ("prift-mass", {"threshold": 1}),
    ("eaft-llama-factory", {"top_k": 2, "divisor": 1e-3}),
    ("eaft-axolotl", {"top_k": 2}),
    ("iw-sft-per-token", {"epsilon": 1}),
    ("gem-sigmoid", {"beta": 1, "scale": 0}),
    ("asft-reverse-kl", {"kl_weight": 0}),
    ("jsd", {"teacher_share": 1e-3}),
    ("alpha-divergence", {"eta": 0.999}),
    ("kd-top-k", {"top_k": 1}),
    ("kd-top-k-renormalized", {"top_k": 100}),
    ("kd-hybrid-temperature", {"kd_weight": 1, "temperature": 0.5}),
    ("confidence-penalty", {"entropy_weight": -0.5}),
    ("z-loss", {"z_weight": 1}),
    ("ppo", {"epsilon": 0, "epsilon_high": 0}),
    ("grpo", {"kl_weight": 0}),
    ("k3", {"kl_weight": 1e-3}),
    ("dpo", {"beta": 5}),
    ("simpo", {"beta": 1e-3, "margin": 0}),
    ("orpo", {"odds_weight": 0}),
]


@pytest.mark.parametrize(("name", "parameter", "values", "words"), OUTSIDE)
def test_a_value_outside_its_range_is_named_with_the_range(name, parameter, values, words):
    for value in values:
        with pytest.raises(qt.RegistryError) as caught:
            qt.get(name).with_parameters(**{parameter: value})
        assert str(caught.value) == f"{parameter} of {name} must be {words}, not {value!r}."
        with pytest.raises(qt.RegistryError):
            replace(qt.get(name), parameters={**qt.get(name).parameters, parameter: value})


@pytest.mark.parametrize("spec", ["kd(temperature=0)", "gem(beta=0)", "eaft(top_k=-1)", "sft-kl(kl_weight=-1)"])
def test_specs_are_checked_wherever_a_loss_is_taken(spec):
    for take in (qt.get, qt.inspect, lambda loss: qt.invert(loss, qt.probe_batch(8))):
        with pytest.raises(qt.RegistryError, match="must be a"):
            take(spec)


@pytest.mark.parametrize(("name", "parameters"), EDGES)
def test_the_ends_of_a_range_work(name, parameters):
    batch, variant = qt.probe_batch(32, 30), qt.get(name).with_parameters(**parameters)
    found, closed = (qt.invert(variant, batch, method=method) for method in ("torch.func", "closed-form"))
    size = max(1.0, float(found.q.abs().max()))
    assert (found.q - closed.q).abs().max() < 1e-12 * size
    assert (variant.claim is not None) == (variant.source == "paper")


def test_every_parameter_of_the_package_has_a_range():
    for variant in PAPER_VARIANTS + BEYOND_VARIANTS:
        assert set(variant.ranges) == set(variant.parameters), variant.name


def test_numbers_of_other_libraries_become_plain():
    variant = qt.get("eaft").with_parameters(top_k=np.int64(5))
    assert variant.label == "eaft(top_k=5)"
    assert qt.get("gem").with_parameters(beta=np.float64(0.5)).label == "gem(beta=0.5)"
    assert qt.get("gem").with_parameters(beta=np.float32(0.5)).label == "gem(beta=0.5)"
    assert qt.get("asft").with_parameters(kl_weight=1).label == "asft(kl_weight=1)"


@pytest.mark.parametrize("spec", ["asft(kl_weight=1,kl_weight=2)", "psft(epsilon=0, epsilon_high=1, epsilon=0)"])
def test_a_parameter_given_twice_is_an_error(spec):
    with pytest.raises(qt.RegistryError, match="more than once; give each parameter one value"):
        qt.get(spec)


@pytest.mark.parametrize("spec", ["asft()(kl_weight=2)", "asft(kl_weight=1)(kl_weight=2)", "asft(kl_weight={[]: 1})"])
def test_what_only_looks_like_a_spec_cannot_be_read(spec):
    with pytest.raises(qt.RegistryError, match="cannot read"):
        qt.get(spec)


@pytest.mark.parametrize(
    ("allowed", "text", "inside", "outside"),
    [
        (Range(), "a finite number", (-1e300, 0, 3), (math.inf, math.nan, "1")),
        (Range(integer=True), "a whole number", (-3, 0), (0.5, 1.0)),
        (Range(high=1), "a number <= 1", (1, -5), (1.1,)),
        (Range(high=1, high_open=True), "a number < 1", (0.9,), (1,)),
        (Range(0, 1, low_open=True), "a number in (0, 1]", (1, 0.1), (0,)),
        (Range(1, 3, integer=True), "a whole number in [1, 3]", (1, 3), (0, 4)),
    ],
)
def test_ranges_say_and_check_the_same(allowed, text, inside, outside):
    assert allowed.text == text
    for value in inside:
        assert allowed.checked(value, "x", "mine") == value
    for value in outside:
        with pytest.raises(qt.RegistryError, match="x of mine must be"):
            allowed.checked(value, "x", "mine")


def scaled(logits, labels, *, scale=1.0, mode="plain"):
    return scale * qt.losses.sft(logits, labels)


def test_users_may_leave_ranges_out_or_give_their_own():
    free = qt.Variant("free", "free", scaled, "label trust", parameters={"scale": 1.0, "mode": "plain"})
    assert free.with_parameters(scale=-7, mode="other").label == "free(scale=-7, mode='other')"
    bound = replace(free, ranges={"scale": Range(0)})
    assert bound.with_parameters(mode="other").parameters["mode"] == "other"
    with pytest.raises(qt.RegistryError, match="scale of free must be a number >= 0, not -7"):
        bound.with_parameters(scale=-7)
    with pytest.raises(qt.RegistryError, match="no parameter of that name"):
        replace(free, ranges={"scales": Range(0)})
    with pytest.raises(qt.RegistryError, match=r"must be a Range\(low, high\)"):
        replace(free, ranges={"scale": (0, 1)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 3}, "name of a variant is text"),
        ({"loss": "sft"}, "loss of 'free' must be callable"),
        ({"parameters": 3}, "parameters of 'free' must be a dict"),
        ({"parameters": {3: 1}}, "parameters of 'free' must be a dict"),
        ({"parameters": {"weight": 1.0}}, "does not take its parameter weight"),
        ({"make_pulls": {"label": 1}}, "make_pulls of 'free' must be a function"),
        ({"make_claim": 3}, "make_claim of 'free' must be a function"),
    ],
)
def test_malformed_variants_are_refused(fields, message):
    with pytest.raises(qt.RegistryError, match=message):
        qt.Variant(**{"name": "free", "title": "free", "loss": scaled, "category": "label trust", **fields})


def test_functions_that_make_no_pulls_or_claim_are_named():
    variant = qt.Variant("free", "free", scaled, "label trust", make_pulls=lambda: {"label": 1}, make_claim=lambda: 3)
    with pytest.raises(qt.RegistryError, match="the pulls of free must be a Pulls"):
        _ = variant.pulls
    with pytest.raises(qt.RegistryError, match="the claim of free must be a Claim"):
        _ = variant.claim
    fine = replace(variant, make_pulls=lambda: Pulls.of((directions.label(), 1.0)), make_claim=None)
    assert (qt.invert(fine, qt.probe_batch(8)).mass - torch.ones(8)).abs().max() < 1e-12


def drawn(variant: qt.Variant, seed: int) -> qt.Variant:
    """The variant with each parameter drawn from its range, cut to [-3, 3] (whole numbers: up to 40)."""
    generator = np.random.default_rng(seed)
    values: dict[str, float | int] = {}
    for name, allowed in variant.ranges.items():
        if allowed.integer:
            values[name] = int(generator.integers(int(allowed.low), 40))
        else:
            low, high = max(allowed.low, -3.0), min(allowed.high, 3.0)
            values[name] = float(low + (high - low) * generator.uniform(0.02, 0.98))
    return variant.with_parameters(**values)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [v.name for v in PAPER_VARIANTS + BEYOND_VARIANTS if v.parameters and v.make_pulls])
def test_pulls_follow_the_loss_at_parameters_drawn_at_random(name, seed):
    batch, variant = qt.probe_batch(64, 48, seed=seed), drawn(qt.get(name), seed)
    found, closed = (qt.invert(variant, batch, method=method) for method in ("torch.func", "closed-form"))
    size = closed.q.abs().amax(-1, keepdim=True).clamp(min=1)
    assert ((found.g - closed.g).abs() / size).max() < 1e-13, variant.label
