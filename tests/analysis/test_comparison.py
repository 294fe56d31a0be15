"""Comparison: means, intervals, undefined numbers."""

import math

import numpy as np
import pytest
import torch

import qtarget_inspect as qt


@pytest.fixture(scope="module")
def batch():
    return qt.probe_batch(128, 40)


def test_numbers_follow_from_their_definitions(batch):
    row = qt.compare(["dft"], batch, resamples=50).iloc[0]
    p, p_label = batch.logits.softmax(-1), torch.exp(-qt.losses.sft(batch.logits, batch.labels))
    label = torch.nn.functional.one_hot(batch.labels, 40)
    q = p_label[:, None] * label + (1 - p_label)[:, None] * p
    assert row["gamma"] == pytest.approx(float(p_label.mean()))
    assert row["total_variation"] == pytest.approx(float(0.5 * (q - p).abs().sum(-1).mean()))
    assert row["kl_to_model"] == pytest.approx(float((q * (q.log() - p.log())).sum(-1).mean()))
    entropy = -(p * p.log()).sum(-1)
    assert row["residual_entropy"] == pytest.approx(float(entropy.mean()), rel=1e-6)
    assert row["gamma_median"] == pytest.approx(float(p_label.quantile(0.5)))


def test_what_is_undefined_says_so(batch):
    table = qt.compare(["sft", "gem", "asft"], batch, resamples=50).set_index("loss")
    assert math.isnan(table.loc["sft", "residual_entropy"])
    assert table.loc["sft", "residual_defined"] == 0
    assert 0 < table.loc["gem(beta=0.7)", "kl_defined"] < 1
    assert table.loc["gem(beta=0.7)", "signed"] + table.loc["gem(beta=0.7)", "kl_defined"] == pytest.approx(1)
    assert table.loc["asft(kl_weight=0.05)", "gauge"] == "normalized"


def test_intervals_hold_the_mean_and_are_wider_over_sequences(batch):
    p_label = torch.exp(-qt.losses.sft(batch.logits, batch.labels))
    clustered = batch.with_logits(batch.logits, sequence_ids=(p_label * 8).long())  # tokens of a sequence are alike
    tokens = qt.compare(["dft"], clustered, resample="tokens").iloc[0]
    sequences = qt.compare(["dft"], clustered, resample="sequences").iloc[0]
    for row in (tokens, sequences):
        assert row["gamma_low"] < row["gamma"] < row["gamma_high"]
    assert sequences["gamma_high"] - sequences["gamma_low"] > 1.5 * (tokens["gamma_high"] - tokens["gamma_low"])
    assert (tokens["resampled"], sequences["resampled"]) == ("tokens", "sequences")


def test_token_interval_is_the_standard_error(batch):
    row = qt.compare(["dft"], batch, resample="tokens", resamples=2000).iloc[0]
    gamma = qt.decompose(qt.invert("dft", batch)).gamma.numpy()
    half = 1.96 * gamma.std() / math.sqrt(len(gamma))
    assert np.isclose((row["gamma_high"] - row["gamma_low"]) / 2, half, rtol=0.1)
    again = qt.compare(["dft"], batch, resample="tokens", resamples=2000).iloc[0]
    assert row["gamma_low"] == again["gamma_low"]


def test_callables_and_specs_stand_side_by_side(batch):
    def mine(logits, labels):
        return qt.losses.sft(logits, labels).mean()

    table = qt.compare(["sft", mine, "asft(kl_weight=0.2)"], batch, resamples=20)
    assert table["loss"].tolist() == ["sft", "mine", "asft(kl_weight=0.2)"]
    assert table["total_variation"][0] == pytest.approx(table["total_variation"][1])
    assert "mean over 128 tokens" in table["reduction"][1]


def test_bad_input(batch):
    with pytest.raises(qt.QTargetError, match="takes a list"):
        qt.compare("sft", batch)
    with pytest.raises(qt.QTargetError, match="resample must be"):
        qt.compare(["sft"], batch, resample="words")
    with pytest.raises(qt.QTargetError, match="sequence_ids"):
        qt.compare(["sft"], qt.TokenBatch(batch.logits, batch.labels), resample="sequences")
