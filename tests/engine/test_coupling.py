"""Chunks never change an answer: a loss that couples its tokens is found, runs whole, and says how."""

import functools

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt
from qtarget_inspect.core.state import sequence_mean

from . import naive


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance)


def nll(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def whole_gradient(loss, batch, **context):
    """Plain autograd on the whole batch, in double precision."""
    z = batch.logits.double().requires_grad_(True)
    return torch.autograd.grad(loss(z, batch.labels, **context).sum(), z)[0]


def over_mean(z, y):
    value = nll(z, y)
    return value * (value / value.mean()).detach()


def over_maximum(z, y):
    value = nll(z, y)
    return value / value.max().detach().clamp(min=1)


def upper_quantile(z, y):
    value = nll(z, y)
    return value * (value >= value.quantile(0.7)).detach()


def hardest(count, z, y):
    value = nll(z, y)
    return value * torch.zeros_like(value).scatter(0, value.topk(min(count, len(y))).indices, 1.0).detach()


def far_pairs(z, y):
    value = nll(z, y)
    return value * (-value.detach()).exp().flip(0)


def next_token(z, y):
    value = nll(z, y)
    return value * torch.cat([value[1:], value[:1]]).detach()


def many_only(z, y):
    value = nll(z, y)
    return value * (1.0 if len(y) < 100 else value.detach().mean())


def within_sequences(logits, labels, sequence_ids):
    value = nll(logits, labels)
    return value * sequence_mean(value.detach(), sequence_ids)


def long_sequences_only(logits, labels, sequence_ids):
    value = nll(logits, labels)
    long = torch.bincount(sequence_ids - sequence_ids.min())[sequence_ids - sequence_ids.min()] > 8
    return value * torch.where(long, sequence_mean(value.detach(), sequence_ids), 1.0)


def leaking(z, y):
    return nll(z, y) * z.softmax(-1).mean(0)[y]


@pytest.mark.parametrize("chunk_size", [None, 5, 37])
@pytest.mark.parametrize(
    "loss",
    [
        over_mean,
        over_maximum,
        upper_quantile,
        functools.partial(hardest, 3),
        functools.partial(hardest, 20),
        functools.partial(hardest, 119),
        far_pairs,
        next_token,
        many_only,
        within_sequences,
        long_sequences_only,
        leaking,
    ],
    ids=lambda loss: qt.adapt(loss).name if callable(loss) else None,
)
def test_coupled_tokens_are_found_and_run_whole(loss, chunk_size):
    ids = torch.cat([torch.repeat_interleave(torch.arange(54), 2), torch.full((12,), 54)])
    batch = qt.TokenBatch(torch.randn(120, 60, dtype=torch.float64) * 2, torch.randint(60, (120,)), sequence_ids=ids)
    context = {name: batch.context[name] for name in qt.adapt(loss).context}
    target = qt.invert(loss, batch, chunk_size=chunk_size)
    close(target.g, whole_gradient(loss, batch, **context))
    close(target.q, batch.logits.softmax(-1) - target.g)
    assert target.coupled is not None
    assert ("leaks" in target.coupled) == (loss is leaking)


@pytest.mark.parametrize("tokens", [7, 60, 500])
def test_a_scalar_over_a_quantile_is_a_mean_over_some(tokens):
    batch = qt.TokenBatch(torch.randn(tokens, 20, dtype=torch.float64), torch.randint(20, (tokens,)))

    def loss(z, y):
        value = nll(z, y)
        keep = (value >= value.quantile(0.7)).detach()
        return (value * keep).sum() / keep.sum()

    target = qt.invert(loss, batch, chunk_size=7)
    value = nll(batch.logits, batch.labels)
    keep = (value >= value.quantile(0.7))[:, None]
    close(target.g, keep * naive.naive_gradient(naive.cross_entropy, batch))
    assert f"mean over {int(keep.sum())} of {tokens} tokens" in target.reduction.text
    assert "which tokens count depends on the batch" in target.coupled


def test_what_only_warns_about_tokens_alone_is_not_shown(batch):
    def standardised(logits, labels, advantages):
        return nll(logits, labels) * ((advantages - advantages.mean()) / (advantages.std() + 1e-6))

    target = qt.invert(standardised, batch, chunk_size=7)  # std() of one token warns, and warnings are errors here
    close(target.g, whole_gradient(standardised, batch, advantages=batch.advantages))
    assert "unknown" in target.coupled


def test_an_outlier_far_away_is_found(batch):
    tokens = 3000
    large = qt.TokenBatch(torch.randn(tokens, 50), torch.randint(50, (tokens,)))

    def loss(z, y):
        value = nll(z, y)
        return value * torch.where(torch.arange(len(y)) == 2321, value[0].detach(), 1.0)

    target = qt.invert(loss, large, chunk_size=500)
    close(target.g, whole_gradient(loss, large), 1e-5)
    assert target.coupled is not None


def test_a_contrast_between_tokens_leaks(plain):
    def loss(z, y):
        value = nll(z, y)
        return (value - value.mean()) ** 2

    target = qt.invert(loss, plain, chunk_size=7)
    close(target.g, whole_gradient(loss, plain))
    assert "leaks" in target.coupled
    assert any("losses of other tokens" in note for note in target.notes)


def test_uncoupled_losses_are_not_called_coupled(batch):
    for name, variant in qt.variants().items():
        for reduce in (lambda v: v, torch.sum, torch.mean):
            loss = variant.bound_loss

            def reduced(logits, labels, loss=loss, reduce=reduce, **context):
                return reduce(loss(logits, labels, **context))

            adapted = qt.adapt(reduced, context={key: key for key in variant.context}, name=name)
            if variant.coupling is not None:
                continue
            target = qt.invert(adapted, batch, chunk_size=7)
            assert target.coupled is None, name
            close(target.q, qt.invert(name, batch).q, 1e-9)


def test_a_declared_coupling_is_honoured_when_differentiating(batch):
    target = qt.invert("iw-sft", batch, method="torch.func", chunk_size=7)
    assert target.coupled == "a detached weight per sequence"
    assert qt.invert("iw-sft", batch).coupled == target.coupled
    close(target.q, qt.invert("iw-sft", batch, method="closed-form", chunk_size=7).q)


def test_a_declared_coupling_cannot_be_seen_alone(batch):
    variant = qt.Variant(
        "far",
        "far",
        lambda logits, labels: nll(logits, labels) * nll(logits, labels).mean().detach(),
        "label trust",
        coupling="by a mean",
    )
    target = qt.invert(variant, batch, method="vmap")
    assert any("differentiated alone, without its coupling" in note for note in target.notes)


def test_a_large_batch_of_a_loss_that_needs_the_real_vocabulary(plain):
    """Class weights [V] refuse the narrow vocabulary: rows from all over are run together instead."""
    weight = torch.linspace(0.5, 2, 300, dtype=torch.float64)
    batch = qt.TokenBatch(torch.randn(60, 300, dtype=torch.float64), torch.randint(300, (60,)))
    uncoupled = qt.invert(lambda z, y: F.cross_entropy(z, y, weight, reduction="none"), batch, chunk_size=20)
    assert any("tokens at a time" in note for note in uncoupled.notes)
    assert uncoupled.coupled is None

    def mean(z, y):
        return F.cross_entropy(z, y, weight)

    target = qt.invert(mean, batch, chunk_size=20, reduction="mean")
    close(target.g, 60 * whole_gradient(mean, batch))


@pytest.mark.parametrize("tokens", [8, 16, 48])
def test_a_label_that_is_a_candidate_for_later_tokens_is_not_misaligned(tokens):
    """Unlikelihood: a label turns its own row, and the rows after it that are to avoid it."""
    states = qt.probe_batch(tokens, 30)
    target = qt.invert(qt.losses.unlikelihood_tokens, states)
    expected = whole_gradient(qt.losses.unlikelihood_tokens, states, sequence_ids=states.sequence_ids)
    close(target.g, expected)
    assert target.coupled


@pytest.mark.parametrize("loss", [qt.losses.dpo, qt.losses.simpo, qt.losses.orpo])
def test_a_preference_loss_that_nobody_declared_coupled_runs_whole(loss):
    states = qt.probe_batch(64, 30)
    names = ("reference_logits", "advantages", "sequence_ids")[0 if loss is qt.losses.dpo else 1 :]
    target = qt.invert(loss, states, chunk_size=7)
    close(target.g, whole_gradient(loss, states, **{name: getattr(states, name) for name in names}))
    assert "leaks" in target.coupled
