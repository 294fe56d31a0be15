"""TokenBatch: what goes in comes out where it belongs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qtarget_inspect as qt

CONTEXT = ("reference_logits", "teacher_logits", "old_logits", "advantages", "weights", "critical", "sequence_ids")


@pytest.fixture
def batch():
    probes = qt.probe_batch(12, 9)
    return probes.with_logits(probes.logits, tokens=[f"t{i}" for i in range(12)])


def causal(shift=True, **context):
    logits = torch.arange(2 * 4 * 5, dtype=torch.float32).view(2, 4, 5)
    labels = torch.tensor([[1, -100, 2, 3], [4, 0, -100, 1]])
    return logits, labels, qt.TokenBatch.from_causal_lm(logits, labels, shift=shift, **context)


def test_shifted_logits_stand_one_before_their_labels():
    logits, _, batch = causal()
    assert batch.labels.tolist() == [2, 3, 0, 1]
    assert batch.positions.tolist() == [[0, 2], [0, 3], [1, 1], [1, 3]]
    assert torch.equal(batch.logits, torch.stack([logits[0, 1], logits[0, 2], logits[1, 0], logits[1, 2]]))
    assert batch.sequence_ids.tolist() == [0, 0, 1, 1]
    assert batch.grid == (2, 4)


def test_unshifted_logits_stand_at_their_labels():
    logits, _, batch = causal(shift=False)
    assert batch.labels.tolist() == [1, 2, 3, 4, 0, 1]
    assert torch.equal(batch.logits[0], logits[0, 0])
    assert torch.equal(batch.logits[-1], logits[1, 3])


def test_another_ignore_index():
    logits = torch.zeros(1, 3, 5)
    batch = qt.TokenBatch.from_causal_lm(logits, torch.tensor([[1, 0, 2]]), ignore_index=0)
    assert batch.labels.tolist() == [2]


def test_context_comes_in_its_three_shapes():
    teacher = torch.randn(2, 4, 5)
    values = torch.arange(8.0).view(2, 4)
    _, _, batch = causal(
        teacher_logits=teacher,
        weights=values,
        advantages=torch.tensor([10.0, 20.0]),
        critical=values > 3,
        reference_logits=None,
        tokens=[list("abcd"), list("efgh")],
    )
    assert torch.equal(batch.teacher_logits[0], teacher[0, 1])  # as the logits, one before the label
    assert batch.weights.tolist() == [2, 3, 5, 7]  # as the label
    assert batch.advantages.tolist() == [10, 10, 20, 20]
    assert batch.critical.tolist() == [False, False, True, True]
    assert batch.tokens == ("c", "d", "f", "h")
    assert batch.reference_logits is None


def test_given_sequence_ids_win():
    _, _, batch = causal(sequence_ids=torch.tensor([7, 9]))
    assert batch.sequence_ids.tolist() == [7, 7, 9, 9]


def test_values_go_back_where_they_stood():
    _, labels, batch = causal()
    grid = batch.to_grid(batch.labels.float())
    assert torch.equal(grid.isnan(), torch.tensor([[True, True, False, False], [True, False, True, False]]))
    assert torch.equal(grid[~grid.isnan()], labels[~grid.isnan()].float())
    wide = batch.to_grid(batch.logits, fill=0.0)
    assert wide.shape == (2, 4, 5)
    assert torch.equal(wide[0, 2], batch.logits[0])


def test_a_batch_without_places_says_so(batch):
    with pytest.raises(qt.BatchError, match=r"to_grid.*from_causal_lm"):
        batch.to_grid(batch.advantages)


@pytest.mark.parametrize(
    "index", [slice(2, 5), slice(None, None, 3), torch.tensor([4, 0, 4]), torch.arange(12) % 2 == 0], ids=str
)
def test_selecting_takes_everything_along(batch, index):
    part = batch.select(index)
    rows = torch.arange(12)[index]
    assert len(part) == len(rows)
    assert torch.equal(part.logits, batch.logits[rows])
    for name in CONTEXT:
        assert torch.equal(getattr(part, name), getattr(batch, name)[rows])
    assert part.tokens == tuple(batch.tokens[row] for row in rows.tolist())


def test_selecting_keeps_positions():
    _, _, batch = causal()
    assert batch.select(slice(1, 3)).positions.tolist() == [[0, 3], [1, 1]]


def test_concatenating_keeps_sequences_apart(batch):
    parts = [batch.select(slice(0, 5)), batch.select(slice(5, 12))]
    whole = qt.TokenBatch.concatenate(parts)
    assert torch.equal(whole.logits, batch.logits)
    assert torch.equal(whole.teacher_logits, batch.teacher_logits)
    assert whole.tokens == batch.tokens
    first, second = whole.sequence_ids[:5].unique(), whole.sequence_ids[5:].unique()
    assert not set(first.tolist()) & set(second.tolist())


def test_concatenating_drops_context_that_one_lacks(batch):
    bare = qt.TokenBatch(batch.logits, batch.labels)
    joined = qt.TokenBatch.concatenate([batch, bare])
    assert joined.teacher_logits is None
    assert joined.tokens is None
    assert len(joined) == 24


def test_concatenating_refuses_what_does_not_fit(batch):
    with pytest.raises(qt.BatchError, match="no batch was given"):
        qt.TokenBatch.concatenate([])
    with pytest.raises(qt.BatchError, match=r"vocabularies differ \(9, 11\)"):
        qt.TokenBatch.concatenate([batch, qt.probe_batch(4, 11)])


def test_another_type_keeps_integers(batch):
    half = batch.to(torch.bfloat16)
    assert half.logits.dtype == half.weights.dtype == half.teacher_logits.dtype == torch.bfloat16
    assert half.labels.dtype == half.sequence_ids.dtype == torch.int64
    assert half.critical.dtype == torch.bool
    assert half.tokens == batch.tokens


def test_another_device(batch):
    moved = batch.to("cpu")
    assert torch.equal(moved.logits, batch.logits)
    assert moved.to(torch.device("cpu")).labels.device.type == "cpu"


def test_inputs_are_detached_and_not_copied():
    logits = torch.randn(3, 5, requires_grad=True)
    batch = qt.TokenBatch(logits, torch.tensor([0, 1, 2], dtype=torch.int32), weights=torch.tensor([1, 2, 3]))
    assert not batch.logits.requires_grad
    assert batch.logits.data_ptr() == logits.data_ptr()
    assert batch.labels.dtype == torch.int64
    assert batch.weights.dtype == torch.float32


def test_it_shows_what_it_holds(batch):
    assert repr(batch.select(slice(0, 2))).startswith("TokenBatch(N=2, V=9, float64, +reference_logits")
    assert list(batch.context) == list(CONTEXT)
    assert batch.vocabulary == 9


def test_it_is_frozen(batch):
    with pytest.raises(AttributeError):
        batch.logits = None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3),
    length=st.integers(1, 7),
    vocabulary=st.integers(1, 6),
    shift=st.booleans(),
    data=st.data(),
)
def test_any_causal_batch(rows, length, vocabulary, shift, data):
    """Every valid label is there once, with the logits that predict it, and goes back to its place."""
    entries = st.sampled_from([-100, *range(vocabulary)])
    labels = torch.tensor(
        data.draw(st.lists(st.lists(entries, min_size=length, max_size=length), min_size=rows, max_size=rows))
    )
    logits = torch.randn(rows, length, vocabulary)
    expected = [(b, t) for b in range(rows) for t in range(length) if labels[b, t] != -100 and (t > 0 or not shift)]
    if not expected:
        with pytest.raises(qt.BatchError, match="masked"):
            qt.TokenBatch.from_causal_lm(logits, labels, shift=shift)
        return
    batch = qt.TokenBatch.from_causal_lm(logits, labels, shift=shift)
    assert batch.positions.tolist() == [list(place) for place in expected]
    for i, (b, t) in enumerate(expected):
        assert batch.labels[i] == labels[b, t]
        assert torch.equal(batch.logits[i], logits[b, t - 1 if shift else t])
    back = batch.to_grid(batch.labels, fill=-100)
    masked = labels.clone()
    if shift:
        masked[:, 0] = -100
    assert torch.equal(back, masked)


@settings(max_examples=40, deadline=None)
@given(
    logits=st.lists(
        st.lists(st.floats(-1e4, 1e4) | st.just(float("-inf")), min_size=3, max_size=3), min_size=1, max_size=4
    ),
    data=st.data(),
)
def test_any_finite_or_impossible_logits(logits, data):
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(logits), max_size=len(logits)))
    rows = torch.tensor(logits, dtype=torch.float64)
    if torch.isneginf(rows).all(-1).any():
        with pytest.raises(qt.BatchError, match="-inf throughout"):
            qt.TokenBatch(rows, torch.tensor(labels))
        return
    batch = qt.TokenBatch(rows, torch.tensor(labels))
    target = qt.invert("sft", batch)
    assert torch.isfinite(target.q).all()
    torch.testing.assert_close(target.mass, torch.ones(len(rows), dtype=torch.float64), rtol=0, atol=1e-12)
