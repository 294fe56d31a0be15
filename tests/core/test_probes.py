"""Probe states span what they promise."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.state import State


def test_p_label_runs_from_end_to_end_independently_of_the_rest(probes):
    p = State(probes).p_label
    assert abs(float(p.min()) / 1e-8 - 1) < 1e-6
    assert abs(float(State(probes).one_minus_p_label.min()) / 1e-8 - 1) < 1e-6
    log_odds = p.log() - State(probes).one_minus_p_label.log()
    steps = log_odds.sort().values.diff()
    assert torch.allclose(steps, steps[0].expand_as(steps), rtol=1e-6)
    others = probes.logits.scatter(-1, probes.labels[:, None], float("-inf")).log_softmax(-1)
    entropy = -torch.special.xlogy(others.exp(), others.exp()).sum(-1)
    assert entropy.min() < 0.1
    assert entropy.max() > 4
    assert abs(float(torch.corrcoef(torch.stack([log_odds, entropy]))[0, 1])) < 0.15


def test_other_models_are_near_and_far(probes):
    for name in ("reference_logits", "teacher_logits", "old_logits"):
        distance = (getattr(probes, name).softmax(-1) - probes.logits.softmax(-1)).abs().amax(-1)
        assert (distance < 1e-12).any()
        assert (distance > 0.5).any()
    ratio = (State(probes).log_p_label - State(probes).log_prob_of_label("old_logits")).exp()
    assert ((ratio < 0.8).sum(), (ratio > 1.28).sum()) > (10, 10)
    assert probes.advantages.min() < 0 < probes.advantages.max()
    assert 0 < probes.critical.double().mean() < 1
    assert len(probes.sequence_ids.unique()) == 64


def test_equal_seeds_give_equal_batches_and_leave_the_generator_alone():
    torch.manual_seed(1)
    first = qt.probe_batch(32, 20)
    after = torch.rand(1)
    torch.manual_seed(1)
    second = qt.probe_batch(32, 20, seed=0)
    assert torch.equal(first.teacher_logits, second.teacher_logits)
    assert torch.equal(after, torch.rand(1))
    assert not torch.equal(first.logits, qt.probe_batch(32, 20, seed=1).logits)
    assert qt.probe_batch(8, 20, dtype=torch.float32).logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "tokens must be an integer of at least 1, not 0: an empty batch"),
        ({"tokens": -3}, "tokens must be an integer of at least 1, not -3"),
        ({"tokens": 8.0}, "tokens must be an integer"),
        ({"vocabulary": 1}, "vocabulary must be an integer of at least 2, not 1: .*p_y = 1"),
        ({"sequence_length": 0}, "sequence_length must be an integer of at least 1, not 0"),
        ({"seed": "x"}, "seed must be an integer, not 'x'"),
        ({"dtype": torch.int64}, r"dtype must be a floating type.*torch.int64"),
        ({"device": "gpu"}, "'gpu' is no device"),
    ],
)
def test_sizes_that_cannot_be(arguments, message):
    with pytest.raises(qt.BatchError, match=message):
        qt.probe_batch(**{"tokens": 8, **arguments})


def test_the_smallest_batch():
    batch = qt.probe_batch(1, 2, sequence_length=1)
    assert batch.logits.shape == (1, 2)
    assert torch.isfinite(qt.invert("sft", batch).q).all()
