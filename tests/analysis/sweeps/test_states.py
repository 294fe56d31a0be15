"""Made-up states: what was asked for is what they are."""

import math

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.sweeps import LABEL_TOKEN, OTHER_TOKEN, sweep_states, teacher_token
from qtarget_inspect.analysis.sweeps.geometric import geometric_log_probs, geometric_rate

P_Y = [1e-9, 1e-3, 0.3, 0.999, 1 - 1e-9]


def others_of(logits):
    return logits[:, 1:].softmax(-1)


def entropy_of(p):
    return torch.special.entr(p).sum(-1)


@pytest.mark.parametrize("vocabulary", [3, 32, 1000])
def test_the_others_have_the_entropy_that_was_asked_for(vocabulary):
    asked = torch.linspace(0, math.log(vocabulary - 1), 301, dtype=torch.float64)[:-1]
    asked = torch.cat([asked, torch.tensor([1e-200, 1e-9, math.log(vocabulary - 1)], dtype=torch.float64)])
    batch = sweep_states(torch.full_like(asked, 1e-9), others_entropy=asked, vocabulary=vocabulary)
    assert (entropy_of(others_of(batch.logits)) - asked).abs().max() < 1e-12


def test_the_ends_are_exact():
    one, flat = sweep_states([0.5, 0.5], others_entropy=[0.0, math.log(31)]).logits.softmax(-1)
    assert one[:3].tolist() == [0.5, 0.5, 0.0]
    assert torch.allclose(flat[1:], torch.full((31,), 0.5 / 31, dtype=torch.float64), rtol=1e-14)
    assert geometric_log_probs(geometric_rate(torch.tensor([math.log(4)]).double(), 4), 4).unique().numel() == 1


def test_every_model_has_the_probability_of_the_label_that_was_asked_for():
    batch = sweep_states(P_Y, teacher_p_y=0.7, reference_p_y=P_Y[::-1], old_p_y=0.01)
    for logits, asked in (
        (batch.logits, P_Y),
        (batch.teacher_logits, [0.7] * 5),
        (batch.reference_logits, P_Y[::-1]),
        (batch.old_logits, [0.01] * 5),
    ):
        found = logits.softmax(-1)[:, LABEL_TOKEN]
        assert torch.allclose(found, torch.tensor(asked, dtype=torch.float64), rtol=1e-12, atol=0)


def test_reference_and_old_policy_lie_behind_by_default():
    batch = sweep_states([0.01, 0.5, 0.99])
    log_odds = {
        name: torch.logit(getattr(batch, name).softmax(-1)[:, LABEL_TOKEN])
        for name in ("logits", "reference_logits", "old_logits")
    }
    assert (log_odds["logits"] - log_odds["reference_logits"] - 1).abs().max() < 1e-12
    assert (log_odds["logits"] - log_odds["old_logits"] - 0.2).abs().max() < 1e-12


@pytest.mark.parametrize("vocabulary", [3, 4, 32])
def test_model_and_teacher_have_favourites_of_their_own(vocabulary):
    batch = sweep_states(0.3, others_entropy=0.6, vocabulary=vocabulary)
    assert 1 + others_of(batch.logits).argmax(-1).item() == OTHER_TOKEN
    assert 1 + others_of(batch.teacher_logits).argmax(-1).item() == teacher_token(vocabulary) != OTHER_TOKEN
    same = others_of(batch.teacher_logits).sort().values - others_of(batch.logits).sort().values
    assert same.abs().max() < 1e-15, "the same probabilities in another order"


def test_the_models_can_be_told_apart_by_a_fit():
    batch = sweep_states([0.05, 0.3, 0.9])
    target = qt.invert("label-smoothing", batch)
    fitted = qt.decompose(target, attractors=["label", "uniform", "reference", "teacher", "old_policy"])
    assert not fitted.flags
    assert (fitted.gamma - 0.9).abs().max() < 1e-9


def test_every_token_is_a_sequence_of_its_own():
    batch = sweep_states([0.1, 0.2, 0.3])
    assert batch.sequence_ids.unique().numel() == 3
    assert batch.labels.tolist() == [LABEL_TOKEN] * 3
    assert batch.advantages.tolist() == batch.weights.tolist() == [1.0] * 3
    assert batch.critical.all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"p_y": 0.0}, r"p_y must lie in \(0, 1\), not be 0"),
        ({"p_y": float("nan")}, "p_y must lie"),
        ({"p_y": 0.3, "others_entropy": 4}, r"others_entropy must lie in \[0, ln\(32 - 1\) = 3.434\] nats, not be 4"),
        ({"p_y": 0.3, "vocabulary": 2}, "vocabulary must be an integer of at least 3"),
        ({"p_y": [0.1, 0.2], "teacher_p_y": [0.1] * 3}, r"p_y \[2\], teacher_p_y \[3\]"),
        ({"p_y": []}, "makes no token"),
        ({"p_y": "high"}, "p_y must be a number"),
    ],
)
def test_what_cannot_be_is_refused(numbers, message):
    with pytest.raises(qt.BatchError, match=message):
        sweep_states(**numbers)
