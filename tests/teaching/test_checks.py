"""Exercises: right answers pass, typical wrong ones get a hint, and no hint is the solution."""

import math

import numpy as np
import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect import teaching
from qtarget_inspect.teaching.states import P_LABEL, exercise_states

BATCH = qt.TokenBatch(torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log(), torch.tensor([1]))


def nll(logits, labels):
    return -logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)


def p_label(logits, labels):
    return (-nll(logits, labels)).exp()


def weighted(weight, detach=True):
    """sg[weight(p_y)] * -log p_y."""

    def loss(logits, labels):
        w = weight(p_label(logits, labels))
        return (w.detach() if detach else w) * nll(logits, labels)

    return loss


EMPTY = [None, ..., lambda logits, labels: None, lambda logits, labels: ...]


@pytest.mark.parametrize("answer", EMPTY)
@pytest.mark.parametrize(
    "check",
    [
        lambda loss: teaching.check_gamma(loss, lambda p_y: p_y),
        lambda loss: teaching.check_claim(loss, lambda s: s.p_label, lambda s: s.p),
        lambda loss: teaching.check_verdict(loss, "proper"),
        lambda loss: teaching.check_same(loss, "dft"),
        lambda loss: teaching.check_audit(loss, ["accumulation"]),
    ],
    ids=["gamma", "claim", "verdict", "same", "audit"],
)
def test_a_loss_that_is_not_there_is_no_mistake(check, answer):
    found = check(answer)
    assert found.outcome == "not filled in"
    assert not found


@pytest.mark.parametrize("answer", [None, ..., [None, None, None, None], [..., 0, 0, 0]])
def test_numbers_that_are_not_there_are_no_mistake(answer):
    assert teaching.check_target(answer, "sft", BATCH).outcome == "not filled in"
    assert teaching.check_learned(answer, "sft", [0.5, 0.3, 0.2]).outcome == "not filled in"


@pytest.mark.parametrize("answer", [None, ..., lambda p_y: None, lambda p_y: ...])
def test_a_formula_that_is_not_there_is_no_mistake(answer):
    assert teaching.check_law(answer, "dft").outcome == "not filled in"


def test_a_setting_that_is_not_there_is_no_mistake():
    assert teaching.check_setting(None, lambda x: x, 0.5).outcome == "not filled in"


@pytest.mark.parametrize(
    ("loss", "law"),
    [
        (weighted(lambda p: 1 - p), lambda p_y: 1 - p_y),
        (weighted(lambda p: p.sqrt()), lambda p: p**0.5),
        (lambda z, y: weighted(lambda p: p)(z, y).mean(), lambda p_y: p_y),
        (qt.losses.sft, lambda p_y: 1.0),
        ("dft", lambda p_y: math.sqrt(p_y) ** 2),
        (lambda z, y, teacher_logits: p_label(teacher_logits, y) * nll(z, y), lambda p_y, teacher_p_y: teacher_p_y),
    ],
)
def test_the_right_trust_is_accepted(loss, law):
    assert teaching.check_gamma(loss, law)


@pytest.mark.parametrize(
    ("loss", "law", "said"),
    [
        (weighted(lambda p: p**2), lambda p_y: p_y, "gamma at p_y = 0.25 is 0.0625. Right sign, but which power?"),
        (lambda z, y: -weighted(lambda p: p)(z, y), lambda p_y: p_y, "with the wrong sign"),
        (lambda z, y: -(nll(z, y) ** 2), lambda p_y: p_y, "The wrong sign"),
        (weighted(lambda p: 1 - p, detach=False), lambda p_y: 1 - p_y, "gradient flows through that weight as well"),
        (weighted(lambda p: 2 * (1 - p)), lambda p_y: 1 - p_y, "The right shape, 2 times the size"),
        (weighted(lambda p: p), lambda p_y: 1 - p_y, "The gamma asked for falls as p_y grows"),
        (weighted(lambda p: p + 0.1), lambda p_y: p_y, "too high everywhere"),
        (lambda z, y: nll(z, y) + 0.1 * z.square().sum(-1), lambda p_y: 1.0, "what else does your loss pull to"),
        (lambda z, y: nll(z, y).detach(), lambda p_y: p_y, "the engine cannot invert this loss"),
        (lambda z: z, lambda p_y: p_y, "the engine cannot"),
        (lambda z, y: z @ y, lambda p_y: p_y, "raises RuntimeError"),
    ],
)
def test_a_wrong_trust_is_told_what_is_off(loss, law, said):
    found = teaching.check_gamma(loss, law)
    assert found.outcome == "not yet"
    assert said in found.hint


def test_the_hint_about_a_power_names_that_of_the_answer():
    assert "p_y^0.7." in teaching.check_gamma(weighted(lambda p: p**0.7), lambda p_y: p_y).hint


@pytest.mark.parametrize(
    ("law", "loss", "gauge"),
    [
        (lambda p: p / (p + 0.05), "asft(kl_weight=0.05)", "natural"),
        (lambda p_y: (1 - p_y) ** 2 - 2 * p_y * (1 - p_y) * np.log(p_y), "focal", "natural"),
        (lambda p_y: 1.0 if p_y > 0.1 else 0.0, "profit", "natural"),
        (lambda p_y: p_y, "asft(kl_weight=0.05)", "unit"),
        (lambda p_y: torch.sqrt(p_y) ** 2, "dft", "natural"),
        (lambda p_y, entropy: entropy / 3.0, "eaft-llama-factory(top_k=16)", "natural"),
    ],
)
def test_the_right_formula_is_accepted(law, loss, gauge):
    assert teaching.check_law(law, loss, gauge=gauge)


@pytest.mark.parametrize(
    ("law", "loss", "said"),
    [
        (lambda p_y: 1 - p_y, "dft", "what is left for the residual"),
        (lambda p_y: p_y, "asft(kl_weight=0.05)", "gamma in the unit gauge; the exercise asks for the normalized one"),
        (lambda p_y: 2 * p_y - p_y**2, "dft", "label-free reading"),
        (lambda p_y: p_y**2, "dft", "too low everywhere"),
        (lambda p_y: 1 - p_y**2, "dft", "gamma of this loss grows as p_y grows"),
        (lambda p_y: "p_y", "dft", "a number for each p_y"),
        (lambda p_y: [0.5, 0.5], "dft", "one number for each p_y"),
        (lambda p_y: torch.log(p_y - 0.5), "dft", "no finite number"),
        (lambda p_y: p_y / math.log(1.0), "dft", "raises ZeroDivisionError"),
        (lambda p_y, colour: p_y, "dft", "a formula takes p_y"),
    ],
)
def test_a_wrong_formula_is_told_where(law, loss, said):
    found = teaching.check_law(law, loss)
    assert found.outcome == "not yet"
    assert said in found.hint


def test_no_hint_about_a_formula_holds_the_right_number():
    target = qt.decompose(qt.invert("asft(kl_weight=0.05)", exercise_states()), gauge="natural")
    at = P_LABEL.index(0.25)
    hint = teaching.check_law(lambda p_y: 0.5 * p_y, "asft(kl_weight=0.05)").hint
    assert f"{float(target.gamma[at]):.3g}" not in hint


Q = qt.invert("dft", BATCH).q[0]


@pytest.mark.parametrize("answer", [Q.tolist(), Q.numpy().round(3), Q])
def test_the_right_target_is_accepted(answer):
    assert teaching.check_target(answer, "dft", BATCH)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (qt.invert("dft", BATCH).g[0], "the gradient g itself"),
        (-qt.invert("dft", BATCH).g[0], "that is -g"),
        ([0.4, 0.3, 0.2, 0.1], "that is the model p"),
        (BATCH.logits[0].exp() + qt.invert("dft", BATCH).g[0], "along the gradient"),
        ([0.28, 0.3, 0.14, 0.07], "your entries sum to 0.79, and this Q sums to 1"),
        ([0.35, 0.41, 0.14, 0.1], "entry 0 is too large, entry 1 (the label) is too small"),
        ([0.5, 0.5], "one entry for each of the 4 tokens"),
        ("p", "Q is a list of 4 numbers"),
    ],
)
def test_a_wrong_target_is_told_what_is_off(answer, said):
    found = teaching.check_target(answer, "dft", BATCH)
    assert found.outcome == "not yet"
    assert said in found.hint
    assert f"{float(Q[1]):.3g}" not in found.hint


def to_old_policy(logits, labels, old_logits):
    """-log p_y by p_y / 2, the rest to the old policy."""
    logp, trust = logits.log_softmax(-1), p_label(logits, labels).detach() / 2
    return trust * nll(logits, labels) - (1 - trust) * (old_logits.softmax(-1) * logp).sum(-1)


def attached(logits, labels, old_logits):
    """The same value, with gradient through its weights."""
    logp, trust = logits.log_softmax(-1), p_label(logits, labels) / 2
    return trust * nll(logits, labels) - (1 - trust) * (old_logits.softmax(-1) * logp).sum(-1)


def old_policy(state):
    return state.context("old_logits").softmax(-1)


def test_a_claim_that_holds_is_accepted():
    found = teaching.check_claim(to_old_policy, lambda s: s.p_label / 2, old_policy, of="the old policy")
    assert found
    assert "the old policy" in found.hint


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (qt.losses.sft, "the pull to the label is 1 at p_y = 0.25, where gamma should be 0.125"),
        (weighted(lambda p: p / 2), "the total pull is 0.005 to 0.495"),
        (
            lambda z, y, old_logits: to_old_policy(z, y, z.detach() * 0),
            "the rest goes to uniform, not to the old policy",
        ),
        (lambda z, y, old_logits: weighted(lambda p: p / 2)(z, y) + z.square().sum(-1), "no sum of pulls"),
        (lambda z, y, old_logits: attached(z, y, old_logits), "gradient flows through a weight"),
    ],
)
def test_a_claim_that_fails_is_told_where(loss, said):
    found = teaching.check_claim(loss, lambda s: s.p_label / 2, old_policy, of="the old policy")
    assert found.outcome == "not yet"
    assert said in found.hint


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0.5, 0.3, 0.2], "that is q* itself"),
        ([0.5, 0.3, 0.4], "your entries sum to 1.2"),
        ([0.9, 0.08, 0.02], "yours is too sharp"),
        ([0.34, 0.33, 0.33], "yours is too flat"),
        ([0.2, 0.3, 0.5], "another order"),
        ([0.5, 0.5], "q* has 3 tokens"),
    ],
)
def test_what_is_learned_is_told_by_its_shape(answer, said):
    found = teaching.check_learned(answer, "beyond-log(alpha=0.5)", [0.5, 0.3, 0.2])
    assert found.outcome == "not yet"
    assert said in found.hint


def test_the_learned_distribution_is_accepted():
    assert teaching.check_learned([25 / 38, 9 / 38, 4 / 38], "beyond-log(alpha=0.5)", [0.5, 0.3, 0.2])


def test_there_is_no_answer_where_nothing_is_learned():
    with pytest.raises(qt.QTargetError, match="multi-stable"):
        teaching.check_learned([1, 0, 0], "beyond-log(alpha=3)", [0.5, 0.3, 0.2])


def test_verdicts():
    assert teaching.check_verdict(qt.losses.sft, "proper")
    assert "collapsing" in teaching.check_verdict(weighted(lambda p: p), "proper").hint
    with pytest.raises(qt.QTargetError, match="verdict must be one of"):
        teaching.check_verdict(qt.losses.sft, "fine")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, y: 2 * qt.losses.dft(z, y), "2 times the step of dft on every token"),
        (lambda z, y: -qt.losses.dft(z, y), "the other way, 1 times the step of dft"),
        (qt.losses.sft, "the direction is right, the step is not"),
        (lambda z, y, advantages: nll(z, y).detach(), "cannot be compared"),
        (lambda z, y: qt.losses.dft(z, y) - 0.1 * z.log_softmax(-1).mean(-1), "point different ways"),
    ],
)
def test_another_gradient_is_told_how_it_is_related(loss, said):
    found = teaching.check_same(loss, "dft")
    assert found.outcome == "not yet"
    assert said in found.hint


def test_the_same_gradient_is_accepted_whatever_its_formula():
    assert teaching.check_same(qt.losses.p_loss, "dft")


def test_an_audit_names_the_warning_that_is_left():
    found = teaching.check_audit(lambda z, y: nll(z, y).mean(), ["shift", "accumulation"])
    assert found.outcome == "not yet"
    assert found.hint.startswith("accumulation: micro-batches")


def test_an_audit_without_warnings_must_still_be_the_same_loss():
    assert teaching.check_audit(nll, ["accumulation"], like="sft")
    assert "the loss has changed" in teaching.check_audit(nll, ["accumulation"], like="dft").hint
    with pytest.raises(qt.QTargetError, match="has no check typing"):
        teaching.check_audit(nll, ["typing"])


def test_settings():
    assert teaching.check_setting(2, lambda x: x / 4, 0.5)
    assert "too little" in teaching.check_setting(1, lambda x: x / 4, 0.5).hint
    assert "too much" in teaching.check_setting(3.0, lambda x: x / 4, 0.5).hint
    assert "cannot be used" in teaching.check_setting("half", lambda x: x, 0.5).hint


def test_the_module_is_there_by_name():
    assert qt.teaching is teaching
