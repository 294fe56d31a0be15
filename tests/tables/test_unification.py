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
    assert "found: gamma = r 1[r <= 1.28], residual = model" in note["Proximal SFT"]
    assert "on these states the same gradient as DFT, without its stop-gradient" in note["p-loss"]
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
    assert found.holds is False
    assert found.check.max_error > 0.1


def test_a_claim_that_says_nothing_does_not_hold():
    """On states where the reference is the model, the residual of ASFT is not tested."""
    batch = qt.probe_batch(64, 40)
    batch = batch.with_logits(batch.logits, reference_logits=batch.logits.clone())
    found = verify(qt.get("asft"), batch)
    assert found.checks["normalized"].vacuous
    assert found.holds is None
    table = qt.unification_table(batch=batch).set_index("method")
    assert table.loc["ASFT", "holds"] is None
    assert "not testable on these states" in table.loc["ASFT", "note"]
    assert "reference equals the model" in table.loc["ASFT", "note"]
    assert table.loc["DFT", "holds"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_verdict_is_the_same_on_other_states_and_in_float32(dtype, seed):
    table = qt.unification_table(batch=qt.probe_batch(256, 40, seed=seed), dtype=dtype)
    assert table[table["holds"] != True]["method"].tolist() == ["Proximal SFT"]  # noqa: E712
    assert set(table[table["signed"] == True]["method"]) == {"iw-SFT", "Proximal SFT", "GEM"}  # noqa: E712


def test_two_tokens_cannot_test_a_claim_with_a_free_gamma():
    found = verify(qt.get("psft"), qt.probe_batch(64, 2))
    assert found.holds is None


def test_a_claim_is_held_to_the_gauge_it_is_meant_in():
    always = dataclasses.replace(
        qt.get("dft"),
        make_claim=lambda: qt.Claim("unit", "1", "1", "-", "-", gamma=lambda s: torch.ones_like(s.p_label)),
    )
    found = verify(always, qt.probe_batch(64, 40))
    assert found.holds is False
    assert found.checks["normalized"].holds


def test_wrong_pulls_are_found_out_and_not_used():
    from qtarget_inspect.tables.notes import note
    from qtarget_inspect.vocabulary import directions
    from qtarget_inspect.vocabulary.pulls import Pulls

    wrong = dataclasses.replace(qt.get("dft"), make_pulls=lambda: Pulls.of((directions.label(), 0.3)))
    found = verify(wrong, qt.probe_batch(64, 40))
    assert found.holds  # the claim is right
    assert "the declared pulls are off Q by 0.3; gamma is fitted instead" in note(found)
    assert float(found.reading.gamma.max()) > 0.99


def test_a_claim_without_pulls_is_checked_with_a_fit():
    bare = dataclasses.replace(qt.get("asft"), make_pulls=None)
    found = verify(bare, qt.probe_batch(128, 40))
    assert found.holds
    assert found.gauge == "normalized"


def test_large_targets_are_judged_by_their_size():
    assert verify(qt.get("beyond-log(alpha=-1)"), qt.probe_batch(128, 40)).holds


def test_a_loss_that_raises_does_not_take_the_table_down():
    @qt.register("test-raises")
    def raises(logits, labels):
        raise KeyError("inside")

    try:
        row = qt.unification_table("all").set_index("method").loc["test-raises"]
        assert row["holds"] is None
        assert "could not be computed" in row["note"]
    finally:
        qt.unregister("test-raises")


def test_the_loss_is_differentiated_never_its_closed_form():
    """A loss that betrays its pulls and claim is found out."""
    betrayer = dataclasses.replace(qt.get("dft"), loss=qt.losses.sft)
    assert verify(betrayer, qt.probe_batch(64, 40)).holds is False


@pytest.fixture(scope="module")
def everything():
    return qt.unification_table("all")


def test_rows_without_a_claim_say_what_inversion_finds(everything):
    beyond = everything.iloc[16:].set_index("method")
    assert len(beyond) >= 36
    assert beyond["holds"].isna().all()
    assert beyond["note"].str.startswith("no claim; found: ").all()
    note = beyond["note"]
    assert "gamma = 1 + p_y, residual = model (unit gauge" in note["Poly-1"]
    assert "gamma = 0, residual = p without y (unit gauge" in note["unlikelihood"]
    assert "tilt by log p (pull 1) and tilt by log teacher (pull -1)" in note["reverse KL"]
    assert "residual = p^0.5 teacher^0.5 / Z (normalized gauge" in note["alpha-divergence"]
    assert "beyond-log(alpha=0.7) under another name" in note["generalised CE"]
    assert "coupled by gradient that flows between the tokens of the two sequences of a pair" in note["DPO"]
    assert beyond.loc["SFT + z-loss", "mass_error"] > 1e-3
    assert f"{len(beyond)} claim nothing (gamma and residual are as found)" in verdict(everything)


def test_losses_without_pulls_are_not_explained_away(everything):
    rows = everything.set_index("method")
    for method in ("token unlikelihood", "SFT + squared logits", "logit normalisation"):
        assert "no known attractors explain it (the best fit leaves" in rows.loc[method, "note"]
        assert rows.loc[method, ["gamma_min", "gamma_max"]].isna().all()
        assert rows.loc[method, "signed"]


def test_what_people_read_stands_in_the_columns(everything):
    from qtarget_inspect.tables.writers import display_table

    shown = display_table(everything).set_index("method")
    assert shown.loc["GRPO", ["gamma", "residual", "holds"]].tolist() == [
        "A r (clipped to [0.8, 1.2]) + 0.04 (ref_y / p_y - 1)",
        "model",
        "-",
    ]
    assert shown.loc["logit normalisation", ["gamma", "residual", "gamma range"]].tolist() == [
        "unknown",
        "unknown",
        "-",
    ]
    latex = qt.write_table(everything, "latex")
    assert latex.count("the claim does not hold") == 1


def test_own_states_and_float32():
    batch = qt.probe_batch(96, 40, seed=5)
    single = qt.unification_table(batch=batch, dtype=torch.float32)
    assert single.attrs["dtype"] == "float32"
    assert (single[single["method"] != "Proximal SFT"]["holds"] == True).all()  # noqa: E712
    lean = qt.TokenBatch(batch.logits, batch.labels)
    partial = qt.unification_table(batch=lean)
    assert partial["note"].str.contains("not checked: the batch has no").sum() == 8
    assert "8 cannot be told on these states" in verdict(partial)
