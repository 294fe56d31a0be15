"""What the population learns: any loss, any calling convention; agreement of methods; what has no view; bad input."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.nn import functional

import qtarget_inspect as qt
from qtarget_inspect.analysis.population.field import make_population, random_states
from qtarget_inspect.analysis.population.setting import make_setting

Q_STAR = [0.5, 0.3, 0.2]
CONTEXT = {
    "teacher_logits": torch.tensor([0.2, 1.0, -0.4], dtype=torch.float64),
    "reference_logits": torch.tensor([-0.3, 0.5, 0.9], dtype=torch.float64),
}


def field_of(loss, method, states, **context):
    population = make_population(make_setting(loss, Q_STAR, context or CONTEXT, method))
    return population.field(len(states))(states)[0]


WITH_PULLS = [
    name for name, variant in qt.variants().items() if variant.pulls is not None and variant.category != "preference"
]


@pytest.mark.parametrize("name", WITH_PULLS)
def test_closed_form_and_differentiated_loss_give_one_field(name):
    states = random_states(12, 3, 5).log()
    closed, differentiated = (field_of(name, method, states) for method in ("closed-form", "torch.func"))
    assert float((closed - differentiated).abs().max()) < 1e-9 * max(1.0, float(closed.abs().max()))


def test_the_field_is_the_expectation_of_the_inverted_gradient():
    """-E[g] from one batch a label, by hand."""
    states, q_star = random_states(5, 3, 1).log(), torch.tensor(Q_STAR, dtype=torch.float64)
    expected = torch.zeros_like(states)
    for label, weight in enumerate(q_star):
        batch = qt.TokenBatch(states, torch.full((5,), label), **{k: v.expand(5, 3) for k, v in CONTEXT.items()})
        expected -= weight * qt.invert("target-sft", batch, method="autograd").g
    found = field_of("target-sft", "auto", states)
    assert float((found - expected).abs().max()) < 1e-12


def square_root_trust(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p.exp().detach().sqrt() * log_p


def test_a_users_loss_with_a_stop_gradient():
    found = qt.fixed_points(square_root_trust, Q_STAR, 4)
    assert (found.loss, found.method, found.verdict) == ("square_root_trust", "torch.func", "sharpening")
    assert torch.allclose(found.learned * 38, torch.tensor([25.0, 9.0, 4.0], dtype=torch.float64))


def test_a_mean_is_undone_and_float32_inside_is_told():
    def casts(logits, labels):
        return functional.cross_entropy(logits.float(), labels)

    found = qt.fixed_points(casts, Q_STAR, 4)
    assert found.verdict == "proper"
    assert any("float32" in note for note in found.notes)
    assert found.total_variation < 1e-4


def test_a_loss_that_loses_mass_is_followed_with_its_sum():
    def z_loss(logits, labels):
        return functional.cross_entropy(logits, labels, reduction="none") + 0.1 * logits.logsumexp(-1) ** 2

    found = qt.fixed_points(z_loss, Q_STAR, 4)
    assert found.verdict == "proper"
    assert any("sum of the logits" in note for note in found.notes)


def test_a_mixture_with_squared_logits_flattens():
    def shrinks(logits, labels):
        return functional.cross_entropy(logits, labels, reduction="none") + 0.1 * logits.square().sum(-1)

    found = qt.fixed_points(shrinks, Q_STAR, 4)
    assert found.verdict == "flattening"
    p = found.learned
    pull = torch.tensor(Q_STAR, dtype=torch.float64) - p  # = 0.2 z, so z sums to 0 and p = softmax(pull / 0.2)
    assert torch.allclose((pull / 0.2).softmax(-1), p, atol=1e-7)


def test_scale_free_logits_have_a_continuum():
    def scale_free(logits, labels):
        return functional.cross_entropy(logits / logits.norm(dim=-1, keepdim=True), labels, reduction="none")

    found = qt.fixed_points(scale_free, Q_STAR, 6)
    assert found.verdict == "multi-stable"
    assert [point.kind for point in found.points] == ["continuum"]


@pytest.mark.slow
def test_a_flow_that_turns_is_not_given_a_verdict():
    def turns(logits, labels):  # rock, paper, scissors
        p = logits.softmax(-1).detach()
        return -((p.roll(1, -1) - p.roll(-1, -1)) * logits).sum(-1)

    found = qt.fixed_points(turns, Q_STAR, 2)
    assert found.verdict == "undetermined"
    assert not found.settled.any()
    assert found.learned is None
    assert math.isnan(found.total_variation)


@pytest.mark.slow
def test_an_end_held_by_a_jump_of_the_gradient_is_found():
    """A label trains while p_y < t, and is pushed away above: p_0 is held at t."""

    def thermostat(logits, labels):
        p = logits.softmax(-1)[:, 0]
        return torch.where(p.detach() < 0.4, -p, p)

    found = qt.fixed_points(thermostat, Q_STAR, 4)
    assert torch.allclose(found.ends[:, 0], torch.full((4,), 0.4, dtype=torch.float64), atol=5e-3)


def test_no_label_trains():
    found = qt.fixed_points("cft", Q_STAR, 3, critical=False)
    assert (found.verdict, found.points) == ("undetermined", ())
    assert "nothing moves" in found.reason


@pytest.mark.slow
def test_old_policy_defaults_to_the_current_one_or_stays_where_it_is_put():
    assert qt.fixed_points("psft", Q_STAR, 3).verdict == "proper"  # r = 1: SFT
    old = torch.tensor([0.0, 0.0, 0.0])
    held = qt.fixed_points("psft", Q_STAR, 3, old_logits=old)
    assert held.verdict != "proper"  # r = p_y / old_y pulls like DFT, until the clip stops it


def test_labels_that_are_never_drawn_die_out():
    found = qt.fixed_points("sft", [0.5, 0.5, 0.0], 3)
    assert (found.verdict, found.points[0].kind) == ("proper", "face")
    assert found.learned.tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_result_reads_well_and_is_frozen():
    found = qt.fixed_points("sft-kl", Q_STAR, 3, **CONTEXT)
    assert str(found) == found.text
    assert "anchored" in found.text
    assert "100% of 3 starts" in found.text
    assert repr(found.points[0]).startswith("FixedPoint(interior, stable, basin 1.00")
    with pytest.raises(FrozenInstanceError):
        found.verdict = "proper"


def test_proper_by_accident_of_the_context_says_so():
    teacher = torch.tensor(Q_STAR, dtype=torch.float64).log()
    found = qt.fixed_points("kd", Q_STAR, 3, teacher_logits=teacher)
    assert found.verdict == "proper"
    assert "depends on teacher" in found.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q_star": [0.5, 0.6]}, "must sum to 1"),
        ({"q_star": [1.2, -0.2]}, "probabilities >= 0"),
        ({"q_star": [1.0]}, "shape \\[V\\]"),
        ({"q_star": "abc"}, "must hold numbers"),
        ({"starts": [[0.5, 0.5, 0.0]]}, "inside the simplex"),
        ({"starts": [[0.5, 0.5]]}, "of shape \\[M, 3\\]"),
        ({"starts": 0}, "starts"),
        ({"teacher": [0.0, 0.0, 0.0]}, "unknown context teacher"),
        ({"teacher_logits": [0.0, 0.0]}, "teacher_logits must have shape \\[3\\]"),
        ({"method": "guess"}, "method must be one of"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(qt.QTargetError, match=message):
        qt.fixed_points("sft", **{"q_star": Q_STAR, **arguments})


def test_what_has_no_view_at_one_context_is_refused():
    with pytest.raises(qt.MissingContextError, match=r"needs teacher_logits.*Pass fixed_points"):
        qt.fixed_points("kd", Q_STAR)
    with pytest.raises(qt.LossError, match="no closed form"):
        qt.fixed_points(square_root_trust, Q_STAR, method="closed-form")

    def coupled(logits, labels):
        loss = functional.cross_entropy(logits, labels, reduction="none")
        return loss * loss.detach().softmax(0)

    with pytest.raises(qt.QTargetError, match=r"couples its tokens"):
        qt.fixed_points(coupled, Q_STAR)

    def drops(logits, labels):
        return functional.cross_entropy(functional.dropout(logits, 0.5), labels, reduction="none")

    with pytest.raises(qt.QTargetError, match="random numbers"):
        qt.fixed_points(drops, Q_STAR)


def test_preference_losses_are_refused():
    paired = qt.Variant("pairs-only", "pairs", qt.losses.sft, "preference")
    with pytest.raises(qt.QTargetError, match="compares whole sequences"):
        qt.fixed_points(paired, Q_STAR)


@pytest.mark.slow
def test_a_teacher_behind_a_jump_of_the_gradient_is_an_anchor():
    """|p - teacher| has no zero of its gradient: p is held where the sign changes."""

    def total_variation(logits, labels, teacher_logits):
        return 0.5 * (logits.softmax(-1) - teacher_logits.softmax(-1)).abs().sum(-1)

    found = qt.fixed_points(total_variation, Q_STAR, 3, **CONTEXT)
    assert (found.verdict, len(found.stable)) == ("anchored", 1)
    assert torch.allclose(found.learned, CONTEXT["teacher_logits"].softmax(-1), atol=3e-3)
    assert math.isnan(found.points[0].residual)
    assert any("jumps" in note for note in found.notes)


def test_a_narrow_continuum_is_told_from_a_point():
    def cold(logits, labels):
        return functional.cross_entropy(logits / (0.04 * logits.norm(dim=-1, keepdim=True)), labels, reduction="none")

    assert [point.kind for point in qt.fixed_points(cold, Q_STAR, 4).points] == ["continuum"]
