"""Decomposition: gauges, readings, flags, fits, precision."""

import math

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis import decomposition as names
from qtarget_inspect.core.numerics import one_hot
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions

GAUGES = ("unit", "normalized", "natural")
READINGS = ("attractor", "self", "label-free")


def target_of(loss, batch, **options):
    return qt.invert(loss, batch, method="torch.func", **options)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("gauge", GAUGES)
@pytest.mark.parametrize("name", list(qt.variants()))
def test_the_parts_make_up_the_whole(name, gauge, reading, probes):
    """Q = gamma onehot(y) + remainder, and = gamma onehot(y) + (1 - gamma) residual where there is one."""
    found = qt.decompose(target_of(name, probes), gauge=gauge, reading=reading)
    label = one_hot(probes.labels, probes.logits)
    defined = torch.isfinite(found.gamma)
    whole = found.gamma.unsqueeze(-1) * label + found.remainder
    parts = torch.cat([found.q[defined].flatten(), found.gamma[defined], torch.ones(1, dtype=torch.float64)])
    size = parts.abs().max()
    assert not defined.any() or (whole - found.q)[defined].abs().max() < 1e-14 * size
    free = defined & ((1 - found.gamma).abs() > 1e-3)
    if free.any():
        rebuilt = found.gamma.unsqueeze(-1) * label + (1 - found.gamma).unsqueeze(-1) * found.residual
        assert (rebuilt - found.q)[free].abs().max() < 1e-13 * size
    full = defined & ((1 - found.gamma).abs() <= 1e-12)
    assert torch.isnan(found.residual[full]).all()
    assert (names.FLAG_FULL_TRUST in found.flags) == bool(full.any())


def test_dft_has_gamma_p_in_two_readings_and_2p_minus_p_squared_in_the_third(probes):
    p = State(probes).p_label
    target = target_of("dft", probes)
    assert torch.allclose(qt.decompose(target).gamma, p, rtol=1e-13)
    assert torch.allclose(qt.decompose(target, reading="self").gamma, p, rtol=1e-12)
    assert torch.allclose(qt.decompose(target, reading="label-free").gamma, 2 * p - p * p, rtol=1e-12)


def test_asft_reads_differently_in_the_two_gauges(probes):
    p, weight = State(probes).p_label, 0.05
    target = target_of("asft", probes)
    assert torch.allclose(qt.decompose(target, gauge="unit").gamma, p)
    normalized = qt.decompose(target, gauge="normalized")
    assert torch.allclose(normalized.gamma, p / (p + weight))
    free = p < 0.999
    reference = probes.reference_logits.softmax(-1)
    assert (normalized.residual - reference)[free].abs().max() < 1e-11


def test_natural_gauges():
    batch = qt.probe_batch(64, 40)
    expected = {
        "sft": "unit",
        "dft": "unit",
        "label-smoothing": "unit",
        "kd": "unit",
        "gem": "unit",
        "target-sft": "unit",
    }
    expected |= {"sft-kl": "normalized", "asft": "normalized", "psft": "unit"}
    for name, gauge in expected.items():
        assert qt.decompose(target_of(name, batch), gauge="natural").gauge == gauge, name
        assert qt.decompose(qt.invert(qt.get(name).bound_loss, batch), gauge="natural").gauge in {gauge, "unit"}


def test_gem_has_no_normalized_gauge(probes):
    found = qt.decompose(target_of("gem", probes), gauge="normalized")
    assert torch.isnan(found.gamma).all()
    assert torch.isnan(found.q).all()
    assert found.flags[names.FLAG_NO_TOTAL_PULL].all()


def test_a_negative_total_pull_is_flagged_not_hidden():
    def unlearning(logits, labels):
        return -0.5 * qt.losses.sft(logits, labels)

    found = qt.decompose(qt.invert(unlearning, qt.probe_batch(32, 40)), gauge="normalized")
    assert found.flags[names.FLAG_REVERSED].all()
    assert torch.isnan(found.gamma).all()
    assert torch.allclose(found.pulls["label"], torch.tensor(-0.5, dtype=torch.float64))


@pytest.mark.parametrize("name", ["sft", "dft", "p-loss", "beyond-log", "profit", "eaft", "iw-sft", "cft", "psft"])
def test_a_fit_finds_the_label_pull_to_ten_digits_from_one_end_of_p_to_the_other(name, probes):
    """p_y from 1e-8 to 1 - 1e-8, without the declared pulls."""
    variant = qt.get(name)
    declared = qt.decompose(target_of(variant, probes)).gamma
    fitted = qt.decompose(qt.invert(variant.bound_loss, probes))
    assert fitted.source == "fit"
    assert (fitted.gamma - declared).abs().max() < 1e-10 * declared.abs().max()
    big = declared > 1e-12
    assert ((fitted.gamma - declared) / declared)[big].abs().max() < 1e-9


@pytest.mark.parametrize("name", ["label-smoothing", "sft-kl", "asft", "kd", "kd-hybrid"])
def test_a_fit_finds_other_pulls_where_directions_are_independent(name, probes):
    variant = qt.get(name)
    declared, fitted = (
        qt.decompose(target) for target in (target_of(variant, probes), qt.invert(variant.bound_loss, probes))
    )
    unique = ~fitted.flags.get(names.FLAG_DEPENDENT, torch.zeros(len(probes), dtype=torch.bool))
    assert unique.sum() > 100
    moderate = unique & ((State(probes).p_label - 0.5).abs() < 0.499)
    for pull, weight in declared.pulls.items():
        assert (fitted.pulls[pull] - weight)[moderate].abs().max() < 1e-6, pull
        assert (fitted.pulls[pull] - weight)[moderate].abs().median() < 1e-13, pull
    assert fitted.unexplained.max() < 1e-8


def test_the_start_of_asft_is_flagged_and_keeps_its_label_pull():
    """Where the reference is the model its direction vanishes: its weight is undetermined, the label's is not."""
    batch = qt.probe_batch(64, 40)
    batch = batch.with_logits(batch.logits, reference_logits=batch.logits.clone())
    fitted = qt.decompose(qt.invert(qt.get("asft").bound_loss, batch), attractors=["label", "reference"])
    assert fitted.flags == {} or fitted.flags[names.FLAG_DEPENDENT].all()
    assert torch.allclose(fitted.gamma, State(batch).p_label, rtol=1e-9)


def test_twins_are_named():
    batch = qt.probe_batch(64, 40)
    batch = batch.with_logits(batch.logits, reference_logits=batch.teacher_logits.clone())
    found = qt.decompose(qt.invert(qt.get("kd").bound_loss, batch))
    assert found.unexplained.max() < 1e-9
    twins = [flag for flag in found.flags if flag.startswith(names.FLAG_TWINS)]
    assert len(twins) == 1
    assert "teacher" in twins[0]
    apart = qt.decompose(qt.invert(qt.get("kd").bound_loss, qt.probe_batch(64, 40)))
    assert not [flag for flag in apart.flags if flag.startswith(names.FLAG_TWINS)]


def test_directions_that_coincide_get_the_smallest_weights_and_a_flag():
    """p without the label is collinear with the label: with both, and a loss that needs more, weights are many."""
    batch = qt.probe_batch(64, 40)
    found = qt.decompose(
        qt.invert(qt.get("gem").bound_loss, batch), attractors=["label", "others", directions.power(1 / 0.7)]
    )
    both = qt.decompose(qt.invert(qt.get("gem").bound_loss, batch), attractors=["label", directions.power(1 / 0.7)])
    assert found.pulls["others"].abs().max() == 0  # not needed
    assert (found.gamma - both.gamma).abs().max() == 0
    everything = qt.decompose(qt.invert(qt.get("gem").bound_loss, batch), attractors=["label", "others", "uniform"])
    assert everything.flags[names.FLAG_DEPENDENT].all()


def test_given_attractors_are_fitted_even_for_registered_losses(probes):
    found = qt.decompose(target_of("gem", probes), attractors=["label", directions.power(1 / 0.7)])
    assert found.source == "fit"
    assert found.unexplained.max() < 1e-7
    alone = qt.decompose(target_of("gem", probes), attractors=["label"])
    assert alone.unexplained.max() > 0.05
    with pytest.raises(qt.QTargetError, match="no attractor is named 'teach'"):
        qt.decompose(target_of("gem", probes), attractors=["label", "teach"])
    with pytest.raises(qt.QTargetError, match="must include 'label'"):
        qt.decompose(target_of("gem", probes), attractors=["uniform"])


def test_a_fit_that_does_not_explain_the_gradient_says_so():
    def margin(logits, labels):
        best = logits.scatter(-1, labels[:, None], float("-inf")).amax(-1)
        return (2 + best - logits.gather(-1, labels[:, None]).squeeze(-1)).clamp(min=0)

    batch = qt.TokenBatch(torch.tensor([[0.0, 1.0, 0.5, -1.0]], dtype=torch.float64), torch.tensor([0]))
    found = qt.decompose(qt.invert(margin, batch))
    assert found.unexplained.item() > 0.1
    assert found.flags[names.FLAG_UNEXPLAINED].all()


def test_lost_mass_is_pulled_nowhere(probes):
    def with_z_loss(logits, labels):
        return qt.losses.sft(logits, labels) + 0.01 * logits.logsumexp(-1) ** 2

    found = qt.decompose(qt.invert(with_z_loss, probes), gauge="natural")
    expected = 0.02 * probes.logits.logsumexp(-1)
    assert (found.pulls["nowhere"] - expected).abs().max() < 1e-9
    assert (found.pulls["label"] - 1).abs().max() < 1e-7
    assert (found.target.mass - 1 + expected).abs().max() < 1e-12


def test_a_loss_that_casts_to_float32_still_reads_as_its_label_pull(probes):
    def cast(logits, labels):
        return qt.losses.dft(logits.float(), labels)

    found = qt.decompose(qt.invert(cast, probes), gauge="natural")
    assert (found.gamma - State(probes).p_label).abs().max() < 1e-5
    assert found.gauge == "unit"


def test_certain_tokens_in_the_self_reading():
    batch = qt.TokenBatch(torch.tensor([[2000.0, 0.0], [0.0, 0.0]], dtype=torch.float64), torch.tensor([0, 0]))
    found = qt.decompose(target_of("dft", batch), reading="self")
    assert math.isnan(found.gamma[0])
    assert found.flags[names.FLAG_CERTAIN].tolist() == [True, False]


def test_bad_words():
    target = qt.invert("sft", qt.probe_batch(8, 20))
    with pytest.raises(qt.QTargetError, match="gauge must be one of unit, normalized, natural, not 'units'"):
        qt.decompose(target, gauge="units")
    with pytest.raises(qt.QTargetError, match="reading must be one of"):
        qt.decompose(target, reading="attractors")
    assert "unit gauge, attractor reading" in repr(qt.decompose(target))
