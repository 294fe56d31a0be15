"""Losses that hold something by row besides their arguments: right, or refused, never read off a broadcast."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt

from . import naive


def per_token(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


@pytest.fixture(params=[3, 6, 20, 300])
def batch(request):
    whole = qt.probe_batch(request.param, 11)
    return qt.TokenBatch(whole.logits, whole.labels)


def masks(tokens):
    mask = torch.ones(tokens, dtype=torch.float64)
    mask[::3] = 0
    return mask


HOLDERS = {
    "closure": lambda m: lambda logits, labels: (per_token(logits, labels) * m).sum(),
    "closure of booleans": lambda m: lambda logits, labels: (per_token(logits, labels) * m.bool()).sum(),
    "column": lambda m: lambda logits, labels: (per_token(logits, labels)[:, None] * m[:, None]).sum(),
    "positional": lambda m: partial(lambda mask, logits, labels: (per_token(logits, labels) * mask).sum(), m),
    "keyword": lambda m: partial(
        lambda logits, labels, loss_mask: (per_token(logits, labels) * loss_mask).sum(), loss_mask=m
    ),
    "boolean keyword": lambda m: partial(
        lambda logits, labels, loss_mask: (per_token(logits, labels) * loss_mask).sum(), loss_mask=m.bool()
    ),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_a_held_mask_is_right_or_refused(name, batch):
    mask = masks(len(batch))
    loss = HOLDERS[name](mask)
    truth = naive.naive_target(naive.cross_entropy, batch)
    p = batch.logits.softmax(-1)
    truth = p - mask[:, None] * (p - truth)
    try:
        found = qt.invert(loss, batch).q
    except qt.ReductionError:
        found = truth  # refused
    assert (found - truth).abs().max() < 1e-9
    declared = qt.invert(loss, batch, reduction="sum")
    assert (declared.q - truth).abs().max() < 1e-9


@pytest.mark.parametrize("name", HOLDERS)
def test_a_mask_of_another_batch_is_refused(name):
    other = qt.probe_batch(33, 11)
    with pytest.raises(qt.QTargetError):
        qt.invert(HOLDERS[name](masks(20)), qt.TokenBatch(other.logits, other.labels))
    with pytest.raises(qt.QTargetError):
        qt.inspect(HOLDERS[name](masks(20)))


MASK_OF_THE_MODULE = masks(20)


def masked_by_a_global(logits, labels):
    return (per_token(logits, labels) * MASK_OF_THE_MODULE).sum()


def test_a_global_mask_of_another_batch_is_refused():
    with pytest.raises(qt.QTargetError):
        qt.inspect(masked_by_a_global)


def test_a_closed_over_teacher_of_another_batch_is_refused():
    teacher = torch.randn(20, 64, dtype=torch.float64).log_softmax(-1)

    def loss(logits, labels):
        return F.kl_div(logits.log_softmax(-1), teacher, log_target=True, reduction="none").sum(-1).mean()

    with pytest.raises(qt.QTargetError):
        qt.inspect(loss)


def test_vmap_does_not_broadcast():
    batch = qt.probe_batch(20, 11)
    mask = masks(20)
    for loss in (HOLDERS["closure"](mask), lambda logits, labels: per_token(logits, labels) * mask):
        with pytest.raises(qt.LossError):
            qt.invert(loss, qt.TokenBatch(batch.logits, batch.labels), method="vmap")


def test_class_weights_where_there_are_as_many_tokens_as_classes():
    batch = qt.TokenBatch(torch.randn(4, 4, dtype=torch.float64), torch.tensor([1, 3, 0, 2]))
    classes = torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64)
    loss = partial(lambda logits, labels, weights: (per_token(logits, labels) * weights[labels]).sum(), weights=classes)
    target = qt.invert(loss, batch)
    assert (qt.decompose(target).gamma - classes[batch.labels]).abs().max() < 1e-9


def test_a_loss_that_moves_on_keeps_g_beside_q():
    class Scheduled:
        weight = 1.0

        def __call__(self, logits, labels):
            return self.weight * per_token(logits, labels)

    loss, batch = Scheduled(), qt.probe_batch(20, 11)
    target = qt.invert(loss, batch)
    loss.weight = 0.1
    assert (target.p - target.g - target.q).abs().max() < 1e-12


def test_the_users_random_numbers_are_left_alone():
    batch = qt.probe_batch(20, 11)
    torch.manual_seed(5)
    state = torch.get_rng_state()

    def noisy(logits, labels):
        return per_token(F.dropout(logits, 0.3), labels)

    first, second = qt.invert(noisy, batch), qt.invert(noisy, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.q, second.q)


def test_one_token_losses_and_class_weights_still_work():
    batch = qt.probe_batch(20, 11)
    weights = torch.rand(11, dtype=torch.float64)

    def one_token(z, y):
        return -weights[y] * z.log_softmax(-1)[y]

    target = qt.invert(one_token, batch)
    assert (qt.decompose(target).gamma - weights[batch.labels]).abs().max() < 1e-9


@pytest.mark.parametrize(
    "weigh",
    [
        lambda losses, labels: torch.where(labels == 77, 0.1, 1.0),
        lambda losses, labels: (labels != 77).double(),
        lambda losses, labels: (losses > 1e-3).double(),
    ],
    ids=["a light token", "a dropped token", "dropped when sure"],
)
@pytest.mark.parametrize("chunk_size", [20, 100])
def test_normalising_over_the_batch_does_not_depend_on_chunks(weigh, chunk_size):
    batch = qt.probe_batch(500, 100)
    labels = batch.labels.clone()
    labels[180:220] = 77
    batch = qt.TokenBatch(batch.logits, labels)

    def loss(logits, labels):
        losses = per_token(logits, labels)
        weight = weigh(losses.detach(), labels)
        return losses * weight / weight.mean()

    whole = qt.invert(loss, batch, chunk_size=500)
    chunked = qt.invert(loss, batch, chunk_size=chunk_size)
    assert (whole.q - chunked.q).abs().max() < 1e-9
    assert chunked.coupled
