"""The properness table: rows in words that were checked, and a row for everything that is registered."""

import math

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.tables.properness import COLUMNS


@pytest.fixture(scope="module")
def paper():
    return qt.properness_table(kind="paper").set_index("method")


def test_the_papers_rows(paper):
    assert len(paper) == 16
    assert paper["verdict"].to_dict() == {
        "sft": "proper",
        "dft": "collapsing",
        "p-loss": "collapsing",
        "beyond-log(alpha=10.0)": "multi-stable",
        "profit(threshold=0.1)": "multi-stable",
        "eaft(top_k=20)": "proper",
        "iw-sft(maximum=16.0)": "collapsing",
        "cft": "proper",
        "label-smoothing(label_smoothing=0.1)": "flattening",
        "sft-kl(kl_weight=0.1)": "anchored",
        "asft(kl_weight=0.05)": "anchored",
        "psft(epsilon=0.2, epsilon_high=0.28)": "proper",
        "gem(beta=0.7)": "flattening",
        "kd(temperature=1.0)": "anchored",
        "kd-hybrid(kd_weight=0.5)": "anchored",
        "target-sft(eta=0.5)": "anchored",
    }


def test_forms_are_named_where_they_hold(paper):
    words = paper["learned"]
    assert words["sft"] == "q*"
    assert words["dft"] == "the vertex of token 0, argmax q*"
    assert words["gem(beta=0.7)"] == "q*^0.7 / Z"
    assert words["label-smoothing(label_smoothing=0.1)"] == "0.9 q* + 0.1 uniform"
    assert words["sft-kl(kl_weight=0.1)"] == "0.9091 q* + 0.09091 reference"
    assert words["kd(temperature=1.0)"] == "teacher"
    assert words["target-sft(eta=0.5)"] == "teacher (1 - q*)^-2 / Z"
    assert words["asft(kl_weight=0.05)"].startswith("[0.")  # no simple form
    assert words["profit(threshold=0.1)"] == "q* (not every q*)"


def test_numbers_belong_together(paper):
    assert tuple(paper.columns) == COLUMNS[1:]
    q_star = torch.tensor(paper.attrs["q_star"], dtype=torch.float64)
    for _, row in paper.iterrows():
        p = torch.tensor(row["p"], dtype=torch.float64)
        assert float(p.sum()) == pytest.approx(1)
        assert row["total_variation"] == pytest.approx(0.5 * float((p - q_star).abs().sum()))
        assert row["stable_points"] >= 1


def test_a_row_for_what_has_no_view_and_for_what_fails():
    paired = qt.Variant("paired-test", "pairs", qt.losses.sft, "preference")

    def fails(logits, labels):
        raise ZeroDivisionError("on purpose")

    failing = qt.Variant("failing-test", "fails", fails, "one-hot")
    qt.register(paired)
    qt.register(failing)
    try:
        rows = qt.properness_table(kind="preference").set_index("method").loc["paired-test"]
        broken = qt.properness_table(kind="one-hot").set_index("method").loc["failing-test"]
    finally:
        qt.unregister("paired-test")
        qt.unregister("failing-test")
    assert rows["verdict"] == "not defined"
    assert "compares whole sequences" in rows["note"]
    assert math.isnan(rows["total_variation"])
    assert broken["verdict"] == "not defined"
    assert "on purpose" in broken["note"]


def test_another_q_star_and_context():
    table = qt.properness_table([0.1, 0.2, 0.3, 0.4], kind="one-hot")
    assert table["learned"].tolist() == ["q*"]
    assert len(table.attrs["teacher"]) == 4


def test_bad_input():
    with pytest.raises(qt.QTargetError, match="kind must be one of"):
        qt.properness_table(kind="everything")
    with pytest.raises(qt.QTargetError, match="q_star must sum to 1"):
        qt.properness_table([0.5, 0.6])


@pytest.mark.slow
def test_everything_that_is_registered_has_a_row():
    table = qt.properness_table()
    assert table["method"].tolist() == [variant.label for variant in qt.variants().values()]
    undefined = table[table["verdict"] == "not defined"]
    assert set(undefined["category"]) <= {"preference"}
