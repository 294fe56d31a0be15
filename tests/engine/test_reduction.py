"""Reductions are undone, never guessed at."""

import functools

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt
from qtarget_inspect.losses import iw_sft

from . import naive


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance)


def nll(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def summed_kept(logits, labels, threshold):
    loss = nll(logits, labels)
    keep = (-loss.detach()).exp() > threshold
    return (loss * keep).sum(), keep.sum()


# --- one factor for all tokens


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
@pytest.mark.parametrize(
    ("reduce", "kind", "text"),
    [
        (lambda loss: loss, "none", "one value a token"),
        (torch.sum, "sum", "sum, nothing to undo"),
        (torch.mean, "mean", "mean over 30 tokens, undone"),
    ],
)
def test_sum_and_mean(reduce, kind, text, chunk_size, plain, q_sft):
    target = qt.invert(lambda z, y: reduce(nll(z, y)), plain, chunk_size=chunk_size)
    close(target.q, q_sft)
    assert target.reduction.kind == kind
    assert text in target.reduction.text
    assert target.coupled is None


@pytest.mark.parametrize("cast", [False, True], ids=["plain", "casting to float32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_odds", [12.0, 18.0, 40.0])
def test_a_mean_where_every_label_is_all_but_certain(dtype, cast, log_odds):
    """p_y -> 1 everywhere: gradients are at rounding, yet the mean is found and undone."""
    logits = torch.randn(64, 50, dtype=torch.float64)
    labels = torch.randint(50, (64,))
    others = logits.scatter(1, labels[:, None], float("-inf")).logsumexp(1, keepdim=True)
    batch = qt.TokenBatch(logits.scatter(1, labels[:, None], others + log_odds).to(dtype), labels)
    target = qt.invert(lambda z, y: F.cross_entropy(z.float() if cast else z, y), batch, chunk_size=9)
    assert target.reduction.text == "mean over 64 tokens, undone"
    assert target.coupled is None
    close(target.q, naive.naive_target(naive.cross_entropy, batch), 1e-6)


@pytest.mark.parametrize("items", [8, 8.0, 64, torch.tensor(8)])
@pytest.mark.parametrize("give", [functools.partial, qt.adapt], ids=["partial", "adapt"])
def test_a_fixed_number_of_items_is_undone(give, items, plain, q_sft):
    def loss(logits, labels, num_items_in_batch=None):
        return nll(logits, labels).sum() / num_items_in_batch

    target = qt.invert(give(loss, num_items_in_batch=items), plain, chunk_size=7)
    close(target.q, q_sft, 1e-6)
    assert target.reduction.text == f"sum / num_items_in_batch = {float(items):g}, undone"
    assert target.reduction.divisor == float(items)


def test_a_hard_coded_number_stays_until_declared(plain, q_sft):
    def eighth(z, y):
        return nll(z, y).sum() / 8

    assert qt.invert(eighth, plain).reduction.kind == "sum"
    for chunk_size in (None, 7):
        target = qt.invert(eighth, plain, reduction=8, chunk_size=chunk_size)
        close(target.q, q_sft)
        assert target.reduction.declared
        assert target.coupled is None


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize(
    ("loss", "declared", "scale"),
    [
        (lambda z, y: nll(z, y).sum(), "sum", 1.0),
        (lambda z, y: nll(z, y).mean(), "mean", 1.0),
        (lambda z, y: nll(z, y).mean(), 30, 1.0),
        (lambda z, y: nll(z, y).mean(), "sum", 1 / 30),
        (lambda z, y: nll(z, y).sum(), "mean", 30.0),
        (lambda z, y: nll(z, y) / len(y), "mean", 1.0),
    ],
)
def test_what_is_declared_is_undone_and_chunks_do_not_matter(loss, declared, scale, chunk_size, plain, q_sft):
    target = qt.invert(loss, plain, reduction=declared, chunk_size=chunk_size)
    p = plain.logits.softmax(-1)
    close(target.q, p - scale * (p - q_sft))
    assert target.reduction.declared


@pytest.mark.parametrize("declared", ["average", 0, True, None, float("nan"), float("inf")])
def test_nonsense_is_refused(declared, plain):
    with pytest.raises(qt.ReductionError, match=r"must be 'auto', 'sum', 'mean', or the number"):
        qt.invert(nll, plain, reduction=declared)


def test_a_vector_divided_by_the_batch_is_taken_as_it_is_and_said(plain, q_sft):
    target = qt.invert(lambda z, y: nll(z, y) / len(y), plain, chunk_size=7)
    p = plain.logits.softmax(-1)
    close(target.q, p - (p - q_sft) / 30)
    assert target.coupled == "every token is scaled by a number that depends on the batch"


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean])
def test_a_single_token(reduce, plain, q_sft):
    one = plain.select(slice(4, 5))
    target = qt.invert(lambda z, y: reduce(nll(z, y)), one)
    close(target.q, q_sft[4:5])


def test_two_equal_tokens(plain, q_sft):
    twins = plain.select(torch.tensor([4, 4]))
    close(qt.invert(lambda z, y: nll(z, y).mean(), twins).q, q_sft[[4, 4]])


def test_tokens_without_a_gradient_do_not_disturb_a_mean(batch):
    def critical_only(logits, labels, critical):
        return (nll(logits, labels) * critical).mean()

    target = qt.invert(critical_only, batch, chunk_size=7)
    close(target.q, naive.naive_target(lambda z, y, critical, **_: critical * naive.cross_entropy(z, y), batch))
    assert target.reduction.text == "mean over 30 tokens, undone"


def test_no_token_with_a_gradient_is_the_model(batch):
    nothing = batch.with_logits(batch.logits, critical=torch.zeros(30, dtype=torch.bool))
    target = qt.invert(lambda logits, labels, critical: (nll(logits, labels) * critical).mean(), nothing)
    assert torch.equal(target.q, nothing.logits.softmax(-1))
    assert any("Q is the model" in note for note in target.notes)


# --- means over some


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("threshold", [1e-5, 1e-3, 0.1, 0.9, 0.9999])
def test_a_mean_over_kept_tokens(threshold, chunk_size, plain):
    def loss(z, y):
        total, kept = summed_kept(z, y, threshold)
        return total / kept

    def per_token(z, y):
        value = naive.cross_entropy(z, y)
        return value * ((-value).exp().detach() > threshold)

    target = qt.invert(loss, plain, chunk_size=chunk_size)
    close(target.q, naive.naive_target(per_token, plain))
    kept = int(summed_kept(plain.logits, plain.labels, threshold)[1])
    assert 0 < kept < 30
    assert target.reduction.text == f"mean over {kept} of 30 tokens, undone"


@pytest.mark.parametrize("dropped", [slice(28, 30), slice(29, 30), slice(0, 1)])
@pytest.mark.parametrize("threshold", [0.5, 0.999])
def test_a_mean_over_kept_tokens_where_only_one_chunk_drops_any(dropped, threshold):
    torch.manual_seed(1)
    labels = torch.randint(40, (30,))
    logits = torch.randn(30, 40, dtype=torch.float64)
    logits = logits.scatter(1, labels[:, None], 12.0)  # p_y > 0.999 ...
    logits[dropped] = torch.randn(40, dtype=torch.float64).div(9)  # ... but there
    batch = qt.TokenBatch(logits, labels)

    def loss(z, y):
        total, kept = summed_kept(z, y, threshold)
        return total / kept

    def per_token(z, y):
        value = naive.cross_entropy(z, y)
        return value * ((-value).exp().detach() > threshold)

    close(qt.invert(loss, batch, chunk_size=7).q, naive.naive_target(per_token, batch))


def test_a_mean_kept_by_something_a_narrow_vocabulary_does_not_show():
    """Which tokens are kept hangs on a token id; every chunk is looked at for it."""
    labels = torch.arange(30) % 17
    batch = qt.TokenBatch(torch.randn(30, 300, dtype=torch.float64), labels.where(torch.arange(30) < 25, 200))

    def loss(z, y):
        keep = y != 200
        return (nll(z, y) * keep).sum() / keep.sum()

    target = qt.invert(loss, batch, chunk_size=5)
    expected = naive.naive_target(naive.cross_entropy, batch)
    expected[25:] = batch.logits[25:].softmax(-1)
    close(target.q, expected)


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("outer", [torch.mean, torch.sum])
def test_a_mean_per_sample(outer, chunk_size, batch, q_sft):
    def loss(logits, labels, sequence_ids):
        values = nll(logits, labels)
        return outer(torch.stack([values[sequence_ids == i].mean() for i in sequence_ids.unique()]))

    target = qt.invert(loss, batch, chunk_size=chunk_size)
    close(target.q, q_sft)
    assert target.reduction.kind == "per-sequence mean"
    assert "length of its sequence" in target.coupled


def test_a_sum_divided_by_the_number_of_sequences(batch, q_sft):
    def loss(logits, labels, sequence_ids):
        return nll(logits, labels).sum() / len(sequence_ids.unique())

    target = qt.invert(loss, batch, chunk_size=7)
    close(target.q, q_sft)
    assert target.reduction.divisor == 6


# --- weights in the denominator


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("zeros", [False, True])
def test_given_weights_in_the_denominator(batch, chunk_size, zeros):
    if zeros:
        batch = batch.with_logits(batch.logits, weights=batch.weights * (torch.arange(30) % 3 != 0))

    def loss(logits, labels, weights):
        return (weights * nll(logits, labels)).sum() / weights.sum()

    target = qt.invert(loss, batch, chunk_size=chunk_size)
    close(target.q, naive.naive_target(naive.weighted, batch))
    assert "mean weighted by `weights`" in target.reduction.text
    assert target.coupled == "weights are normalised over the batch"


@pytest.mark.parametrize("tokens", [30, 400])
def test_own_detached_weights_in_the_denominator(tokens):
    batch = qt.TokenBatch(torch.randn(tokens, 20, dtype=torch.float64), torch.randint(20, (tokens,)))

    def loss(z, y):
        value = nll(z, y)
        weight = (-value).exp().detach()
        return (weight * value).sum() / weight.sum()

    target = qt.invert(loss, batch, chunk_size=7)
    weight = (-nll(batch.logits, batch.labels)).exp()
    expected = (weight / weight.mean())[:, None] * naive.naive_gradient(naive.cross_entropy, batch)
    close(target.g, expected)
    assert "their mean is set to 1" in target.reduction.text
    assert target.coupled == "detached weights are normalised over the batch"


def test_own_undetached_weights_in_the_denominator_are_refused(plain):
    def loss(z, y):
        value = nll(z, y)
        weight = (-value).exp()
        return (weight * value).sum() / weight.sum()

    with pytest.raises(qt.ReductionError, match=r"leaks between tokens.*Detach what couples.*reduction='sum'"):
        qt.invert(loss, plain)
    assert "leaks" in qt.invert(loss, plain, reduction="mean").coupled


def test_a_scalar_of_trajectory_weights_asks_to_be_declared(batch):
    def loss(logits, labels, reference_logits, sequence_ids):
        return iw_sft(logits, labels, reference_logits, sequence_ids).mean()

    with pytest.raises(qt.ReductionError, match=r"neither one constant factor.*reduction='mean' \(divides by 30\)"):
        qt.invert(loss, batch)
    target = qt.invert(loss, batch, reduction="mean", chunk_size=7)
    close(target.q, qt.invert("iw-sft", batch).q)
    assert "detached weight" in target.coupled
