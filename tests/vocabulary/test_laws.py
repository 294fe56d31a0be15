"""Trust laws: values against plain formulas, and formulas that read as they are computed."""

import math

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import laws
from qtarget_inspect.vocabulary.formula import Binding, Law

P = laws.label_prob()
SUM = Law("a - b", "a - b", lambda s: s.p_label - 1, binding=Binding.SUM)

WRITTEN = [
    (1 + laws.constant(-0.5) * P, "1 - 0.5 p_y"),
    (P + laws.constant(-0.5), "p_y - 0.5"),
    (P - laws.constant(-0.5), "p_y + 0.5"),
    (P - 0.5, "p_y - 0.5"),
    (1 + -P, "1 - p_y"),
    (1 - -P, "1 + p_y"),
    (-P + 1, "-p_y + 1"),
    (2 + (-P + 1), "2 + (-p_y + 1)"),
    (1 - (-P + 1), "1 - (-p_y + 1)"),
    (1 - (1 - P), "1 - (1 - p_y)"),
    (-(1 - P), "-(1 - p_y)"),
    (-1 * -P, "p_y"),
    (P * -2, "-2 p_y"),
    (-1 * P, "-p_y"),
    (-P * -P, "p_y p_y"),
    (P * 0.5, "0.5 p_y"),
    (0.5 * (2 * P), "0.5 (2 p_y)"),
    (0.5 * (1 - P), "0.5 (1 - p_y)"),
    (SUM * P, "(a - b) p_y"),
    (P / (1 - P), "p_y / (1 - p_y)"),
    ((1 - P) / (1 - P + 0.5), "(1 - p_y) / (1 - p_y + 0.5)"),
    (P / (2 * P), "p_y / (2 p_y)"),
    (P / (P / 2), "p_y / (p_y / 2)"),
    ((P / 2) / P, "(p_y / 2) / p_y"),
    ((P / 2) * P, "(p_y / 2) p_y"),
    (2 * (P / (P + 1)), "2 p_y / (p_y + 1)"),
    (1 / P, "1 / p_y"),
    (-1 / P, "-1 / p_y"),
    ((1 - P) / -2, "-(1 - p_y) / 2"),
    (1 - P / (P + 1), "1 - p_y / (p_y + 1)"),
    (laws.normalized_top_k_entropy(20) * P, "(H_20/ln 20) p_y"),
    (P / laws.normalized_top_k_entropy(20), "p_y / (H_20/ln 20)"),
    (laws.ratio_below(1.28) / (1 + P), "r 1[r <= 1.28] / (1 + p_y)"),
    (1 * P / 1 + 0 - 0, "p_y"),
    (0 - P, "-p_y"),
    (0 + P, "p_y"),
    (2 * laws.constant(0.25) + 1, "1.5"),
    (1 / laws.constant(4), "0.25"),
    (-laws.constant(0.0), "0"),
]


@pytest.fixture(scope="module")
def state() -> State:
    return State(qt.probe_batch(64, 30))


@pytest.mark.parametrize(("law", "text"), WRITTEN, ids=[text for _, text in WRITTEN])
def test_formulas_are_written_with_the_right_parentheses(law, text):
    assert law.text == text


def python_of(text: str) -> str:
    """A formula of p_y and numbers as Python."""
    words = text.replace("(", " ( ").replace(")", " ) ").split()
    out: list[str] = []
    for word in words:
        ends = bool(out) and (out[-1] in (")", "p_y") or out[-1].lstrip("-").replace(".", "").isdigit())
        starts = word == "(" or word == "p_y" or word.replace(".", "").isdigit()
        out += ["*", word] if ends and starts else [word]
    return " ".join(out).replace("-p_y", "- p_y")


@pytest.mark.parametrize(("law", "text"), [w for w in WRITTEN if not set("aHrw") & set(w[1])])
def test_formulas_say_what_is_computed(law, text, state):
    value = eval(python_of(text), {"p_y": state.p_label})
    expected = value if isinstance(value, torch.Tensor) else torch.full_like(state.p_label, value)
    assert torch.allclose(law(state), expected, rtol=1e-13)


def test_latex_follows_the_text():
    assert ((1 - P) / (0.5 * P + 1e-7)).latex == r"(1 - p_y) / (0.5\,p_y + 10^{-7})"
    assert (1 + laws.constant(-0.5) * P).latex == r"1 - 0.5\,p_y"


def test_values_are_what_the_formulas_say(state):
    batch = state.batch
    p = batch.logits.softmax(-1)
    p_y = p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)
    old_y = batch.old_logits.softmax(-1).gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)
    ratio = p_y / old_y
    top = p.sort(-1, descending=True).values[:, :20]
    top = top / top.sum(-1, keepdim=True)
    top_entropy = -(top * top.log()).sum(-1)
    for law, expected in [
        (laws.label_prob(2.5), p_y**2.5),
        (laws.label_prob(0.0), torch.ones_like(p_y)),
        (laws.label_prob_above(0.1), (p_y > 0.1).to(p_y)),
        (laws.ratio_below(1.28), torch.where(ratio <= 1.28, ratio, 0.0)),
        (laws.normalized_top_k_entropy(20), top_entropy / math.log(20)),
        (laws.critical_mask(), batch.critical.to(p_y)),
        (laws.constant(0.3), torch.full_like(p_y, 0.3)),
        (-P, -p_y),
    ]:
        assert torch.allclose(law(state), expected, rtol=1e-9, atol=1e-15), law.text


def test_trajectory_weights_are_one_a_sequence(state):
    weights = laws.trajectory_weight(16.0)(state)
    batch = state.batch
    ratio = state.log_p_label - batch.reference_logits.log_softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)
    for sequence in batch.sequence_ids.unique():
        member = batch.sequence_ids == sequence
        assert torch.allclose(weights[member], ratio[member].mean().exp().clamp(max=16.0))


def test_context_that_laws_need_is_collected_once():
    law = laws.critical_mask() / (laws.ratio_below(1.2) + laws.critical_mask())
    assert law.requires == ("critical", "old_logits")


@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_law_is_refused():
    with pytest.raises(qt.QTargetError, match="cannot be divided by 0"):
        P / 0
    with pytest.raises(qt.QTargetError, match="a constant weight is a number"):
        laws.constant("a")
    for bad in ("a", None, True):
        with pytest.raises(TypeError, match="unsupported operand"):
            P + bad
