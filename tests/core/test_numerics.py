"""Log-space numerics against exact values."""

import math

import pytest
import torch

from qtarget_inspect.core import numerics
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.state import State, sequence_mean

INF = float("inf")


@pytest.mark.parametrize("gap", [20.0, 40.0, 300.0])
def test_one_minus_p_keeps_its_digits_where_p_rounds_to_one(gap):
    state = State(TokenBatch(torch.tensor([[gap, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])))
    expected = 2 * math.exp(-gap) / (1 + 2 * math.exp(-gap))
    assert float(state.one_minus_p_label) == pytest.approx(expected, rel=1e-12)
    if gap >= 40:
        assert float(1 - state.p_label) == 0.0  # what the plain difference would give


def test_expectation_takes_zero_times_infinity_as_zero_in_value_and_gradient():
    b = torch.tensor([0.5, 0.5, 0.0])
    values = torch.tensor([1.0, 3.0, -INF], requires_grad=True)
    total = numerics.expectation(b, values)
    total.backward()
    assert total.item() == 2.0
    assert values.grad.tolist() == [0.5, 0.5, 0.0]


def test_entropies_with_impossible_tokens():
    log_p = torch.tensor([[0.0, 0.0, -INF, -INF]]).log_softmax(-1)
    assert float(numerics.entropy(log_p)) == pytest.approx(math.log(2))
    assert float(numerics.top_k_entropy(log_p, 3)) == pytest.approx(math.log(2))
    assert float(numerics.top_k_entropy(torch.tensor([[3.0, 3.0, 3.0, -9.0]]), 3)) == pytest.approx(math.log(3))
    assert float(numerics.top_k_entropy(torch.zeros(1, 4), 99)) == pytest.approx(math.log(4))


def test_sequence_mean_takes_any_ids():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert sequence_mean(values, torch.tensor([9, -4, 9, 9])).tolist() == pytest.approx([8 / 3, 2.0, 8 / 3, 8 / 3])


def test_state_in_chunks_is_state_at_once(monkeypatch):
    import qtarget_inspect as qt
    from qtarget_inspect.core import chunks

    batch = qt.probe_batch(50, 33)
    whole = State(batch)
    expected = [
        whole.one_minus_p_label,
        whole.entropy,
        whole.top_k_entropy(7),
        whole.log_prob_of_label("teacher_logits"),
    ]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 33 * 8 * 7)
    parts = State(batch)
    found = [parts.one_minus_p_label, parts.entropy, parts.top_k_entropy(7), parts.log_prob_of_label("teacher_logits")]
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
