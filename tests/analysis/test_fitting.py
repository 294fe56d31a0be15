"""Fits in float32 rows, streamed, held against the plain fit in float64: the same sets, flags and weights."""

import random

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.fitting import choose_attractors, fit_pulls, plain, search, streamed
from qtarget_inspect.analysis.fitting.normal_equations import RANK_TOLERANCE
from qtarget_inspect.analysis.fitting.problem import Problem
from qtarget_inspect.core.fast_paths import fast_paths
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions

NAMES = ("uniform", "reference", "teacher", "old_policy", "others", "nowhere")
NOISE = 3e-6
"""Rounding of a float32 gradient, as a share of the pulls that it is made of."""


def float32_batch(tokens=96, vocabulary=600, seed=0):
    return qt.probe_batch(tokens, vocabulary, seed=seed, dtype=torch.float32)


def model_batch(tokens=48, vocabulary=2000, distances=(0.5, 1.0, 0.3), seed=1):
    """Logits as a model has them: p_y from 1e-8 to 1 - 1e-7, other models near."""
    torch.manual_seed(seed)
    logits, labels = 2 * torch.randn(tokens, vocabulary), torch.randint(vocabulary, (tokens,))
    logits[torch.arange(tokens), labels] += torch.linspace(-8, 20, tokens)
    others = [logits + distance * torch.randn(tokens, vocabulary) for distance in distances]
    return qt.TokenBatch(logits, labels, reference_logits=others[0], teacher_logits=others[1], old_logits=others[2])


def both(gradient, batch, names):
    chosen = choose_attractors(names, batch)
    with fast_paths(False):
        slow = fit_pulls(gradient, batch, chosen)
    return fit_pulls(gradient, batch, chosen), slow


def hold_together(gradient, batch, names, noise=NOISE):
    """The two fits agree: in what they take, in every flag, and in what their weights add up to on every token."""
    fast, slow = both(gradient, batch, names)
    taken = [{name for name, weight in fit.weights.items() if bool((weight != 0).any())} for fit in (fast, slow)]
    assert taken[0] == taken[1]
    assert fast.twins == slow.twins
    assert fast.saturated == slow.saturated
    chosen = choose_attractors(names, batch)
    problem = Problem(gradient, batch, chosen)
    subset = [index for index, name in enumerate(problem.names) if name in taken[1] | {"label"}]
    smallest = torch.linalg.eigvalsh(plain.read(problem).normal.gram[:, subset][:, :, subset])[:, 0]
    clear = (smallest < 0.5 * RANK_TOLERANCE) | (smallest > 2 * RANK_TOLERANCE)  # else rounding decides in either
    assert torch.equal(fast.dependent[clear], slow.dependent[clear])
    state = State(batch, torch.float64)
    pulls = torch.stack([weight.abs() for weight in slow.weights.values()]).sum(0) + gradient.double().abs().max()
    rows = [direction.gradient(state) * (fast.weights[direction.name] - slow.weights[direction.name]).unsqueeze(-1)
            for direction in chosen]  # fmt: skip
    assert float((torch.stack(rows).sum(0).abs().amax(-1) / pulls).max()) < noise
    assert float(((fast.unexplained - slow.unexplained).abs() / pulls).max()) < noise
    for direction in chosen:
        length = direction.gradient(state).square().sum(-1).sqrt()
        apart = (fast.weights[direction.name] - slow.weights[direction.name]).abs() * length
        assert float((apart / pulls)[~fast.dependent].max() if (~fast.dependent).any() else 0) < 100 * noise
    return fast


def gradient_of(loss, batch):
    target = qt.invert(loss, batch)
    assert target.g.dtype == torch.float32
    return target.g


def test_float32_problems_are_streamed_and_others_are_not():
    batch = float32_batch(8, 40)
    chosen = choose_attractors(["label"], batch)
    assert streamed.streams(Problem(torch.zeros(8, 40), batch, chosen))
    assert not streamed.streams(Problem(torch.zeros(8, 40, dtype=torch.float64), batch, chosen))
    assert not streamed.streams(Problem(torch.zeros(8, 40), batch.to(torch.float64), chosen))


@pytest.mark.parametrize("name", [name for name in qt.variants() if qt.get(name).pulls is not None])
def test_every_variant_as_a_black_box(name):
    """A plain callable, and sets of attractors drawn by chance."""
    draw = random.Random(name)
    batch = float32_batch(seed=len(name))
    gradient = gradient_of(qt.get(name).bound_loss, batch)
    hold_together(gradient, batch, None)
    hold_together(gradient, batch, ["label", *NAMES])
    hold_together(gradient, batch, ["label", *draw.sample(NAMES, draw.randint(1, 5))])


@pytest.mark.parametrize("last", ["others", "nowhere"])
@pytest.mark.parametrize("blocks", [2000, 1987, 3000])
def test_what_two_and_four_directions_explain_is_found(last, blocks):
    """A vocabulary in several blocks, one that is prime, and labels almost certain."""

    def loss(logits, labels, reference_logits, teacher_logits, old_logits, shares=(0.1, 0.0, 0.0)):
        models = (reference_logits, teacher_logits, old_logits)
        q = sum(share * model.softmax(-1) for share, model in zip(shares, models, strict=True))
        return qt.losses.dft(logits, labels) - (q * logits.log_softmax(-1)).sum(-1)

    batch = model_batch(vocabulary=blocks)
    names = ["label", "uniform", "reference", "teacher", "old_policy", last]
    for shares, taken in (((0.1, 0.0, 0.0), {"label", "reference"}), ((0.1, 0.3, 0.2), {"label", *NAMES[1:4]})):

        def bound(logits, labels, reference_logits, teacher_logits, old_logits, shares=shares):
            return loss(logits, labels, reference_logits, teacher_logits, old_logits, shares)

        found = hold_together(gradient_of(bound, batch), batch, names)
        assert {name for name, weight in found.weights.items() if bool((weight != 0).any())} == taken
        assert not found.dependent.any()
        if last == "others":
            assert (found.weights["label"] - State(batch, torch.float64).p_label).abs().max() < 1e-5
            assert (found.weights["reference"] - 0.1).abs().max() < 1e-4


def test_what_nothing_explains_gets_all_directions():
    batch = model_batch()
    for last in ("others", "nowhere"):
        found = hold_together(
            gradient_of(lambda logits, labels: (logits**2).sum(-1), batch), batch, ["label", *NAMES[:4], last]
        )
        assert found.unexplained.min() > 1e-3


@pytest.mark.parametrize("distance", [0.0, 1e-4, 1e-3, 1e-2])
def test_a_reference_near_the_model(distance):
    batch = model_batch(distances=(distance, 1.0, 1.0))
    for loss in ("asft", "dft", "sft-kl"):
        gradient = gradient_of(qt.get(loss).bound_loss, batch)
        hold_together(gradient, batch, ["label", "reference"])
        hold_together(gradient, batch, ["label", "uniform", "reference", "teacher"])


def test_the_same_model_twice_is_dependent_and_a_twin():
    batch = model_batch()
    batch = batch.with_logits(batch.logits, old_logits=batch.reference_logits.clone())
    gradient = gradient_of(qt.get("sft-kl").bound_loss, batch)
    assert hold_together(gradient, batch, ["label", "reference", "old_policy"]).twins == (("label", "old_policy"),)
    unexplained = gradient_of(lambda logits, labels: (logits**2).sum(-1), batch)
    assert hold_together(unexplained, batch, ["label", "reference", "old_policy"]).dependent.all()


@pytest.mark.parametrize("vocabulary", [2, 3, 5])
def test_small_vocabularies(vocabulary):
    batch = float32_batch(64, vocabulary)
    for loss in ("sft", "dft", "asft", "gem", "kd"):
        hold_together(gradient_of(qt.get(loss).bound_loss, batch), batch, ["label", "uniform", "reference", "teacher"])


def test_flat_rows_where_the_uniform_is_collinear_with_the_label():
    batch = model_batch()
    logits = batch.logits.clone()
    logits[::2] = 0.0
    batch = batch.with_logits(logits)
    for loss in ("dft", "label-smoothing"):
        gradient = gradient_of(qt.get(loss).bound_loss, batch)
        hold_together(gradient, batch, ["label", "uniform", "teacher"])
    found = hold_together(gradient_of(qt.get("label-smoothing").bound_loss, batch), batch, ["label", "uniform"])
    assert found.dependent.tolist() == [True, False] * 24


def test_masked_entries_of_the_vocabulary():
    batch = model_batch()
    masked = torch.zeros(2000, dtype=torch.bool).index_fill(0, torch.arange(0, 2000, 7), True)
    masked = masked & (batch.labels.unsqueeze(-1) != torch.arange(2000))
    hidden = {
        name: getattr(batch, name).masked_fill(masked, float("-inf"))
        for name in ("logits", "reference_logits", "teacher_logits")
    }
    batch = batch.with_logits(**hidden)
    for loss in ("dft", "asft", "label-smoothing"):
        gradient = gradient_of(qt.get(loss).bound_loss, batch)
        hold_together(gradient, batch, ["label", "uniform", "reference", "teacher"])


def test_rows_that_underflow_and_rows_without_a_gradient():
    batch = model_batch()
    scale = torch.logspace(0, -30, 48)
    scale[::5] = 0.0

    def faint(logits, labels):
        return qt.losses.sft(logits, labels)

    gradient = gradient_of(faint, batch) * scale.unsqueeze(-1)
    found = hold_together(gradient, batch, ["label", "reference", "teacher"])
    assert torch.allclose(found.weights["label"], scale.double(), rtol=1e-5, atol=1e-35)


def test_directions_of_other_kinds():
    batch = model_batch()
    chosen = ["label", directions.power(1 / 0.7), directions.tilt("teacher_logits"), "reference"]
    for loss in ("gem", "reverse-kl"):
        hold_together(gradient_of(qt.get(loss).bound_loss, batch), batch, chosen)


def test_tokens_that_only_a_look_at_all_of_them_tells():
    """One token in a hundred is pulled to the teacher as well: a look at a few does not show it."""
    batch = model_batch(tokens=200)
    odd = torch.zeros(200)
    odd[77] = 1.0

    gradient = gradient_of("sft", batch)
    teacher = batch.logits.softmax(-1) - batch.teacher_logits.softmax(-1)
    found = hold_together(gradient + odd.unsqueeze(-1) * teacher, batch, ["label", "uniform", "teacher"])
    assert (found.weights["teacher"] - odd).abs().max() < 1e-4


def test_half_precision_logits():
    batch = model_batch().to(torch.bfloat16)
    hold_together(gradient_of(qt.get("asft").bound_loss, batch), batch, ["label", "reference", "teacher"])


def test_the_plain_reading_is_never_in_doubt():
    batch = float32_batch(8, 40)
    problem = Problem(torch.zeros(8, 40), batch, choose_attractors(["label", "uniform"], batch))
    reading = plain.read(problem)
    assert not reading.doubtful((0, 1)).any()
    assert reading.settled(torch.ones(8, dtype=torch.bool)) is reading
    assert search._spread(0) == slice(0, 0, 1)
