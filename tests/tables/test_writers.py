"""Writers: every format, escapes, and LaTeX that compiles where there is a TeX."""

import io
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest

import qtarget_inspect as qt
from qtarget_inspect.tables.writers import display_table, escape_latex, show, write_table


@pytest.fixture(scope="module")
def table():
    return qt.unification_table()


def test_csv_and_json_hold_everything(table):
    back = pd.read_csv(io.StringIO(write_table(table, "csv")))
    assert back.shape == table.shape
    assert back["max_error"].tolist() == pytest.approx(table["max_error"].tolist())
    record = json.loads(write_table(table, "json"))
    assert (record["states"], record["dtype"], len(record["rows"])) == (512, "float64", 16)
    assert record["rows"][11]["holds"] is False


def test_text_shows_claimed_and_found_where_they_differ(table):
    lines = write_table(table, "text").splitlines()
    assert len(lines) == 17
    proximal = next(line for line in lines if line.startswith("Proximal"))
    assert "claimed: old policy; found: model" in proximal
    assert "NO" in proximal
    assert sum("NO" in line for line in lines) == 1


def test_markdown_is_a_table_with_notes(table):
    lines = write_table(table, "markdown").splitlines()
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:18]}
    assert len(bars) == 1
    assert any(line.startswith("* Proximal SFT: claim fails") for line in lines)


def test_html_is_escaped(table):
    html = write_table(table, "html")
    assert "1[p_y &gt; 0.1]" in html
    assert html.count("<tr>") == 17


def test_latex_escapes_and_uses_only_two_packages(table):
    latex = write_table(table, "latex")
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    assert r"\mathbb" not in latex
    outside = re.sub(r"\$[^$]*\$", "", latex)
    assert not re.search(r"(?<!\\)[_^#%]", outside)
    frame = pd.DataFrame({"a_b": ["50 % & {x} $y$ #1 ~ ^ \\ < |"]})
    assert "\\%" in write_table(frame, "latex")
    assert escape_latex("a_b") == r"a\_b"


@pytest.mark.slow
def test_latex_compiles_alone(table, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no TeX here: the tables' escapes are checked, their compilation is not")
    comparison = qt.compare(["sft", "asft", "gem"], qt.probe_batch(64, 40), resamples=20)
    odd = pd.DataFrame({"a_b": ["50 % & {x} $y$ #1 ~ ^ \\ < |"]})
    body = "\n\n".join(write_table(frame, "latex") for frame in (table, comparison, odd))
    source = "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage{booktabs}\n"
    source += "\\begin{document}\n" + body + "\n\\end{document}\n"
    (tmp_path / "table.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_comparison_has_short_columns():
    frame = qt.compare(["sft", "gem"], qt.probe_batch(64, 40), resamples=20)
    shown = display_table(frame)
    assert list(shown.columns) == [
        "loss", "gauge", "gamma", "5 % to 95 %", "TV(Q, p)", "KL(Q‖p)", "H(residual)", "negative mass", "signed",
    ]  # fmt: skip
    assert shown["H(residual)"].tolist() == ["undefined", "undefined"]
    assert re.search(r"on \d+ %$", shown["KL(Q‖p)"][1])


def test_cells():
    assert [show(value) for value in (1e-5, 0.5, True, None, float("nan"))] == ["1e-05", "0.5", "yes", "-", "-"]
    with pytest.raises(qt.QTargetError, match="format must be one of"):
        write_table(pd.DataFrame(), "yaml")
