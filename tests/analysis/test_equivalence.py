"""equivalent: the same loss, the same up to a factor, or different, judged by gradients and said in words."""

import functools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt
from qtarget_inspect.analysis.gradient_rows import compare_gradient_rows
from qtarget_inspect.analysis.step_laws import label_law, power_law


def words(found):
    """The text on one line."""
    assert max(map(len, found.text.splitlines())) <= 120
    return " ".join(found.text.split())


def nll(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def label_p(logits, labels):
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def mean_ce(logits, labels):
    return F.cross_entropy(logits, labels)


def half(logits, labels):
    return 0.5 * nll(logits, labels)


def ascent(logits, labels):
    return -nll(logits, labels)


def gce(logits, labels, power=0.7):
    return (1 - label_p(logits, labels) ** power) / power


def eaft_over_three(logits, labels):
    top = logits.detach().topk(20).values.log_softmax(-1)
    return nll(logits, labels) * -(top.exp() * top).sum(-1) / 3.0


def casting(logits, labels):
    return F.cross_entropy(logits.float(), labels, reduction="none")


def reinforce(logits, labels, advantages):
    return advantages * nll(logits, labels)


def dropping(logits, labels):
    return nll(logits, labels) * (torch.rand(labels.shape) < 0.5)


def flat_below(logits, labels):
    """No gradient on likely labels."""
    return nll(logits, labels) * (label_p(logits, labels) < 0.5).detach()


def hf_style(outputs, labels, num_items_in_batch=None):
    shifted = labels[:, 1:].flatten()
    total = F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), shifted, ignore_index=-100, reduction="sum")
    return total / num_items_in_batch


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dft", "p-loss"),
        (gce, "beyond-log(alpha=0.7)"),
        (nll, "sft"),
        ("label-smoothing(label_smoothing=0.0)", "sft"),
        ("iw-sft", "iw-sft"),
        ("kd-hybrid(kd_weight=1.0)", "kd"),
        ("asft(kl_weight=0.0)", "dft"),
    ],
)
def test_the_same_gradient_by_another_formula(first, second):
    found = qt.equivalent(first, second)
    assert found
    assert (found.relation, found.factor, found.states) == ("same", 1.0, 1536)
    assert found.max_error < 1e-14
    assert "the same gradient on 1536 states (largest difference" in words(found)
    assert repr(found) == found.text


def test_registered_losses_are_differentiated_not_looked_up():
    def wrong(logits, labels):
        return 2 * nll(logits, labels)

    variant = qt.get("sft")
    lying = qt.Variant("lying-sft", "t", wrong, "one-hot", make_pulls=variant.make_pulls)
    assert qt.equivalent(lying, "sft").factor == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("first", "second", "factor"),
    [
        (half, "sft", 0.5),
        ("sft", half, 2.0),
        (eaft_over_three, "eaft", math.log(20) / 3.0),
        (functools.partial(lambda z, y, c: c * nll(z, y), c=1e-10), "sft", 1e-10),
        (functools.partial(lambda z, y, c: c * nll(z, y), c=1.000001), "sft", 1.000001),
    ],
)
def test_a_constant_factor_has_its_value(first, second, factor):
    found = qt.equivalent(first, second)
    assert not found
    assert found.relation == "constant factor"
    assert found.factor == pytest.approx(factor, rel=1e-9)
    assert found.max_error < 1e-14
    assert f"the same up to a constant factor {factor:.{7 if factor > 1 else 6}g}" in words(found)


def test_a_negative_factor_is_said_plainly():
    found = qt.equivalent(ascent, "sft")
    assert found.relation == "constant factor"
    assert found.factor == pytest.approx(-1.0)
    assert "opposite directions, by a constant factor -1" in words(found)


@pytest.mark.parametrize(
    ("first", "second", "law"),
    [
        ("dft", "sft", "p_y"),
        ("sft", "dft", "p_y^-1"),
        ("beyond-log(alpha=0.25)", "sft", "p_y^0.25"),
        ("eaft", "sft", f"{1 / math.log(20):.6g} top-20 entropy"),
        (lambda z, y, weights: 3 * weights * nll(z, y), "sft", "3 weights"),
        ("psft", "sft", "(p_y / p_y(old))"),
        ("sft", "eaft", f"{math.log(20):.6g} (top-20 entropy)^-1"),
        (lambda z, y: nll(z, y) / z.shape[-1], "sft", "V^-1"),
        (lambda z, y: nll(z, y) / math.log(z.shape[-1]), "sft", "(log V)^-1"),
        ("profit", "sft", "1"),
        ("iw-sft", "sft", None),
    ],
)
def test_a_per_token_factor_has_its_range_and_its_law(first, second, law):
    found = qt.equivalent(first, second)
    assert not found
    assert (found.relation, found.law) == ("per-token factor", law)
    low, high = found.factor
    known = found.factors[~np.isnan(found.factors)]
    assert found.factors.shape == (1536,)
    assert (known.min(), known.max()) == pytest.approx((low, high))
    assert "the same direction, different step per token" in words(found)


def test_dft_is_sft_times_p_y_state_by_state():
    found = qt.equivalent("dft", "sft")
    np.testing.assert_allclose(found.factors, found.p_label, rtol=1e-7)
    table = found.table()
    assert list(table.columns[:2]) == ["p_y", "factor"]
    assert table["on_a_line"].all()
    assert not table["same"].all()
    assert "dft is sft times p_y most at" in words(found)


def test_where_only_one_moves_the_factor_has_no_bound():
    found = qt.equivalent("sft", "profit")
    assert found.relation == "per-token factor"
    assert found.factor[1] == math.inf
    assert "profit(threshold=0.1) has none above rounding on" in words(found)


def test_signs_that_vary_are_different_though_on_one_line():
    found = qt.equivalent(reinforce, "sft")
    assert found.relation == "different"
    assert found.law == "advantages"
    assert found.factor[0] < 0 < found.factor[1]
    assert "opposite directions on" in words(found)


def test_different_names_the_state():
    found = qt.equivalent("asft", "dft")
    assert (found.relation, found.factor, found.law) == ("different", None, None)
    assert not found
    worst = found.worst
    assert found.max_error == pytest.approx(worst.difference)
    assert worst.difference == pytest.approx(0.05, rel=0.05)  # kl_weight: the reference has none of p's mass
    token, p, first, second = worst.top[0]
    assert token == worst.label
    assert p == pytest.approx(worst.p_label)
    assert second == pytest.approx(2 * p - p**2)
    assert first != pytest.approx(second, rel=1e-3)
    assert f"label {worst.label}" in words(found)
    assert "probe_batch(256" in words(found)


def test_the_named_state_can_be_looked_up_again():
    found = qt.equivalent("gem", "sft")
    tokens, vocabulary, seed = re.fullmatch(r"probe_batch\((\d+), (\d+), seed=(\d+)\)", found.worst.batch).groups()
    row = qt.probe_batch(int(tokens), int(vocabulary), seed=int(seed)).select(found.worst.token)
    assert int(row.labels) == found.worst.label
    q = qt.invert("gem", row).q[0]
    for token, _, first, _ in found.worst.top:
        assert float(q[token]) == pytest.approx(first)


def test_a_class_weight_is_named_by_its_label():
    batch = qt.probe_batch(512, 64)
    weight = torch.ones(64, dtype=torch.float64)
    weight[7] = 2
    found = qt.equivalent(functools.partial(F.cross_entropy, weight=weight, reduction="none"), "sft", batch)
    assert found.relation == "per-token factor"
    assert found.law == "a number for each label (2 at label 7, 1 at the others)"
    assert found.worst.label == 7


def test_thresholds_apart_by_little_are_told_apart():
    assert not qt.equivalent("profit(threshold=0.1)", "profit(threshold=0.11)")
    assert qt.equivalent("profit(threshold=0.1)", "profit(threshold=0.1)")


@pytest.mark.parametrize("loss", [mean_ce, hf_style, torch.nn.CrossEntropyLoss(reduction="sum")])
def test_reductions_are_undone_and_told(loss):
    found = qt.equivalent(loss, "sft")
    assert found
    assert "reductions differ and were undone first" in words(found)
    assert found.reductions[1] == "none: one value a token was returned"


def test_equal_reductions_are_not_mentioned():
    assert "reductions" not in words(qt.equivalent("dft", "p-loss"))


def test_float32_noise_is_forgiven_and_told():
    found = qt.equivalent(casting, "sft")
    assert found
    assert found.dtype == torch.float32
    assert 0 < found.max_error < 1e-5
    assert "casts to float32" in words(found)
    assert not qt.equivalent(lambda z, y: 1.001 * casting(z, y), "sft")


def test_a_step_near_one_shows_its_digits():
    found = qt.equivalent(lambda z, y: -(label_p(z, y) + 1e-12).log(), "sft")
    assert found.relation == "per-token factor"
    assert re.search(r"factor from 0\.9999\d+ to 1", words(found))


def test_a_gradient_of_flat_pieces_is_no_cast():
    found = qt.equivalent(lambda z, y: F.multi_margin_loss(z, y, reduction="none"), "sft")
    assert found.dtype == torch.float64


def test_random_losses_differ_from_themselves_draw_by_draw():
    found = qt.equivalent(dropping, dropping)
    assert not found
    assert "need not equal itself draw by draw" in words(found)
    assert (found.loss_a, found.loss_b) == ("dropping (first)", "dropping (second)")


def test_the_users_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    qt.equivalent(dropping, "sft", qt.probe_batch(32, 32))
    assert torch.equal(state, torch.get_rng_state())


def test_two_gradients_of_zero_are_the_same_and_tell_nothing():
    certain = qt.probe_batch(64, 32)
    certain = certain.select(certain.logits.softmax(-1).gather(-1, certain.labels[:, None])[:, 0] > 0.9)
    found = qt.equivalent(flat_below, lambda z, y: 3 * flat_below(z, y), certain)
    assert found
    assert found.max_error == 0
    assert "neither has a gradient" in words(found)
    one = qt.equivalent(flat_below, "sft", certain)
    assert one.relation == "different"
    assert "flat_below has no gradient on any of" in words(one)


def test_few_states_carry_a_warning():
    found = qt.equivalent("dft", "sft", qt.probe_batch(1, 32))
    assert found.relation == "constant factor"
    assert "on 1 state (" in words(found)
    assert "only one state has a gradient" in words(found)
    assert "V = 2" not in words(found)
    assert "with V = 2 most gradients lie on one line" in words(qt.equivalent("gem", "sft", qt.probe_batch(20, 2)))


def test_scalars_whose_reduction_cannot_be_told_are_compared_as_they_are():
    weight = torch.linspace(0.5, 2, 64, dtype=torch.float64)
    batches = [qt.probe_batch(256, 64, seed=seed) for seed in (0, 1)]

    def by_hand(logits, labels):
        return (weight[labels] * nll(logits, labels)).sum() / weight[labels].sum()

    def over_tokens(logits, labels):
        return (weight[labels] * nll(logits, labels)).mean()

    module = torch.nn.CrossEntropyLoss(weight=weight)
    with pytest.raises(qt.ReductionError, match="reduction='sum'"):
        qt.equivalent(module, by_hand, batches)
    assert qt.equivalent(module, by_hand, batches, reduction="sum")
    assert not qt.equivalent(module, over_tokens, batches, reduction="sum")


def test_batches_of_ones_own():
    batches = [qt.probe_batch(20, 40, dtype=torch.float32), qt.probe_batch(30, 50)]
    found = qt.equivalent("dft", "p-loss", batches)
    assert found
    assert found.states == 50
    assert found.batches == ("your batch 0", "your batch 1")
    assert qt.equivalent("dft", "p-loss", batches[0]).batches == ("your batch",)


def test_reductions_can_be_declared_one_each():
    def noisy_mean(logits, labels):
        return dropping(logits, labels).mean()

    with pytest.raises(qt.ReductionError, match=r"equivalent: loss_b, on 256 tokens, V = 64: noisy_mean"):
        qt.equivalent("sft", noisy_mean)
    found = qt.equivalent("sft", noisy_mean, reduction=("auto", "mean"))
    assert found.law == "1"


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ("nope", "sft", {}, r"equivalent: loss_a: no variant is named 'nope'"),
        ("sft", lambda z, y: z.detach().sum(), {}, r"loss_b, on 256 tokens.*constant in the logits"),
        ("sft", lambda z, y: 1 / 0, {}, r"loss_b.*ZeroDivisionError.*pass batch="),
        ("asft", "sft", {"batch": qt.TokenBatch(torch.zeros(1, 4), torch.tensor([0]))}, r"loss_a.*reference_logits"),
        ("sft", "dft", {"batch": []}, r"must be a TokenBatch or a list"),
        ("sft", "dft", {"batch": torch.zeros(2)}, r"must be a TokenBatch or a list"),
        ("sft", "dft", {"tolerance": 2}, r"tolerance must lie between 0 and 1"),
        ("sft", "dft", {"reduction": ("sum",)}, r"or a pair"),
    ],
)
def test_errors_name_the_argument(first, second, options, message):
    with pytest.raises(qt.QTargetError, match=f"(?s){message}"):
        qt.equivalent(first, second, **options)


def test_html_is_escaped():
    assert "<lambda>" not in qt.equivalent(lambda z, y: nll(z, y), "sft")._repr_html_()


def test_rows_near_zero_are_judged_by_what_they_are_differences_of():
    g = torch.tensor([[1.0, -1.0], [1e-17, -1e-17]], dtype=torch.float64)
    other = torch.tensor([[1.0, -1.0], [3e-17, 2e-17]], dtype=torch.float64)
    assert compare_gradient_rows(g, other, torch.float64).equal.all()
    off = torch.tensor([[1.0, -1.0], [1e-9, -1e-9]], dtype=torch.float64)
    rows = compare_gradient_rows(g, off, torch.float64)
    assert rows.equal.tolist() == [True, False]


def test_laws_refuse_what_they_do_not_meet():
    p = np.linspace(0.01, 0.99, 60)
    slack = np.full(60, 1e-9)
    assert power_law(p**2, slack, {"p_y": p}) == "p_y^2"
    assert power_law(p**2 + 1e-4, slack, {"p_y": p}) is None
    assert power_law(p[:5], slack[:5], {"p_y": p[:5]}) is None
    labels = np.arange(60) % 6
    assert label_law([1.0 + labels], [slack], [labels]) == {k: 1.0 + k for k in range(6)}
    assert label_law([p], [slack], [labels]) is None
    assert label_law([p], [slack], [np.arange(60)]) is None  # no label twice
