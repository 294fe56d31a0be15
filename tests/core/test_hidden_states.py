"""HiddenStates: the logits that chunks hold, and what is refused."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.chunks import CHUNK_BYTES

HIDDEN, HEAD, LABELS = torch.randn(10, 4), torch.randn(6, 4), torch.arange(10) % 6


def test_chunks_hold_the_logits_of_the_head():
    ids = torch.arange(10) // 3
    texts = [f"t{i}" for i in range(10)]
    states = qt.HiddenStates(HIDDEN, HEAD, LABELS, teacher_logits=(2 * HIDDEN, HEAD), sequence_ids=ids, tokens=texts)
    chunks = list(states.chunks(4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    assert torch.allclose(torch.cat([chunk.logits for chunk in chunks]), HIDDEN @ HEAD.T)
    assert torch.allclose(torch.cat([chunk.teacher_logits for chunk in chunks]), 2 * HIDDEN @ HEAD.T)
    assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), LABELS)
    assert torch.equal(torch.cat([chunk.sequence_ids for chunk in chunks]), ids)
    assert [text for chunk in chunks for text in chunk.tokens] == texts
    assert chunks[0].reference_logits is None


def test_a_callable_head_runs_without_gradients():
    layer = torch.nn.Linear(4, 6)

    def capped(hidden):
        return 3 * torch.tanh(layer(hidden) / 3)

    states = qt.HiddenStates(HIDDEN, capped, LABELS)
    (batch,) = states.chunks()
    assert states.vocabulary == 6
    assert not batch.logits.requires_grad
    assert torch.allclose(batch.logits, capped(HIDDEN).detach())
    assert repr(qt.HiddenStates(HIDDEN, layer, LABELS)) == "HiddenStates(N=10, d=4, V=6, float32)"


def test_half_precision_logits_are_float32():
    (batch,) = qt.HiddenStates(HIDDEN.bfloat16(), HEAD.bfloat16(), LABELS).chunks()
    assert batch.logits.dtype == torch.float32


def test_no_chunk_is_larger_than_its_budget():
    states = qt.HiddenStates(torch.zeros(500, 2), torch.zeros(50_000, 2), torch.zeros(500, dtype=torch.long))
    assert states.default_rows == CHUNK_BYTES // (4 * 50_000)
    assert len(next(iter(states.chunks()))) == states.default_rows


BAD = {
    "a list": ({"hidden": [1.0]}, "hidden must be a torch.Tensor"),
    "a causal batch": ({"hidden": torch.zeros(2, 5, 4)}, r"hidden must be floating point of shape \[N, d\].*flatten"),
    "integers": ({"hidden": LABELS[:, None]}, "hidden must be floating point"),
    "NaN": ({"hidden": HIDDEN.clone().index_fill_(0, torch.tensor(3), torch.nan)}, "hidden is not finite at token 3"),
    "a turned weight": ({"lm_head": HEAD.T}, r"lm_head must be a weight \[V, d\].*Pass lm_head.T"),
    "another size": ({"lm_head": torch.zeros(6, 5)}, "with d = 4"),
    "another type": ({"lm_head": HEAD.double()}, r"hidden\.to\(lm_head\.dtype\)"),
    "no head": ({"lm_head": "lm_head"}, "lm_head must be a weight .* not str"),
    "a model": ({"lm_head": lambda hidden: (hidden,)}, "returned tuple. Pass the output layer alone"),
    "labels too large": ({"labels": LABELS + 1}, r"labels must lie in \[0, 6\)"),
    "too few labels": ({"labels": LABELS[:3]}, r"labels must have shape \[10\]"),
    "a teacher alone": ({"teacher_logits": HEAD}, "teacher_logits has 6 rows, logits have 10"),
    "a teacher of text": ({"teacher_logits": "kd"}, r"teacher_logits must be a pair \(hidden, lm_head\) or logits"),
    "a short teacher": ({"teacher_logits": (HIDDEN[:4], HEAD)}, "hidden states of 4 tokens, hidden of 10"),
    "another vocabulary": ({"teacher_logits": (HIDDEN, HEAD[:5])}, "vocabulary mismatch"),
    "another teacher's head": ({"teacher_logits": (HIDDEN, HEAD.T)}, r"teacher_logits\[1\] must be a weight"),
    "ids that are none": ({"sequence_ids": torch.rand(10)}, "sequence_ids must be integers"),
    "texts": ({"tokens": ["a"]}, "tokens must be 10 texts"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused(case):
    given, message = BAD[case]
    with pytest.raises(qt.BatchError, match=message):
        qt.HiddenStates(**{"hidden": HIDDEN, "lm_head": HEAD, "labels": LABELS, **given})


def test_rows_of_a_chunk_are_a_whole_number():
    states = qt.HiddenStates(HIDDEN, HEAD, LABELS)
    with pytest.raises(qt.BatchError, match="rows must be an integer of at least 1, not 0"):
        next(states.chunks(0))


def test_logits_are_looked_at_when_they_are_made():
    def overflows(hidden):
        return torch.where(hidden[:, :1] == HIDDEN[7, 0], torch.inf, hidden)

    states = qt.HiddenStates(HIDDEN, overflows, LABELS % 4)
    with pytest.raises(qt.BatchError, match=r"logits holds \+inf"):
        list(states.chunks(5))
