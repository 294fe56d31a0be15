"""identify(loss, batch): what a batch of one's own shows, what it leaves open, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import qtarget_inspect as qt

from .judging import TOLERANCE, inverted, label_prob, nll, row_error, weighted


@pytest.fixture(scope="module")
def batch() -> qt.TokenBatch:
    return qt.probe_batch(300, 50, seed=2)


def above(threshold: float):
    return weighted(lambda p: (p > threshold).to(p))


def sine(logits: Tensor, labels: Tensor) -> Tensor:
    return (1 + 0.5 * torch.sin(7 * label_prob(logits, labels))) * nll(logits, labels)


@pytest.mark.parametrize(
    "name",
    ["dft", "asft", "target-sft", "gem", "label-smoothing", "kd-hybrid", "k3"],
)
def test_laws_are_the_same_as_on_made_up_states(name, batch):
    mine, made = qt.identify(name, batch), qt.identify(name)
    assert (mine.gamma_law.text, mine.residual.text) == (made.gamma_law.text, made.residual.text)
    assert (mine.category, mine.gauge) == (made.category, made.gauge)
    other = qt.probe_batch(64, 70, seed=9)
    assert row_error(mine.predict_q(other), inverted(name, other)) < TOLERANCE
    assert any("your batch only" in warning for warning in mine.warnings)
    assert "tokens of your batch" in mine.states


@pytest.mark.parametrize("threshold", [0.1234, 0.2846, 0.5, 0.9])
def test_a_threshold_is_an_interval_between_two_tokens(threshold, batch):
    found = qt.identify(above(threshold), batch)
    low, high = found.gamma_params["threshold"]
    p = label_prob(batch.logits, batch.labels)
    assert low < threshold < high
    assert not bool(((p > low * (1 + 1e-9)) & (p < high * (1 - 1e-9))).any())
    assert any("two tokens of your batch" in warning for warning in found.warnings)
    assert "t <" in found.gamma_law.text


def test_inside_the_interval_nothing_is_predicted(batch):
    found = qt.identify(above(0.2846), batch)
    low, high = found.gamma_params["threshold"]
    p = torch.tensor([0.9 * low, 0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high, 1.1 * high], dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], dim=-1)
    gamma = found.predict_gamma(qt.TokenBatch(logits, torch.zeros(4, dtype=torch.long)))
    assert gamma[[0, 3]].tolist() == [0.0, 1.0]
    assert gamma[[1, 2]].isnan().all()


def test_both_clips_of_a_policy_gradient_are_intervals(batch):
    found = qt.identify("ppo(epsilon=0.2, epsilon_high=0.3)", batch)
    for key, clip in (("threshold at A > 0", 1.3), ("threshold at A < 0", 0.8)):
        low, high = found.gamma_params[key]
        assert low < clip < high


@pytest.mark.parametrize("tokens", [1, 4, 8, 16])
def test_too_few_tokens_bear_out_no_law(tokens):
    found = qt.identify("dft", qt.probe_batch(tokens, 50, seed=2))
    assert not found.has_law
    assert found.gamma_law.text == "unknown law"
    assert any("too few" in warning and "more tokens" in warning for warning in found.warnings)


def test_few_tokens_name_no_law_for_a_decoy():
    for tokens in (24, 48, 100, 300):
        assert not qt.identify(sine, qt.probe_batch(tokens, 50, seed=3)).has_law


def test_few_tokens_do_not_invent_lost_mass():
    for tokens in (24, 30, 36):
        found = qt.identify("asft", qt.probe_batch(tokens, 50, seed=2))
        assert "nowhere" not in found.residual.text
        assert found.category != "nothing"


def test_a_loss_bound_to_one_vocabulary_needs_a_batch(batch):
    weight = torch.linspace(0.5, 1.5, 50, dtype=torch.float64)

    def bound(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, weight=weight, reduction="none")

    with pytest.raises(qt.QTargetError, match=r"identify\(loss, batch\)"):
        qt.identify(bound)
    found = qt.identify(bound, batch)
    assert found.unknown == ("label",)
    table = found.table()
    assert table["pull label"].between(0.49, 1.51).all()


def test_a_bound_loss_with_a_law_is_named_on_a_batch(batch):
    prior = torch.linspace(0.0, 3.0, 50, dtype=torch.float64)

    def bound(logits: Tensor, labels: Tensor) -> Tensor:
        return nll(logits + 0 * prior, labels)

    assert qt.identify(bound, batch).gamma_law.text == "1"


def test_a_reference_that_is_the_model_cannot_be_seen(batch):
    same = batch.with_logits(batch.logits, reference_logits=batch.logits)
    found = qt.identify("asft", same)
    assert found.gamma_law.text == "p_y"
    assert found.residual.text == "model"
    assert row_error(found.predict_q(same), inverted("asft", same)) < TOLERANCE


def test_it_is_said_that_a_reference_is_the_model(batch):
    found = qt.identify("asft", batch.with_logits(batch.logits, reference_logits=batch.logits))
    assert any("reference" in warning for warning in found.warnings)


def test_a_teacher_that_is_the_model_teaches_nothing(batch):
    found = qt.identify("kd", batch.with_logits(batch.logits, teacher_logits=batch.logits))
    assert found.category == "nothing"
    assert found.unexplained < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["dft", "asft"])
def test_batches_of_lower_precision_are_taken(dtype, name):
    found = qt.identify(name, qt.probe_batch(300, 50, seed=2, dtype=dtype))
    assert found.gamma_law.text == qt.identify(name).gamma_law.text


def test_a_casting_loss_says_so_on_a_batch(batch):
    def casts(logits: Tensor, labels: Tensor) -> Tensor:
        return label_prob(logits.float(), labels) * nll(logits.float(), labels)

    found = qt.identify(casts, batch)
    assert found.precision == torch.float32
    assert "float32" in found.text
    assert found.gamma_law.text == "p_y"


def test_masked_entries_of_the_vocabulary_are_taken(batch):
    logits = batch.logits.clone()
    logits[:, -1] = -torch.inf
    found = qt.identify("dft", qt.TokenBatch(logits, batch.labels.clamp(max=48)))
    assert (found.gamma_law.text, found.residual.text) == ("p_y", "model")


def test_two_entries_have_twins():
    found = qt.identify("dft", qt.probe_batch(100, 2, seed=1))
    assert found.gamma_law.text == "p_y"
    assert found.twins
    assert any("as well explained" in warning for warning in found.warnings)


@pytest.mark.parametrize("loss", ["asft", lambda logits, labels, reference_logits: kl_to(reference_logits, logits)])
def test_missing_context_is_named(loss, batch):
    with pytest.raises(qt.MissingContextError, match="reference_logits"):
        qt.identify(loss, qt.TokenBatch(batch.logits, batch.labels))


def kl_to(other: Tensor, logits: Tensor) -> Tensor:
    return -(other.softmax(-1) * logits.log_softmax(-1)).sum(-1)


@pytest.mark.parametrize("loss", [None, 3, [1], object(), "nope", "dft(", "missing.py:loss"])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(qt.QTargetError):
        qt.identify(loss)


@pytest.mark.parametrize("wrong", [3, "batch", torch.zeros(3, 4), (torch.zeros(3, 4), torch.zeros(3))])
def test_what_is_no_batch_is_refused(wrong):
    with pytest.raises(qt.BatchError, match="must be a TokenBatch"):
        qt.identify("dft", wrong)


@pytest.mark.parametrize("reduction", ["median", None, [2]])
def test_an_unknown_reduction_is_refused(reduction, batch):
    with pytest.raises(qt.QTargetError, match="reduction must be"):
        qt.identify("dft", batch, reduction=reduction)


def test_a_stated_reduction_is_kept(batch):
    def averaged(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels)

    assert qt.identify(averaged, batch, reduction="mean").gamma_law.text == "1"
    taken_as_sum = qt.identify(averaged, batch, reduction="sum")
    assert taken_as_sum.gamma_params["constant"] == pytest.approx(1 / len(batch), rel=1e-9)


def test_an_unknown_context_is_named():
    with pytest.raises(qt.LossError, match="critic_logits"):
        qt.identify(lambda logits, labels, critic_logits: nll(logits, labels))
