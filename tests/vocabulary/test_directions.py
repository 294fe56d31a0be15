"""Directions: each one's gradient against autograd of a loss that pulls there, names and equality."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction

OTHERS = ("reference_logits", "teacher_logits", "old_logits")

TOWARD = [
    directions.label(),
    directions.uniform(),
    directions.reference(),
    directions.teacher(),
    directions.teacher(2.0),
    directions.old_policy(),
    directions.power(1 / 0.7),
    directions.power(0.5),
    directions.power(0.0),
    directions.path(0.3),
    directions.path(0.5, "reference_logits"),
    directions.others(),
    directions.top_k(5),
]


@pytest.fixture(scope="module")
def batch() -> qt.TokenBatch:
    return qt.probe_batch(64, 30)


def autograd(loss, batch: qt.TokenBatch) -> torch.Tensor:
    logits = batch.logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits).sum(), logits)[0]


@pytest.mark.parametrize("direction", TOWARD, ids=lambda direction: direction.name)
def test_toward_is_the_gradient_of_a_cross_entropy(direction, batch):
    state = State(batch)
    b = direction.values(state)
    assert (b.sum(-1) - 1).abs().max() < 1e-12
    assert (b >= 0).all()
    expected = autograd(lambda z: -(b * z.log_softmax(-1)).sum(-1), batch)
    assert (direction.gradient(state) - expected).abs().max() < 1e-14


def formulas(batch: qt.TokenBatch) -> dict[str, torch.Tensor]:
    """The distributions by plain formulas."""
    p, teacher = batch.logits.softmax(-1), batch.teacher_logits.softmax(-1)
    onehot = torch.nn.functional.one_hot(batch.labels, 30).to(p)
    unlabelled = p * (1 - onehot)
    top = torch.where(p >= p.sort(-1, descending=True).values[:, 4:5], p, 0.0)
    path = p**0.7 * teacher**0.3
    return {
        "label": onehot,
        "uniform": torch.full_like(p, 1 / 30),
        "teacher": teacher,
        "teacher@2": (batch.teacher_logits / 2).softmax(-1),
        "p^0.5": p**0.5 / (p**0.5).sum(-1, keepdim=True),
        "path(0.3 to teacher)": path / path.sum(-1, keepdim=True),
        "top_5": top / top.sum(-1, keepdim=True),
        "others": unlabelled / unlabelled.sum(-1, keepdim=True),
    }


def test_distributions_are_what_their_formulas_say(batch):
    known = {direction.name: direction for direction in TOWARD}
    likely = batch.logits.softmax(-1).gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1) < 0.999
    for name, rows in formulas(batch).items():
        clear = torch.ones_like(likely)
        if name == "others":
            clear = likely
        elif name == "top_5":  # ties at the fifth place, on flat states, are broken by topk
            clear = (rows > 0).sum(-1) == 5
        assert int(clear.sum()) > 10
        assert (known[name].values(State(batch)) - rows)[clear].abs().max() < 1e-11, name


@pytest.mark.parametrize("by", OTHERS)
def test_tilts_are_the_pieces_of_reverse_kl(by, batch):
    state = State(batch)
    own, other = directions.tilt().gradient(state), directions.tilt(by).gradient(state)
    log_b = getattr(batch, by).log_softmax(-1)

    def reverse_kl(z):
        return (z.softmax(-1) * (z.log_softmax(-1) - log_b)).sum(-1)

    def entropy(z):
        return -(z.softmax(-1) * z.log_softmax(-1)).sum(-1)

    assert (own + autograd(entropy, batch)).abs().max() < 1e-13
    assert (other - autograd(lambda z: (z.softmax(-1) * log_b).sum(-1), batch)).abs().max() < 1e-13
    assert (own - other - autograd(reverse_kl, batch)).abs().max() < 1e-12
    assert own.sum(-1).abs().max() < 1e-13


def test_nowhere_is_the_direction_of_the_z_loss(batch):
    log_z = batch.logits.logsumexp(-1, keepdim=True)
    expected = autograd(lambda z: z.logsumexp(-1).square(), batch)
    found = directions.nowhere().gradient(State(batch))
    assert (2 * log_z * found - expected).abs().max() < 1e-12
    assert (found.sum(-1) - 1).abs().max() < 1e-14
    assert directions.nowhere().values(State(batch)).abs().max() == 0


def test_impossible_tokens_stay_impossible():
    logits = torch.tensor([[0.0, 1.0, -torch.inf]], dtype=torch.float64)
    other = torch.tensor([[2.0, 0.0, -torch.inf]], dtype=torch.float64)
    state = State(qt.TokenBatch(logits, torch.tensor([0]), teacher_logits=other))
    for direction in (directions.power(0.0), directions.path(0.5), directions.path(1.0), directions.teacher()):
        assert torch.isfinite(direction.values(state)).all()
        assert direction.values(state)[0, 2] == 0
    assert torch.isfinite(directions.tilt("teacher_logits").gradient(state)).all()


def test_the_label_is_exact_where_it_is_certain():
    logits = torch.zeros(1, 4, dtype=torch.float64)
    logits[0, 1] = 50.0
    state = State(qt.TokenBatch(logits, torch.tensor([1])))
    gradient = directions.label().gradient(state)
    assert gradient[0, 1] == pytest.approx(-3 * torch.exp(torch.tensor(-50.0, dtype=torch.float64)).item(), rel=1e-12)


def test_different_directions_have_different_names():
    made = [*TOWARD, directions.nowhere(), directions.tilt(), *map(directions.tilt, OTHERS)]
    made += [directions.path(0.5, name) for name in OTHERS[1:]]
    made += [directions.power(0.33333), directions.power(0.333333), directions.power(1 / 3)]
    made += [directions.path(0.33333), directions.path(0.333333), directions.teacher(1.1111111)]
    assert len({direction.name for direction in made}) == len(made)
    assert directions.path(0.5).name == "path(0.5 to teacher)"
    assert directions.power(0.7).name == "p^0.7"
    assert directions.power(1 / 0.7).name == "p^1.4285714285714286"


def test_printed_names_and_formulas_are_rounded():
    gem = directions.power(1 / 0.7)
    assert (gem.short, gem.text, gem.latex) == ("p^1.429", "p^1.429 / Z", "p^{1.429}/Z")
    assert directions.path(1 / 3).short == "path(0.3333 to teacher)"
    assert directions.power(1e-7).latex == "p^{10^{-7}}/Z"


def test_directions_are_equal_where_they_are_the_same_function():
    for make in (directions.label, directions.others, directions.teacher, directions.tilt, directions.nowhere):
        assert make() == make()
    assert directions.power(2) == directions.power(2.0)
    assert directions.path(0.5) != directions.path(0.5, "reference_logits")
    mine = Direction("mine", "b", "b", "toward", lambda s: s.p)
    assert mine != Direction("mine", "b", "b", "toward", lambda s: s.p)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: directions.context_model("critic_logits"), "the model must be one of reference_logits"),
        (lambda: directions.context_model("logits", 2.0), "the model must be one of"),
        (lambda: directions.path(0.5, "reference"), "the model must be one of"),
        (lambda: directions.tilt("teacher"), "the model must be one of logits, "),
        (lambda: directions.teacher(0.0), "temperature must be above 0"),
        (lambda: directions.power("2"), "the exponent must be a finite number"),
        (lambda: directions.path(float("nan")), "eta must be a finite number"),
        (lambda: directions.top_k(0), "k must be a whole number above 0"),
        (lambda: directions.top_k(2.5), "k must be a whole number above 0"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_answered(make, message):
    with pytest.raises(qt.QTargetError, match=message):
        make()
