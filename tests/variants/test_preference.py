"""Preference losses: pairs of sequences, the gradient of the sum, and what is said where there are no pairs."""

import pytest
import torch
from torch.nn.functional import logsigmoid

import qtarget_inspect as qt

NAMES = [name for name, variant in qt.variants().items() if variant.category == "preference"]


def pair(chosen_first: bool = True) -> qt.TokenBatch:
    """Two sequences of 3 and 5 tokens."""
    probes = qt.probe_batch(8, 20, seed=4)
    ids = torch.tensor([7, 9, 9, 7, 9, 7, 9, 9])  # mixed rows, ids with gaps
    sign = 1.0 if chosen_first else -1.0
    return probes.with_logits(probes.logits, sequence_ids=ids, advantages=torch.where(ids == 7, sign, -sign).double())


def loss_of_the_pair(name: str, z: torch.Tensor, batch: qt.TokenBatch) -> torch.Tensor:
    """A scalar, written for one pair whose first sequence is the chosen one."""
    first = batch.sequence_ids == batch.sequence_ids.min()
    won, lost = (first, ~first) if float(batch.advantages[first].mean()) > 0 else (~first, first)

    def log_prob(logits):
        return logits.log_softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)

    log_p, log_reference = log_prob(z), log_prob(batch.reference_logits)
    if name == "dpo":
        ratio = log_p - log_reference
        return -logsigmoid(0.1 * (ratio[won].sum() - ratio[lost].sum()))
    mean_won, mean_lost = log_p[won].mean(), log_p[lost].mean()
    if name == "simpo":
        return -logsigmoid(2 * mean_won - 2 * mean_lost - 1)
    odds = [mean - torch.log1p(-mean.exp()) for mean in (mean_won, mean_lost)]
    return -mean_won - 0.1 * logsigmoid(odds[0] - odds[1])


@pytest.mark.parametrize("chosen_first", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_values_add_up_to_the_loss_of_the_pair_and_gradients_are_its_gradient(name, chosen_first):
    batch = pair(chosen_first)
    context = {key: getattr(batch, key) for key in qt.get(name).context}
    values = qt.get(name)(batch.logits, batch.labels, **context)
    z = batch.logits.clone().requires_grad_()
    whole = loss_of_the_pair(name, z, batch)
    assert values.shape == (8,)
    assert torch.allclose(values, values[0].expand(8), rtol=1e-14)  # spread evenly
    assert torch.allclose(values.sum(), whole, rtol=1e-12)
    (expected,) = torch.autograd.grad(whole, z)
    for method in ("torch.func", "autograd", "closed-form"):
        target = qt.invert(name, batch, method=method)
        assert (target.g - expected).abs().max() < 1e-13
        assert target.coupled == "gradient that flows between the tokens of the two sequences of a pair"


@pytest.mark.parametrize("name", NAMES)
def test_other_pairs_have_no_influence(name):
    batch = qt.probe_batch(64, 30)
    first = batch.sequence_ids < 2
    moved = batch.with_logits(torch.where(first[:, None], batch.logits, batch.logits.flip(-1)))
    one, other = (qt.invert(name, states, method="torch.func").q for states in (batch, moved))
    assert (one[first] - other[first]).abs().max() < 1e-14
    assert (one[~first] - other[~first]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_within_a_pair_every_token_has_influence(name):
    batch = pair()
    logits = batch.logits.clone()
    logits[0] = 0.0
    one, other = (qt.invert(name, states, method="torch.func").g for states in (batch, batch.with_logits(logits)))
    assert ((one - other).abs().amax(-1) > 0).all()


@pytest.mark.parametrize("method", ["torch.func", "closed-form"])
@pytest.mark.parametrize("tokens", [8, 24, 40])
@pytest.mark.parametrize("name", NAMES)
def test_an_odd_number_of_sequences_is_an_error_that_says_so(name, tokens, method):
    sequences = tokens // 8
    with pytest.raises(
        qt.QTargetError, match=rf"holds {sequences}\b.* has no partner.*[Gg]ive an even number"
    ) as caught:
        qt.invert(name, qt.probe_batch(tokens, 30), method=method)
    assert isinstance(caught.value, qt.LossError)


@pytest.mark.parametrize("method", ["torch.func", "closed-form"])
@pytest.mark.parametrize("name", NAMES)
def test_a_pair_without_a_better_one_is_an_error_that_says_so(name, method):
    batch = qt.probe_batch(64, 30)
    batch = batch.with_logits(batch.logits, advantages=torch.ones(64, dtype=torch.float64))
    with pytest.raises(qt.LossError, match=r"the same mean advantage, which leaves open which .*larger advantages"):
        qt.invert(name, batch, method=method)


def test_what_is_missing_is_named():
    batch = qt.TokenBatch(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long), advantages=torch.ones(4))
    with pytest.raises(qt.MissingContextError, match=r"simpo.* needs sequence_ids"):
        qt.invert("simpo", batch)


def test_a_token_that_both_models_exclude_is_left_out_of_dpo():
    batch = pair()
    logits, reference = batch.logits.clone(), batch.reference_logits.clone()
    for rows in (logits, reference):
        rows[0, batch.labels[0]] = float("-inf")
    hard = batch.with_logits(logits, reference_logits=reference)
    found, closed = (qt.invert("dpo", hard, method=method) for method in ("torch.func", "closed-form"))
    assert found.g[0].abs().max() == 0
    assert (found.g - closed.g).abs().max() < 1e-14
    rest = hard.select(torch.arange(1, 8))
    assert (found.g[1:] - qt.invert("dpo", rest, method="torch.func").g).abs().max() < 1e-14
