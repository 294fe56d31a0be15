"""Comparison: means, intervals, undefined numbers."""

import math
import warnings

import numpy as np
import pandas as pd
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


def half_squared(logits, labels):
    """No pull explains it: its gradient is in the logits."""
    return qt.losses.sft(logits, labels) + 0.5 * logits.square().sum(-1)


@pytest.mark.parametrize("loss", ["logit-norm", "squared-logits", "unlikelihood-tokens", half_squared])
def test_gamma_of_a_fit_that_explains_nothing_is_no_number(batch, loss):
    states = batch.with_logits(batch.logits, sequence_ids=torch.arange(len(batch)) // 4)
    table = qt.compare(["dft", loss], states, resamples=20, baseline="dft")
    known, unknown = table.iloc[0], table.iloc[1]
    assert known["gamma_defined"] == 1
    assert unknown["unexplained"] > 1e-2
    assert unknown["gauge"] == "unit"
    assert unknown["gamma_defined"] == unknown["residual_defined"] == 0
    parts = [f"{name}{end}" for name in ("gamma", "residual_entropy") for end in ("", "_low", "_high", "_diff")]
    assert table.loc[1, [*parts, "gamma_q05", "gamma_median", "gamma_q95"]].isna().all()
    target = qt.invert(loss, states)
    assert unknown["total_variation"] == pytest.approx(float(0.5 * target.g.abs().sum(-1).mean()))
    assert unknown["negative_mass"] == pytest.approx(float((-target.q).clamp(min=0).sum(-1).mean()))


def test_without_pulls_the_normalized_gauge_has_no_numbers_at_all(batch):
    row = qt.compare(["logit-norm"], batch, resamples=20, gauge="normalized").iloc[0]
    assert row[["gamma", "total_variation", "kl_to_model", "residual_entropy", "negative_mass"]].isna().all()
    assert row["gamma_defined"] == row["kl_defined"] == 0


def test_a_gauge_that_rests_on_a_poor_fit_is_not_taken(batch):
    """Pulls to the label and the uniform, S = 1.5, and beside them a little that no direction explains."""

    def mostly_pulls(logits, labels):
        log_p = logits.log_softmax(-1)
        pulls = -log_p.gather(-1, labels[:, None]).squeeze(-1) - 0.5 * log_p.mean(-1)
        return 1e-4 * (pulls + 1e-2 * logits.cos().mean(-1) * 40)

    target = qt.invert(mostly_pulls, batch)
    fitted = qt.decompose(target, gauge="natural")
    assert fitted.gauge == "normalized"
    row = qt.compare([mostly_pulls], batch, resamples=20).iloc[0]
    assert row["gauge"] == "unit"
    assert math.isnan(row["gamma"])
    assert row["total_variation"] == pytest.approx(float(0.5 * target.g.abs().sum(-1).mean()))


def test_a_fit_that_explains_its_loss_keeps_its_gamma(batch):
    def smoothed(logits, labels):
        return qt.losses.label_smoothing(logits, labels, label_smoothing=0.2)

    row = qt.compare([smoothed], batch, resamples=20).iloc[0]
    assert row["gamma"] == pytest.approx(0.8)
    assert row["gamma_defined"] > 0.8  # on some probes the reference is the model: there the fit is not unique


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


def in_sequences(values, sequences, **context):
    """A batch whose tokens have the given p_y, V = 3, and belong to the given sequences."""
    p = torch.tensor(values, dtype=torch.float64)
    logits = torch.stack([(p / (1 - p)).log(), torch.full_like(p, math.log(0.3)), torch.full_like(p, math.log(0.7))], 1)
    labels = torch.zeros(len(p), dtype=torch.int64)
    return qt.TokenBatch(logits, labels, sequence_ids=torch.tensor(sequences), **context)


def pushed_by(advantages, values=(0.2, 0.4, 0.6, 0.8, 0.3, 0.7), sequences=(0, 0, 1, 1, 2, 2)):
    """In the normalized gauge a token whose total pull is 0 has neither Q nor gamma."""
    return in_sequences(values, sequences, advantages=torch.tensor(advantages, dtype=torch.float64))


def advantage_weighted(logits, labels, advantages):
    """-A log p_y: the pull to the label is A."""
    return advantages * qt.losses.sft(logits, labels)


def test_units_without_a_defined_value_do_not_lose_the_interval():
    """An empty resample would be 0/0: only the units that hold a value are resampled."""
    values = [0.2, 0.9, 0.4, 0.8, 0.6, 0.7]
    batch = in_sequences(values, [0, 1, 2, 3, 4, 5], advantages=torch.tensor([1.0, 1.0, 0, 0, 0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = qt.compare([advantage_weighted], batch, gauge="normalized", resamples=200).iloc[0]
    assert row["units"] == 6
    assert row["gamma_defined"] == pytest.approx(2 / 6)
    assert row["total_variation"] == pytest.approx(0.45)  # 1 - p_y of the first two
    assert (row["total_variation_low"], row["total_variation_high"]) == (pytest.approx(0.1), pytest.approx(0.8))


def test_one_defined_unit_has_no_interval():
    row = qt.compare([advantage_weighted], pushed_by([1, 1, 0, 0, 0, 0]), gauge="normalized").iloc[0]
    assert row["gamma"] == 1
    assert row["total_variation"] == pytest.approx(0.7)
    for name in ("gamma", "total_variation", "kl_to_model", "negative_mass"):
        assert math.isnan(row[f"{name}_low"])
        assert math.isnan(row[f"{name}_high"])
    lone = qt.compare(["dft"], in_sequences([0.4], [0])).iloc[0]
    assert (lone["units"], lone["gamma"]) == (1, pytest.approx(0.4))
    assert math.isnan(lone["gamma_low"])


def test_equal_values_in_two_units_may_have_a_narrow_interval():
    row = qt.compare([advantage_weighted], pushed_by([1, 1, 1, 1, 0, 0]), gauge="normalized").iloc[0]
    assert row["gamma"] == row["gamma_low"] == row["gamma_high"] == 1
    assert row["units"] == 3


def test_a_gauge_that_is_defined_nowhere_leaves_nothing_to_say():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = qt.compare([advantage_weighted], pushed_by([-1] * 6), gauge="normalized").iloc[0]
    assert row["gamma_defined"] == row["kl_defined"] == row["residual_defined"] == 0
    for name in ("signed", "gamma", "gamma_median", "total_variation", "kl_to_model", "negative_mass", "mass_error"):
        assert math.isnan(row[name]), name


def test_signed_is_a_share_of_the_defined_tokens():
    batch = pushed_by([-1, -1, -1, 2, 2, 2])
    assert qt.compare([advantage_weighted], batch).iloc[0]["gauge"] == "unit"
    unit, normalized = (qt.compare([advantage_weighted], batch, gauge=g).iloc[0] for g in ("unit", "normalized"))
    assert unit["signed"] == pytest.approx(5 / 6)  # Q_y = 2 p_y - 1 at A = -1, Q_k = -p_k at A = 2
    assert normalized["gamma_defined"] == 0.5
    assert normalized["signed"] == 0


def test_differences_are_paired():
    """Losses that differ a little on every token differ surely, though each mean is uncertain."""
    batch = in_sequences(np.linspace(0.05, 0.95, 40).tolist(), list(range(40)))

    def nearly_dft(logits, labels):
        return 1.01 * qt.losses.dft(logits, labels)

    plain = qt.compare(["dft", nearly_dft], batch)
    assert not any("diff" in name or name == "baseline" for name in plain.columns)
    table = qt.compare([nearly_dft, "dft"], batch, baseline="dft")
    mine, dft = table.iloc[0], table.iloc[1]
    assert table["baseline"].tolist() == ["dft", "dft"]
    assert mine["gamma_low"] < dft["gamma"] < mine["gamma_high"]
    assert mine["gamma_diff"] == pytest.approx(mine["gamma"] - dft["gamma"])
    assert 0 < mine["gamma_diff_low"] < mine["gamma_diff"] < mine["gamma_diff_high"]
    assert mine["gamma_diff_high"] - mine["gamma_diff_low"] < 0.1 * (mine["gamma_high"] - mine["gamma_low"])
    assert dft["total_variation_diff"] == dft["total_variation_diff_high"] == 0
    assert qt.compare([nearly_dft, "dft"], batch, baseline=nearly_dft)["baseline"][1] == "nearly_dft"
    pd.testing.assert_frame_equal(table[plain.columns], plain.iloc[::-1].reset_index(drop=True))


def test_differences_are_over_tokens_where_both_are_defined():
    batch = pushed_by([1, 1, 1, 1, 0, 0], values=(0.2, 0.4, 0.6, 0.8, 0.1, 0.1))
    row = qt.compare(["sft", advantage_weighted], batch, gauge="normalized", baseline="sft").iloc[1]
    assert row["total_variation"] != pytest.approx(qt.compare(["sft"], batch)["total_variation"][0])
    assert row["total_variation_diff"] == pytest.approx(0, abs=1e-12)
    assert math.isnan(row["residual_entropy_diff"])


def test_entropy_is_that_of_a_distribution():
    """A residual of another mass, or with negative entries, has none."""

    def loses_mass(logits, labels):  # g = 0.5 (p - y) + 0.1 p
        return 0.5 * qt.losses.sft(logits, labels) + 0.1 * logits.logsumexp(-1)

    def signed(logits, labels):  # the residual is p - 3 (1/V - p)
        return 0.1 * qt.losses.sft(logits, labels) + 2.7 * logits.log_softmax(-1).mean(-1)

    batch = in_sequences([0.2, 0.4, 0.6, 0.8], [0, 1, 2, 3])
    table = qt.compare([loses_mass, signed, "dft"], batch, gauge="unit")
    assert table["mass_error"][0] == pytest.approx(0.1)
    assert table["residual_defined"].tolist() == [0, 0, 1]
    assert math.isnan(table["residual_entropy"][0])


def test_entropy_lost_to_rounding_is_not_reported():
    """Where gamma -> 1 a residual in float32 is nothing but rounding."""
    batch = in_sequences([0.5, 0.9, 1 - 1e-6], [0, 1, 2])
    single, double = (qt.compare(["dft"], batch.to(dtype)).iloc[0] for dtype in (torch.float32, torch.float64))
    assert double["residual_defined"] == 1
    assert single["residual_defined"] == pytest.approx(2 / 3)
    p = batch.logits.softmax(-1)
    assert double["residual_entropy"] == pytest.approx(float(-(p * p.log()).sum(-1).mean()))


def test_infinite_divergence_is_infinite_and_not_undefined():
    """Label smoothing gives mass to a token that the model rules out."""
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[1, 3] = -math.inf
    batch = qt.TokenBatch(logits, torch.zeros(4, dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = qt.compare(["label-smoothing", "sft"], batch, baseline="sft")
        paired = qt.compare(["label-smoothing"] * 2, batch, baseline="label-smoothing").iloc[1]
    row = table.iloc[0]
    assert row["kl_to_model"] == math.inf
    assert math.isnan(row["kl_to_model_high"])  # an interval around infinity says nothing
    assert row["kl_defined"] == 1
    assert row["kl_to_model_diff"] == math.inf
    assert paired["kl_to_model_diff"] == 0  # over the other three tokens: inf - inf is undefined


def anchored(logits, labels, reference_logits):
    """ASFT without its name: its pulls are not unique where the reference is the model."""
    return qt.losses.asft(logits, labels, reference_logits, kl_weight=0.5)


def test_tokens_whose_pulls_are_not_unique_are_left_out(batch):
    reading = qt.decompose(qt.invert(anchored, batch), gauge="normalized")
    dependent = next(mask for flag, mask in reading.flags.items() if "not independent" in flag)
    share = 1 - float(dependent.double().mean())
    assert 0 < share < 1
    mine = qt.compare([anchored], batch, gauge="normalized", resamples=20).iloc[0]
    assert mine["gamma_defined"] == pytest.approx(share)
    assert mine["residual_defined"] <= share
    assert mine["kl_defined"] <= share
    known = qt.decompose(qt.invert("asft(kl_weight=0.5)", batch), gauge="normalized")
    gamma = known.gamma[~dependent].mean()
    spread = 0.5 * (known.q - known.target.p).abs().sum(-1)[~dependent].mean()
    assert mine["gamma"] == pytest.approx(float(gamma), abs=1e-4)
    assert mine["total_variation"] == pytest.approx(float(spread), abs=1e-4)
    unit = qt.compare([anchored], batch, gauge="unit", resamples=20).iloc[0]
    assert unit["gamma_defined"] == pytest.approx(share)
    assert unit["kl_defined"] + unit["signed"] == pytest.approx(1)  # in the unit gauge Q is known everywhere


def test_where_no_pulls_are_unique_the_smallest_stand(batch):
    twin = batch.with_logits(batch.logits, reference_logits=batch.logits, teacher_logits=batch.logits)
    row = qt.compare([anchored], twin, resamples=20).iloc[0]
    assert row["gamma_defined"] == 1


def test_a_loss_that_casts_inside_is_judged_by_its_own_rounding(batch):
    def casts(logits, labels):
        return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")

    row = qt.compare([casts], batch, resamples=20).iloc[0]
    assert (row["signed"], row["kl_defined"]) == (0, 1)


BAD = {
    "an empty list": ({"losses": []}, "losses is empty.*'sft', 'dft'"),
    "one loss": ({"losses": anchored}, "takes a list of losses, not function"),
    "a set": ({"losses": {"sft"}}, "takes a list of losses, not set"),
    "no resamples": ({"resamples": 0}, "resamples must be an integer of at least 1, not 0"),
    "half a resample": ({"resamples": 1.5}, "resamples must be an integer"),
    "certainty": ({"confidence": 1.0}, "confidence must lie between 0 and 1, not be 1.0"),
    "per cent": ({"confidence": 95}, "confidence must lie between 0 and 1"),
    "a word for a level": ({"confidence": "high"}, "confidence must lie"),
    "a seed that is none": ({"seed": 0.5}, "seed must be a non-negative integer, not 0.5"),
    "a negative seed": ({"seed": -1}, "seed must be a non-negative integer"),
    "no batch": ({"batch": 3}, "batch must be a TokenBatch, not int"),
    "a baseline elsewhere": ({"baseline": "gem"}, r"baseline must be one of.*\(sft, anchored\), not 'gem'"),
    "a loss that is none": ({"losses": ["sft", 3]}, "a loss is a callable, a registered name"),
    "a name that is none": ({"losses": ["sft", "sfd"]}, "sfd"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(batch, case):
    given, message = BAD[case]
    arguments = {"losses": ["sft", anchored], "batch": batch, **given}
    with pytest.raises(qt.QTargetError, match=message):
        qt.compare(arguments.pop("losses"), arguments.pop("batch"), **arguments)
