"""Degenerate settings equal their simpler sibling: a table of pairs."""

import pytest
import torch

import qtarget_inspect as qt

PAIRS = [
    ("beyond-log(alpha=1)", "dft"),
    ("beyond-log(alpha=1)", "p-loss"),
    ("beyond-log(alpha=0)", "sft"),
    ("label-smoothing(label_smoothing=0)", "sft"),
    ("profit(threshold=0)", "sft"),
    ("sft-kl(kl_weight=0)", "sft"),
    ("asft(kl_weight=0)", "dft"),
    ("kd-hybrid(kd_weight=0)", "sft"),
    ("kd-hybrid(kd_weight=1)", "kd"),
    ("target-sft(eta=0)", "dft"),
    ("p-loss", "dft"),
    ("focal(focusing=0)", "sft"),
    ("gce(alpha=1)", "p-loss"),
    ("gce(alpha=0.3)", "beyond-log(alpha=0.3)"),
    ("gce(alpha=0)", "sft"),
    ("symmetric-ce(ce_weight=1, reverse_weight=0)", "sft"),
    ("symmetric-ce(ce_weight=0, log_zero=-1)", "p-loss"),
    ("symmetric-ce(ce_weight=1, log_zero=-1)", "poly-1"),
    ("poly-1(poly_weight=0)", "sft"),
    ("thresholded-log(threshold=0)", "sft"),
    ("thresholded-log", "profit"),  # no token of the probes lies at the threshold itself
    ("thresholded-log-below(threshold=1)", "sft"),
    ("tailr(ratio_threshold=0)", "sft"),
    ("tailr(ratio_threshold=1)", "dft"),
    ("tailr(min_weight=1)", "sft"),
    ("prift-mass(threshold=0)", "sft"),
    ("iw-sft-per-token(epsilon=0)", "sft"),
    ("asft-reverse-kl(kl_weight=0)", "dft"),
    ("kd-top-k(top_k=40)", "kd"),
    ("kd-top-k-renormalized(top_k=40)", "kd"),
    ("kd-hybrid-temperature(temperature=1)", "kd-hybrid"),
    ("kd-hybrid-temperature(kd_weight=0)", "sft"),
    ("kd-hybrid-temperature(kd_weight=1)", "kd(temperature=2)"),
    ("confidence-penalty(entropy_weight=0)", "sft"),
    ("z-loss(z_weight=0)", "sft"),
    ("grpo(kl_weight=0)", "ppo"),
]

TWINS = [(variant.label, variant.twin_of) for variant in qt.variants().values() if variant.twin_of]
"""Losses that say of themselves that they are another one under a new name."""


@pytest.mark.parametrize(("special", "plain"), PAIRS + TWINS)
def test_special_case(special, plain):
    batch = qt.probe_batch(96, 40)
    for method in ("torch.func", "closed-form"):
        one, other = (qt.invert(name, batch, method=method) for name in (special, plain))
        size = one.q.abs().amax(-1, keepdim=True).clamp(min=1)
        assert ((one.q - other.q) / size).abs().max() < 1e-14
        assert ((one.g - other.g) / size).abs().max() < 1e-14


def test_the_twins_are_known():
    assert TWINS == [("gce(alpha=0.7)", "beyond-log(alpha=0.7)"), ("forward-kl", "kd")]


@pytest.mark.parametrize(("name", "sibling"), [("squared-logits(logit_weight=0)", "sft")])
def test_special_cases_of_losses_without_pulls(name, sibling):
    batch = qt.probe_batch(96, 40)
    one, other = (qt.invert(loss, batch, method="torch.func") for loss in (name, sibling))
    assert (one.g - other.g).abs().max() < 1e-14


def test_gem_of_the_script_at_scale_0_is_half_of_the_papers():
    batch = qt.probe_batch(96, 40)
    half, whole = (qt.invert(name, batch, method="torch.func").g for name in ("gem-sigmoid(scale=0)", "gem"))
    assert (2 * half - whole).abs().max() < 1e-14


def test_alone_in_their_sequences_tokens_have_no_candidates():
    batch = qt.probe_batch(96, 40, sequence_length=1)
    one, other = (qt.invert(name, batch, method="torch.func") for name in ("unlikelihood-tokens", "sft"))
    assert (one.g - other.g).abs().max() < 1e-14


@pytest.mark.parametrize(("eta", "limit"), [(1 - 1e-6, "forward-kl"), (1e-6, "reverse-kl")])
def test_alpha_divergence_has_the_kls_as_limits(eta, limit):
    batch = qt.probe_batch(96, 40)
    near, at = (qt.invert(name, batch, method="torch.func").g for name in (f"alpha-divergence(eta={eta})", limit))
    assert (near - at).abs().max() < 1e-3


@pytest.mark.parametrize(("share", "limit"), [(1e-6, "forward-kl"), (1 - 1e-6, "reverse-kl")])
def test_jsd_over_b_one_minus_b_has_the_kls_as_limits(share, limit):
    batch = qt.probe_batch(96, 40, seed=1)
    near = qt.invert(f"jsd(teacher_share={share})", batch, method="closed-form").g / (share * (1 - share))
    expected = qt.invert(limit, batch, method="torch.func").g
    apart = (near - expected).abs().amax(-1)
    assert apart.median() < 1e-4  # not where the ratio of the two is a million


def test_with_an_advantage_of_one_ppo_is_proximal_sft():
    batch = qt.probe_batch(96, 40)
    batch = swapped(batch, advantages=torch.ones(96, dtype=torch.float64))
    one, other = (qt.invert(name, batch, method="torch.func") for name in ("ppo(epsilon_high=0.28)", "psft"))
    assert (one.g - other.g).abs().max() < 1e-14


def swapped(batch: qt.TokenBatch, **context) -> qt.TokenBatch:
    return batch.with_logits(batch.logits, **context)


@pytest.mark.parametrize(
    ("name", "role", "sibling"),
    [
        ("asft", "reference_logits", "dft"),  # the start of ASFT: the anchor is where the model is
        ("sft-kl", "reference_logits", "sft"),
        ("iw-sft", "reference_logits", "sft"),  # every trajectory ratio is 1
        ("psft", "old_logits", "sft"),
        ("target-sft", "teacher_logits", "dft"),
        ("prift-prob", "reference_logits", "dft"),
        ("iw-sft-per-token", "reference_logits", "sft"),
        ("asft-reverse-kl", "reference_logits", "dft"),
        ("ppo", "old_logits", "reinforce"),
        ("grpo", "reference_logits", "ppo"),
    ],
)
def test_other_model_equal_to_the_model(name, role, sibling):
    batch = qt.probe_batch(96, 40)
    batch = swapped(batch, **{role: batch.logits.clone()})
    one, other = (qt.invert(variant, batch, method="torch.func") for variant in (name, sibling))
    size = one.q.abs().amax(-1, keepdim=True).clamp(min=1)
    assert ((one.q - other.q) / size).abs().max() < 1e-14


@pytest.mark.parametrize("name", ["forward-kl", "reverse-kl", "jsd", "alpha-divergence", "total-variation"])
def test_a_teacher_that_is_the_model_teaches_nothing(name):
    batch = qt.probe_batch(96, 40)
    batch = swapped(batch, teacher_logits=batch.logits.clone())
    for method in ("autograd", "closed-form"):
        assert qt.invert(name, batch.select(slice(0, 48)), method=method).g.abs().max() < 1e-13


def test_teacher_that_is_the_uniform_is_label_smoothing():
    batch = qt.probe_batch(96, 40)
    batch = swapped(batch, teacher_logits=torch.zeros_like(batch.logits))
    smoothed = qt.invert("label-smoothing(label_smoothing=0.3)", batch, method="torch.func")
    distilled = qt.invert("kd-hybrid(kd_weight=0.3)", batch, method="torch.func")
    assert (smoothed.q - distilled.q).abs().max() < 1e-14


def test_eaft_on_two_tokens_is_binary_entropy():
    batch = qt.TokenBatch(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    p = batch.logits.softmax(-1)[0]
    entropy = -(p * p.log()).sum() / torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert torch.allclose(qt.decompose(qt.invert("eaft", batch)).gamma, entropy)
