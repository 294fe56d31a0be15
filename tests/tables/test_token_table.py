"""token_table: every token under every loss, and the marks of telling tokens, against closed forms."""

import math

import pandas as pd
import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.tables.telling import RULES, TokenNumbers, telling_marks, telling_tokens
from qtarget_inspect.tables.token_table import COLUMNS

P = [0.1, 0.01, 0.9, 0.2, 0.5, 0.95]
TEACHER = [0.7, 0.02, 0.3, 0.2, 0.5, 0.95]


def rows_of(first, others=(1.0,)):
    """Probabilities whose first entry is given, the rest shared out in fixed parts."""
    shares = torch.tensor(others, dtype=torch.float64)
    return torch.stack([torch.cat([torch.tensor([p], dtype=torch.float64), (1 - p) * shares]) for p in first])


@pytest.fixture
def batch():
    shares = (0.6, 0.3, 0.1)
    return qt.TokenBatch(
        rows_of(P, shares).log(),
        torch.zeros(6, dtype=torch.long),
        teacher_logits=rows_of(TEACHER, shares).log(),
        tokens=["She", " has", " 12", "\n", "1", "2"],
    )


def double_sft(logits, labels):
    return -2 * logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)


def test_numbers_are_closed_forms(batch):
    table = qt.token_table(["sft", "dft", "target-sft"], batch)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 18
    dft = table[table.loss == "dft"]
    p = pd.Series(P)
    assert dft.gamma.tolist() == pytest.approx(P)
    assert dft.q_label.tolist() == pytest.approx((2 * p - p**2).tolist())
    assert dft.change.tolist() == pytest.approx((p - p**2).tolist())
    assert dft.teacher_p_label.tolist() == pytest.approx(TEACHER)
    assert dft.reference_p_label.isna().all()
    assert dft.negative_mass.tolist() == pytest.approx([0] * 6)
    parts = [0.1, 0.9 * 0.6, 0.9 * 0.3, 0.9 * 0.1]
    assert dft.entropy.iloc[0] == pytest.approx(-sum(q * math.log(q) for q in parts))
    assert dft.token.tolist() == ["She", "·has", "·12", "⏎", "1", "2"]
    assert dft.position.tolist() == [1, 2, 3, 4, 5, 6]
    assert set(zip(table.method, table.category, table.gauge, strict=True)) == {
        ("SFT", "one-hot", "unit"),
        ("DFT", "label trust", "unit"),
        ("Target-SFT", "both", "unit"),
    }


def test_float32_logits_are_read_in_float64(batch):
    wide = qt.token_table("dft", batch)
    narrow = qt.token_table("dft", batch.to(torch.float32))
    assert narrow.gamma.dtype == "float64"
    p = batch.logits.float().double().softmax(-1)[:, 0]
    assert (narrow.gamma - p.numpy()).abs().max() < 1e-15
    assert (narrow.gamma - wide.gamma).abs().max() < 1e-6


def test_a_callable_equals_the_registered_loss(batch):
    def my_dft(logits, labels):
        log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
        return (-log_p.exp().detach() * log_p).mean()

    table = qt.token_table([my_dft, "dft"], batch)
    mine, theirs = (table[table.loss == loss].reset_index() for loss in ("my_dft", "dft"))
    assert mine.gamma.tolist() == pytest.approx(theirs.gamma.tolist(), abs=1e-9)
    assert mine.q_label.tolist() == pytest.approx(theirs.q_label.tolist(), abs=1e-12)
    assert set(mine.category) == {""}


def test_marks_follow_their_thresholds(batch):
    table = qt.token_table("sft", batch)
    assert table.telling.tolist() == ["rescue", "filter", "doubted", "", "", ""]


def test_marks_do_not_depend_on_other_tokens(batch):
    whole = qt.token_table("sft", batch)
    alone = pd.concat([qt.token_table("sft", batch.select(i)) for i in range(6)])
    assert alone.telling.tolist() == whole.telling.tolist()


def test_conflict_and_signed_and_no_teacher():
    p = torch.tensor([[0.1, 0.9], [0.45, 0.55], [0.9, 0.1]], dtype=torch.float64)
    batch = qt.TokenBatch(p.log(), torch.zeros(3, dtype=torch.long))
    table = qt.token_table(["sft", double_sft], batch)
    assert table.teacher_p_label.isna().all()
    # negative mass of twice SFT is 1 - p_y: 0.9, 0.55, 0.1
    assert table[table.loss == "double_sft"].negative_mass.tolist() == pytest.approx([0.9, 0.55, 0.1])
    assert table[table.loss == "sft"].telling.tolist() == ["conflict", "signed", "signed"]
    assert qt.token_table("sft", batch).telling.tolist() == ["conflict", "", ""]
    assert table.token.tolist() == ["token 0"] * 6


def test_a_mark_is_the_same_under_all_losses(batch):
    table = qt.token_table(["sft", double_sft, "dft"], batch)
    assert (table.groupby("position").telling.nunique() == 1).all()


def test_what_is_undefined_is_nan(batch):
    """The natural gauge of a loss that nothing explains is unit, and its gamma unknown."""
    table = qt.token_table("logit-norm", batch)
    assert table.gamma.isna().all()
    assert set(table.gauge) == {"unit"}
    assert table.q_label.notna().all()


def test_the_docstring_states_the_rules():
    stated = " ".join(qt.token_table.__doc__.split())
    words = {
        "rescue": "teacher_p_y - p_y >= {}",
        "filter": "p_y and teacher_p_y <= {}",
        "doubted": "p_y - teacher_p_y >= {}",
        "conflict": "max p - p_y >= {}",
        "signed": "negative mass >= {}",
    }
    for rule in RULES:
        assert f"{rule.name} ({words[rule.name].format(abs(rule.least))}" in stated


def numbers(p, teacher, top=None, negative=None):
    p = torch.tensor(p)
    zero = torch.zeros_like(p)
    return TokenNumbers(p, torch.tensor(teacher), p if top is None else torch.tensor(top), negative or zero)


def test_thresholds_are_met_not_passed():
    assert telling_marks(numbers([0.0, 0.0], [0.3, 0.29])) == ["rescue", ""]
    assert telling_marks(numbers([0.05, 0.0501], [0.01, 0.01])) == ["filter", ""]


def test_the_first_rule_that_applies_marks():
    assert telling_marks(numbers([0.2], [0.9], top=[0.7])) == ["rescue"]


def test_one_token_a_rule_and_none_twice():
    found = telling_tokens(numbers([0.1, 0.01, 0.9, 0.4, 0.5], [0.7, 0.02, 0.3, 0.4, 0.5]))
    assert [token.name for token in found] == [rule.name for rule in RULES]
    assert [token.index for token in found][:3] == [0, 1, 2]
    assert len({token.index for token in found}) == 5


def test_without_a_teacher_its_rules_find_nothing():
    nan = [float("nan")] * 3
    found = telling_tokens(numbers([0.1, 0.5, 0.6], nan, top=[0.9, 0.5, 0.6]))
    assert [token.name for token in found] == ["conflict", "signed"]
    assert found[0].index == 0


@pytest.mark.parametrize(
    ("losses", "options", "message"),
    [
        ([], {}, "losses is empty"),
        ("no-such-loss", {}, "no variant is named"),
        ("sft", {"gauge": "metric"}, "gauge must be one of"),
        (3, {}, "a loss is a callable"),
        (["dft", "sft", "dft"], {}, "2 losses are named dft, and rows are told apart by name"),
        ([double_sft, double_sft], {}, "2 losses are named double_sft"),
    ],
)
def test_bad_input_is_refused(batch, losses, options, message):
    with pytest.raises(qt.QTargetError, match=message):
        qt.token_table(losses, batch, **options)


def test_a_batch_is_asked_for():
    with pytest.raises(qt.BatchError, match="must be a TokenBatch, not list"):
        qt.token_table("sft", [1, 2])
