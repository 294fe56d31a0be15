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
]


@pytest.mark.parametrize(("special", "plain"), PAIRS)
def test_special_case(special, plain):
    batch = qt.probe_batch(96, 40)
    for method in ("torch.func", "closed-form"):
        one, other = (qt.invert(name, batch, method=method) for name in (special, plain))
        assert (one.q - other.q).abs().max() < 1e-14
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
    ],
)
def test_other_model_equal_to_the_model(name, role, sibling):
    batch = qt.probe_batch(96, 40)
    batch = swapped(batch, **{role: batch.logits.clone()})
    one, other = (qt.invert(variant, batch, method="torch.func") for variant in (name, sibling))
    assert (one.q - other.q).abs().max() < 1e-14


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
