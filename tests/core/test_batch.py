"""TokenBatch: what goes in comes out where it belongs."""

import numpy as np
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


def test_an_integer_picks_one_row(batch):
    for index in (3, -9, np.int64(3), torch.tensor(3)):
        part = batch.select(index)
        assert part.logits.shape == (1, 9)
        assert torch.equal(part.logits[0], batch.logits[3])
        assert part.tokens == ("t3",)
    assert batch.select(slice(0, 0)).logits.shape == (0, 9)


def test_given_places_are_kept(batch):
    positions = torch.stack([torch.arange(12) // 4, torch.arange(12) % 4], 1).int()
    placed = batch.with_logits(batch.logits, positions=positions, grid=[3, 4])
    assert placed.grid == (3, 4)
    assert torch.equal(placed.to_grid(placed.advantages), placed.advantages.view(3, 4))


def test_a_batch_shares_memory_with_what_it_was_made_from():
    logits = torch.zeros(2, 4)
    batch = qt.TokenBatch(logits, torch.tensor([0, 1]))
    target = qt.invert("sft", batch)
    logits[0, 0] = 5.0
    assert target.p[0, 0] > 0.9
    assert "in place" in qt.TokenBatch.__doc__


LOGITS, LABELS = torch.zeros(8, 5), torch.arange(8) % 5
PLACED = qt.TokenBatch.from_causal_lm(torch.zeros(2, 4, 5), torch.ones(2, 4, dtype=torch.int64))


def of(**context):
    return qt.TokenBatch(LOGITS, LABELS, **context)


def causal_of(**context):
    return qt.TokenBatch.from_causal_lm(torch.zeros(2, 4, 5), torch.ones(2, 4, dtype=torch.int64), **context)


BAD = {
    "tokens: a number": (lambda: of(tokens=3), r"tokens must be 8 texts, one a label, not int \(3\).*decode"),
    "tokens: one text": (lambda: of(tokens="abcdefgh"), r"tokens must be 8 texts.*not str"),
    "tokens: ids": (lambda: of(tokens=LABELS), r"tokens must be 8 texts.*not Tensor \(of shape \[8\]\).*decode"),
    "positions: shape": (
        lambda: of(positions=torch.zeros(3, 2)),
        r"positions must have shape \[8, 2\].*logits \[8, 5\].*have \[3, 2\].*from_causal_lm",
    ),
    "positions: type": (lambda: of(positions=torch.zeros(8, 2)), r"positions must be integers.*float32.*long\(\)"),
    "positions: list": (lambda: of(positions=[[0, 1]] * 8), r"positions must be a torch.Tensor.*\[N, 2\].*not list"),
    "positions: outside": (
        lambda: of(positions=torch.full((8, 2), 4), grid=(2, 5)),
        r"positions lie outside the grid \(2, 5\) at tokens 0, 1",
    ),
    "grid": (lambda: of(grid=3), r"grid must be \(B, T\), two positive integers, not 3"),
    "labels: numpy": (
        lambda: qt.TokenBatch(LOGITS, LABELS.numpy()),
        r"labels must be a torch.Tensor of shape \[N\], not ndarray. Pass torch tensors, e.g. torch.as_tensor\(labels",
    ),
    "logits: numpy": (lambda: qt.TokenBatch(LOGITS.numpy(), LABELS), r"not ndarray.*torch.as_tensor\(logits\)"),
    "teacher_logits: list": (lambda: of(teacher_logits=LOGITS.tolist()), r"teacher_logits must.*as_tensor\(teacher"),
    "weights: list": (lambda: of(weights=[1.0] * 8), r"weights must be a torch.Tensor.*list.*as_tensor\(weights\)"),
    "weights: number": (lambda: of(weights=1.0), r"weights must be a torch.Tensor.*float.*torch.tensor\("),
    "weights: complex": (lambda: of(weights=torch.ones(8) * 1j), r"weights must be real"),
    "critical: counts": (lambda: of(critical=LABELS), r"critical must be a mask"),
    "sequence_ids: numpy": (
        lambda: of(sequence_ids=LABELS.numpy()),
        r"sequence_ids must be a torch.Tensor.*ndarray.*torch.as_tensor\(sequence_ids\)",
    ),
    "to: integers": (lambda: of().to(torch.int64), r"to: logits must stay floating point.*int64.*torch.float64"),
    "to: bool": (lambda: of().to(torch.bool), r"to: logits must stay floating point.*bool"),
    "to: no device": (lambda: of().to("gpu"), r"to: 'gpu' is no device.*cuda"),
    "to: a number": (lambda: of().to(3), r"to takes a floating dtype or a device.*not 3"),
    "select: too far": (lambda: of().select(8), r"select: row 8 does not exist; the batch has rows 0 to 7"),
    "select: too far back": (lambda: of().select(-9), r"select: row -9 does not exist"),
    "select: rows": (lambda: of().select(torch.tensor([0, 9])), r"select: row 9 does not exist.*0 to 7"),
    "select: mask": (lambda: of().select(torch.ones(3).bool()), r"a mask must have shape \[8\].*not \[3\]"),
    "select: two axes": (lambda: of().select(torch.zeros(2, 2).long()), r"integers of shape \[n\].*\[2, 2\]"),
    "select: floats": (lambda: of().select(torch.zeros(2)), r"integers of shape \[n\], not float32.*index.long\(\)"),
    "select: list": (lambda: of().select([0, 2]), r"select takes an integer.*not list \(\[0, 2\]\).*torch.tensor"),
    "select: truth": (lambda: of().select(True), r"select takes an integer.*not bool"),
    "select: backwards": (lambda: of().select(slice(None, None, -1)), r"positive step, not -1.*flip"),
    "to_grid: length": (
        lambda: PLACED.to_grid(torch.zeros(5)),
        r"to_grid: values must have shape \[6, ...\].*\[5\]",
    ),
    "to_grid: a number": (lambda: PLACED.to_grid(torch.tensor(1.0)), r"to_grid: values must have shape \[6, ...\]"),
    "to_grid: list": (lambda: PLACED.to_grid([0.0] * 6), r"values must be a torch.Tensor"),
    "to_grid: NaN among integers": (lambda: PLACED.to_grid(PLACED.labels), r"int64 cannot hold fill = nan.*fill=-100"),
    "to_grid: NaN among truths": (lambda: PLACED.to_grid(PLACED.labels > 0), r"bool cannot hold fill = nan"),
    "concatenate: tensors": (lambda: qt.TokenBatch.concatenate([LOGITS]), r"takes a list of TokenBatch, not Tensor"),
    "concatenate: one batch": (lambda: qt.TokenBatch.concatenate(3), r"takes a list of TokenBatch, not int"),
    "causal: no positions": (
        lambda: qt.TokenBatch.from_causal_lm(torch.zeros(2, 0, 5), torch.zeros(2, 0).long()),
        r"shape \[2, 0, 5\]: there is no token",
    ),
    "causal: flat tokens": (lambda: causal_of(tokens=["ab", "cd"]), r"tokens must be 2 lists of 4 texts.*\[2, 4\]"),
    "causal: tokens a number": (lambda: causal_of(tokens=3), r"tokens must be 2 lists of 4 texts"),
    "causal: short tokens": (lambda: causal_of(tokens=[["a"]] * 2), r"tokens must be 2 lists of 4 texts"),
    "causal: numpy": (
        lambda: causal_of(weights=torch.ones(2).numpy()),
        r"weights must be a torch.Tensor of shape \[B, T\] or \[B\], not ndarray",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_batch_refuses(case):
    make, message = BAD[case]
    with pytest.raises(qt.BatchError, match=message):
        make()
