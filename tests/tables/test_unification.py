"""The unification table: computed verdicts, and verdicts that change when the facts do."""

import dataclasses

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.verification import verify
from qtarget_inspect.tables.unification import COLUMNS, verdict


@pytest.fixture(scope="module")
def table():
    return qt.unification_table()


def test_sixteen_rows_fifteen_hold(table):
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 16
    failed = table[table["holds"] == False]  # noqa: E712
    assert failed["method"].tolist() == ["Proximal SFT"]
    assert (table[table["holds"] == True]["max_error"] <= 1e-10).all()  # noqa: E712
    assert verdict(table).startswith("16 rows: 15 hold, 1 does not. ")
    assert "512 states (float64)" in verdict(table)


def test_gauges_are_found(table):
    gauges = dict(zip(table["method"], table["gauge"], strict=True))
    both = {"SFT", "label smoothing", "KD", "hybrid KD", "Target-SFT"}
    normalized = {"SFT + KL", "ASFT"}
    for method, gauge in gauges.items():
        assert gauge == ("both" if method in both else "normalized" if method in normalized else "unit"), method


def test_notes_say_what_inversion_finds(table):
    note = table.set_index("method")["note"]
    assert "found: gamma = r 1[r < 1.28], residual = model" in note["Proximal SFT"]
    assert "the same gradient as DFT, without its stop-gradient" in note["p-loss"]
    assert "gamma = 1 throughout" in note["DFT"]
    assert "there is no normalized gauge" in note["GEM"]
    assert "coupled by a detached weight per sequence" in note["iw-SFT"]
    assert "not in the unit gauge" in note["ASFT"]


def test_signed_targets(table):
    signed = set(table[table["signed"] == True]["method"])  # noqa: E712
    assert signed == {"iw-SFT", "Proximal SFT", "GEM"}
    assert table.set_index("method").loc["iw-SFT", "gamma_max"] == pytest.approx(16)
    assert 1 < table.set_index("method").loc["Proximal SFT", "gamma_max"] <= 1.28


def test_kinds():
    assert qt.unification_table("label-trust")["method"].tolist()[0] == "SFT"
    assert len(qt.unification_table("label-trust")) == 9
    residual = qt.unification_table("residual")["method"].tolist()
    assert (len(residual), residual[-1]) == (8, "Target-SFT")
    with pytest.raises(qt.QTargetError, match="kind must be one of paper"):
        qt.unification_table("papers")


def test_a_wrong_claim_is_caught():
    """The table cannot be talked into a verdict: with the claim of ASFT on the loss of SFT + KL it says no."""
    wrong = dataclasses.replace(
        qt.get("sft-kl"), make_claim=lambda kl_weight: qt.get(f"asft(kl_weight={kl_weight})").claim
    )
    found = verify(wrong, qt.probe_batch())
    assert not found.holds
    assert found.check.max_error > 0.1


def test_a_claim_that_says_nothing_does_not_hold():
    """On states where the reference is the model, the residual of ASFT is not tested."""
    batch = qt.probe_batch(64, 40)
    batch = batch.with_logits(batch.logits, reference_logits=batch.logits.clone())
    found = verify(qt.get("asft"), batch)
    assert all(check.vacuous for check in found.checks.values())
    assert not found.holds


def test_the_loss_is_differentiated_never_its_closed_form():
    """A loss that betrays its pulls and claim is found out."""
    betrayer = dataclasses.replace(qt.get("dft"), loss=qt.losses.sft)
    assert not verify(betrayer, qt.probe_batch(64, 40)).holds


def test_own_states_and_float32():
    batch = qt.probe_batch(96, 40, seed=5)
    single = qt.unification_table(batch=batch, dtype=torch.float32)
    assert single.attrs["dtype"] == "float32"
    assert (single[single["method"] != "Proximal SFT"]["holds"] == True).all()  # noqa: E712
    lean = qt.TokenBatch(batch.logits, batch.labels)
    partial = qt.unification_table(batch=lean)
    assert partial["note"].str.contains("not checked: the batch has no").sum() == 8
    assert "8 could not be checked" in verdict(partial)
