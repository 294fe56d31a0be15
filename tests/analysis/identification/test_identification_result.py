"""Identification: its fields, its row and table, its text; predictions come from the laws, the loss is let go."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import pandas as pd
import pytest
import torch
from torch import Tensor

import qtarget_inspect as qt

from .judging import TOLERANCE, inverted, label_prob, nll, row_error, weighted
from .states import fresh_states


class Counting:
    """sqrt(p_y)-weighted cross-entropy that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return label_prob(logits, labels).sqrt() * nll(logits, labels)


def asymmetric(logits: Tensor, labels: Tensor, reference_logits: Tensor) -> Tensor:
    """sg[p_y] SFT + 0.25 KL(reference‖p)."""
    other = reference_logits.softmax(-1)
    return label_prob(logits, labels) * nll(logits, labels) - 0.25 * (other * logits.log_softmax(-1)).sum(-1)


@pytest.fixture(scope="module")
def root() -> qt.Identification:
    return qt.identify(weighted(torch.sqrt))


@pytest.fixture(scope="module")
def anchored() -> qt.Identification:
    return qt.identify(asymmetric)


@pytest.fixture(scope="module")
def unknown() -> qt.Identification:
    return qt.identify(weighted(torch.tanh))


def test_a_label_trust_loss(root):
    assert (root.category, root.gauge) == ("label trust", "unit")
    assert (root.gamma_law.text, root.residual.text) == ("p_y^0.5", "model")
    assert root.gamma_params["exponent"] == pytest.approx(0.5, abs=1e-12)
    assert root.residual_params == {}
    assert root.precision == torch.float64
    assert root.unexplained < 1e-12
    assert root.warnings == ()
    assert root.unknown == ()
    assert root.has_law
    assert root.pulls is not None
    assert root.pulls.text == "{label: p_y^0.5}"


def test_a_loss_with_an_anchor_reads_in_the_normalized_gauge(anchored):
    assert (anchored.category, anchored.gauge) == ("both", "normalized")
    assert (anchored.gamma_law.text, anchored.residual.text) == ("p_y / (p_y + 0.25)", "reference")
    assert anchored.residual_params["reference: constant"] == pytest.approx(0.25, abs=1e-12)
    assert anchored.gamma_params["reference: constant"] == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("name", ["root", "anchored"])
def test_formulas_have_latex(name, request):
    found = request.getfixturevalue(name)
    for formula in (found.gamma_law, found.residual):
        assert formula.text == str(formula)
        assert formula.latex
        assert formula.latex.count("{") == formula.latex.count("}")
        assert formula._repr_latex_() == f"${formula.latex}$"
    assert r"^{0.5}" in qt.identify("beyond-log(alpha=0.5)").gamma_law.latex


def test_predictions_are_the_mathematics(root, anchored):
    states = fresh_states()
    p = label_prob(states.logits, states.labels)
    assert root.predict_gamma(states).shape == (len(states),)
    assert torch.allclose(root.predict_gamma(states), p.sqrt(), rtol=1e-9, atol=0)
    assert torch.allclose(anchored.predict_gamma(states), p / (p + 0.25), rtol=1e-9, atol=0)
    assert root.predict_q(states).shape == states.logits.shape
    assert row_error(anchored.predict_q(states), inverted(asymmetric, states)) < TOLERANCE


def test_the_normalized_target_is_a_mixture_of_label_and_reference(anchored):
    states = fresh_states()
    gamma = anchored.predict_gamma(states).unsqueeze(-1)
    one_hot = torch.nn.functional.one_hot(states.labels, states.vocabulary)
    expected = gamma * one_hot + (1 - gamma) * states.reference_logits.softmax(-1)
    assert row_error(anchored.predict_q(states, "normalized"), expected) < 1e-9
    with pytest.raises(qt.QTargetError, match="unit or normalized"):
        anchored.predict_q(states, "absolute")


def test_a_missing_context_is_named_by_predictions(anchored):
    states = fresh_states()
    bare = qt.TokenBatch(states.logits, states.labels)
    assert anchored.predict_gamma(bare).isfinite().all()  # p_y / (p_y + 0.25) needs none
    with pytest.raises(qt.QTargetError, match="reference_logits"):
        anchored.predict_q(bare)


def test_predictions_do_not_call_the_loss():
    loss = Counting()
    found = qt.identify(loss)
    calls = loss.calls
    assert calls > 0
    found.predict_gamma(fresh_states())
    found.predict_q(fresh_states())
    found.row(), found.table(), repr(found), found._repr_html_()
    assert loss.calls == calls


def test_the_loss_is_not_kept():
    loss = Counting()
    gone = weakref.ref(loss)
    found = qt.identify(loss)
    del loss
    gc.collect()
    assert gone() is None
    assert found.predict_gamma(fresh_states()).isfinite().all()


def test_identify_leaves_random_numbers_and_gradients_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    states = fresh_states()
    logits, labels = states.logits.clone(), states.labels.clone()
    qt.identify("dft", states)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(states.logits, logits)
    assert torch.equal(states.labels, labels)
    assert torch.is_grad_enabled()


def test_two_identifications_of_a_loss_are_equal():
    first, second = qt.identify("target-sft"), qt.identify("target-sft")
    assert first.text == second.text
    pd.testing.assert_frame_equal(first.table(), second.table())


def test_without_a_law_predictions_refuse_and_name_the_remedy(unknown):
    assert not unknown.has_law
    for predict in (unknown.predict_gamma, unknown.predict_q):
        with pytest.raises(qt.QTargetError, match=r"no law was found .*label.*qt\.invert.*table\(\)"):
            predict(fresh_states())


def test_without_directions_predictions_refuse():
    found = qt.identify("logit-norm")
    assert (found.category, found.pulls) == ("unknown", None)
    with pytest.raises(qt.QTargetError, match=r"no known directions.*qt\.invert"):
        found.predict_q(fresh_states())


def test_the_row_is_one_row_of_the_table(root):
    row = root.row()
    assert len(row) == 1
    assert {"loss", "category", "gauge", "gamma", "residual", "unexplained", "nearest"} <= set(row)
    values = row.iloc[0]
    assert (values["gamma"], values["residual"]) == ("p_y^0.5", "model")
    assert values["category"] == "label trust"
    assert values["precision"] == "float64"


def test_the_table_has_a_row_a_token(root, unknown):
    for found in (root, unknown):
        table = found.table()
        assert {"p_y", "entropy", "vocabulary", "held_back", "pull label", "law label", "unexplained"} <= set(table)
        assert table["held_back"].any()
        assert not table["held_back"].all()
        assert table["p_y"].min() < 1e-7
        assert table["p_y"].max() > 1 - 1e-7
        assert table["vocabulary"].nunique() >= 2
        assert table["vocabulary"].min() >= 32
    table = root.table()
    known = table["rounding label"] < 1e-9
    assert ((table["law label"] - table["pull label"]).abs()[known] < 1e-7).all()
    assert (table["law label"] ** 2 - table["p_y"]).abs().max() < 1e-12
    assert unknown.table()["law label"].isna().all()


def test_a_table_is_not_shared(root):
    table = root.table()
    table["p_y"] = -1.0
    assert (root.table()["p_y"] > 0).all()


def test_the_text_says_it_all(root):
    lines = repr(root).splitlines()
    assert "label trust · unit gauge · unexplained" in lines[0]
    for words in ("gamma", "p_y^0.5", "residual", "model", "nearest", "beyond-log(alpha=0.5): the same gradient"):
        assert words in repr(root)
    assert repr(root) == str(root) == root.text


@pytest.mark.slow
def test_texts_are_no_wider_than_a_terminal():
    for name in ("grpo", "orpo", "unlikelihood-tokens", "kd-hybrid-temperature"):
        assert max(map(len, qt.identify(name).text.splitlines())) <= 120


def test_html_is_escaped_and_says_the_same(unknown):
    page = qt.identify(weighted(lambda p: (p < 0.25).to(p)))._repr_html_()
    assert "&lt;" in page
    assert "1[p_y <= " not in page
    assert "<script" not in page
    for found in (unknown,):
        html = found._repr_html_()
        assert "unknown law" in html
        assert all(warning.split(" (")[0] in html for warning in found.warnings)


def test_it_is_frozen(root):
    with pytest.raises(dataclasses.FrozenInstanceError):
        root.category = "one-hot"


def test_the_nearest_is_exact_where_there_is_a_twin(root):
    first = root.nearest[0]
    assert first.text == "beyond-log(alpha=0.5): the same gradient"
    assert first.distance < 1e-9
    assert len(root.nearest) > 1
    distances = [one.distance for one in root.nearest if not one.relation]
    assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("loss", "twins"),
    [
        (weighted(lambda p: p), {"dft", "p-loss"}),
        (weighted(lambda p: p**0.7), {"gce(alpha=0.7)"}),
        (weighted(lambda p: 1 + p), {"poly-1(poly_weight=1.0)"}),
        (weighted(lambda p: (p > 0.1).to(p)), {"profit(threshold=0.1)", "thresholded-log(threshold=0.1)"}),
    ],
)
def test_exact_twins_are_all_named(loss, twins):
    same = {one.name for one in qt.identify(loss).nearest if one.relation == "the same gradient"}
    assert twins <= same


def test_a_constant_factor_is_said_with_the_factor():
    first = qt.identify(weighted(lambda p: 3 * p)).nearest[0]
    assert first.factor == pytest.approx(3.0, rel=1e-9)
    assert first.text.endswith("the same up to the factor 3")


def test_a_registered_loss_is_its_own_nearest():
    for name in ("p-loss", "forward-kl", "k3"):
        assert qt.identify(name).nearest[0].name.split("(")[0] == name
