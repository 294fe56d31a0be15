"""Pulls: weights, target, gradient, total pull, gauges, and their words."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.pulls import Pulls, natural_gauge

P = laws.label_prob()
MIXED = Pulls.of(
    (directions.label(), P),
    (directions.teacher(), 0.25),
    (directions.power(1 / 0.7), -0.5),
    (directions.tilt("reference_logits"), 0.3),
    (directions.nowhere(), 0.1),
)


@pytest.fixture(scope="module")
def batch() -> qt.TokenBatch:
    return qt.probe_batch(48, 24)


@pytest.fixture(scope="module")
def state(batch) -> State:
    return State(batch)


def test_gradient_is_that_of_the_loss_written_out(batch, state):
    logits = batch.logits.clone().requires_grad_()
    log_p, p = logits.log_softmax(-1), logits.softmax(-1)
    log_label = log_p.gather(-1, batch.labels[:, None]).squeeze(-1)
    q = (batch.logits / 0.7).softmax(-1)
    loss = (
        -log_label.exp()
        - 0.25 * (batch.teacher_logits.softmax(-1) * log_p).sum(-1)
        + 0.5 * (q * log_p).sum(-1)
        + 0.3 * (p * batch.reference_logits.log_softmax(-1)).sum(-1)
        + 0.1 * logits.logsumexp(-1)
    )
    (expected,) = torch.autograd.grad(loss.sum(), logits)
    weights = MIXED.weights(state)
    assert (MIXED.gradient(state, weights) - expected).abs().max() < 1e-13
    assert (MIXED.target(state, weights) - (p.detach() - expected)).abs().max() < 1e-13
    assert torch.allclose(MIXED.total(weights), state.p_label - 0.25)
    assert MIXED.requires == ("teacher_logits", "reference_logits")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_target_is_written_where_it_is_asked_for(dtype, state):
    weights = MIXED.weights(state)
    out = torch.full((48, 24), torch.nan, dtype=dtype)
    assert MIXED.target(state, weights, out=out) is out
    assert torch.equal(out, MIXED.target(state, weights).to(dtype))


def test_equal_directions_are_added(state):
    twice = Pulls.of((directions.label(), 0.25), (directions.power(2), 0.1), (directions.power(2.0), P))
    weights = twice.weights(state)
    assert torch.allclose(weights["p^2"], 0.1 + state.p_label)
    once = Pulls.of((directions.label(), 0.25), (directions.power(2), 0.1 + P))
    assert torch.equal(twice.target(state, weights), once.target(state, once.weights(state)))


def test_near_and_foreign_namesakes_stay_apart(state):
    pulls = Pulls.of(
        (directions.path(0.5, "teacher_logits"), 0.3),
        (directions.path(0.5, "reference_logits"), 0.2),
        (directions.power(0.33333), 0.1),
        (directions.power(0.333333), 0.1),
    )
    assert len(pulls.weights(state)) == 4
    expected = sum(term.weight(state)[:, None] * term.direction.gradient(state) for term in pulls)
    assert (pulls.gradient(state, pulls.weights(state)) - expected).abs().max() < 1e-15


def mine(function) -> Direction:
    return Direction("mine", "my b", "b", "toward", function)


def test_two_directions_of_one_name_are_refused():
    with pytest.raises(qt.QTargetError, match=r"two different directions are named 'mine'.*another name"):
        Pulls.of((mine(lambda s: s.p), 1.0), (mine(lambda s: s.p**2), 1.0))
    one = mine(lambda s: s.p)
    assert len(Pulls.of((one, 1.0), (one, 1.0)).terms) == 2
    with pytest.raises(qt.QTargetError, match="named 'label'"):  # the name of the label is taken
        Pulls.of((Direction("label", "my label", "y", "toward", lambda s: s.p), 1.0))


@pytest.mark.parametrize("terms", [({"label": 1},), (("label", 1.0),), ((directions.label(),),), (3,)])
@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_pair_is_refused(terms):
    with pytest.raises(qt.QTargetError, match=r"a pull is a pair \(direction, weight\)"):
        Pulls.of(*terms)


@pytest.mark.usefixtures("as_a_user")
def test_pulls_of_nothing_and_weights_that_are_no_numbers_are_refused():
    with pytest.raises(qt.QTargetError, match="one term at least"):
        Pulls.of()
    with pytest.raises(qt.QTargetError, match="a constant weight is a number"):
        Pulls.of((directions.label(), "1"))


@pytest.mark.parametrize(
    ("terms", "gauge"),
    [
        ([(directions.label(), P)], "unit"),
        ([(directions.label(), 0.9), (directions.uniform(), 0.1)], "unit"),
        ([(directions.label(), P), (directions.path(0.5), 1 - P)], "unit"),
        ([(directions.label(), 1.0), (directions.power(2), -1.0)], "unit"),
        ([(directions.label(), P), (directions.reference(), 0.05)], "normalized"),
        ([(directions.label(), P), (directions.reference(), 0.0)], "unit"),
        ([(directions.teacher(), 2.0)], "normalized"),
        ([(directions.label(), 1.0), (directions.nowhere(), 0.1)], "unit"),
        ([(directions.tilt(), 1.0)], "unit"),
    ],
)
def test_natural_gauge(terms, gauge, state):
    pulls = Pulls.of(*terms)
    assert natural_gauge(pulls.directions, pulls.weights(state)) == gauge


def test_detached_loss_has_the_gradient_of_the_pulls(batch, state):
    toward = Pulls.of((directions.label(), P), (directions.teacher(), 0.25), (directions.others(), -P))
    logits = batch.logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(toward.detached_loss()(logits, batch.labels, **batch.context).sum(), logits)
    assert (found - toward.gradient(state, toward.weights(state))).abs().max() < 1e-13
    with pytest.raises(qt.QTargetError, match="cross-entropy"):
        MIXED.detached_loss()


def test_detached_loss_of_an_impossible_label_is_not_nan():
    logits = torch.tensor([[0.0, -torch.inf]], requires_grad=True)
    loss = Pulls.of((directions.label(), P)).detached_loss()(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert float(loss.detach()) == 0
    assert gradient.abs().max() == 0


WORDS = [
    # terms, (gamma, residual) in the unit gauge, (gamma, residual) in the normalized one
    ([(directions.label(), P)], ("p_y", "model"), ("1", "none (gamma is 1)")),
    ([(directions.label(), 1.0)], ("1", "none (gamma is 1)"), ("1", "none (gamma is 1)")),
    (
        [(directions.label(), 1 - P), (directions.reference(), 0.5)],
        ("1 - p_y", "mix of model, reference (pull 0.5)"),
        ("(1 - p_y) / (1 - p_y + 0.5)", "reference"),
    ),
    (
        [(directions.reference(), 0.05), (directions.label(), P)],
        ("p_y", "mix of model, reference (pull 0.05)"),
        ("p_y / (p_y + 0.05)", "reference"),
    ),
    (
        [(directions.label(), 1.0), (directions.reference(), 0.25)],
        ("1", "mix of model, reference (pull 0.25)"),
        ("0.8", "reference"),
    ),
    ([(directions.label(), 0.9), (directions.uniform(), 0.1)], ("0.9", "uniform"), ("0.9", "uniform")),
    ([(directions.teacher(), 1.0)], ("0", "teacher"), ("0", "teacher")),
    (
        [(directions.label(), 1.0), (directions.power(1 / 0.7), -1.0)],
        ("1", "mix of model, p^1.429 / Z (pull -1)"),
        ("undefined", "undefined (total pull 0)"),
    ),
    (
        [(directions.label(), 0.5), (directions.tilt("teacher_logits"), 0.2), (directions.nowhere(), 0.1)],
        ("0.5", "model, with tilt by log teacher (pull 0.2) and nowhere (pull 0.1)"),
        ("1", "none (gamma is 1), with tilt by log teacher (pull 0.2) and nowhere (pull 0.1)"),
    ),
    (
        [(directions.label(), P), (directions.teacher(), 0.2), (directions.uniform(), 0.1)],
        ("p_y", "mix of model, teacher (pull 0.2), uniform (pull 0.1)"),
        ("p_y / (p_y + 0.2 + 0.1)", "mix of teacher (pull 0.2), uniform (pull 0.1)"),
    ),
]


@pytest.mark.parametrize(("terms", "unit", "normalized"), WORDS)
def test_gamma_and_residual_in_words(terms, unit, normalized):
    pulls = Pulls.of(*terms)
    for gauge, words in (("unit", unit), ("normalized", normalized)):
        assert (pulls.gamma_law(gauge).text, pulls.residual_text(gauge)) == words


@pytest.mark.parametrize("name", [name for name, variant in qt.variants().items() if variant.pulls is not None])
@pytest.mark.parametrize("gauge", ["unit", "normalized"])
def test_the_law_of_gamma_is_the_gamma_of_the_decomposition(name, gauge, batch, state):
    pulls = qt.get(name).pulls
    gamma = pulls.gamma_law(gauge)(state)
    read = qt.decompose(qt.invert(name, batch), gauge=gauge).gamma
    defined = torch.isfinite(read)
    assert torch.allclose(gamma[defined], read[defined], rtol=1e-12, atol=1e-12)
    if name == "gem" and gauge == "normalized":
        assert not defined.any()
        assert gamma.isnan().all()


def test_a_total_pull_of_one_on_the_tokens_shortens_both():
    pulls = Pulls.of((directions.label(), P), (directions.path(0.5), 1 - P))
    one = torch.ones(3)
    for gauge in ("unit", "normalized"):
        assert pulls.gamma_law(gauge, one).text == "p_y"
        assert pulls.residual_text(gauge, one) == "p^0.5 teacher^0.5 / Z"
    assert pulls.residual_text("unit") == "mix of model, p^0.5 teacher^0.5 / Z (pull 1 - p_y)"


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_gauge_is_refused():
    for call in (MIXED.gamma_law, MIXED.residual_text):
        with pytest.raises(qt.QTargetError, match="gauge must be unit or normalized, not 'natural'"):
            call("natural")
