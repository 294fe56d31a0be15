"""What the commands print and write: variants, tables, inspect, compare."""

import json

import pandas as pd
import pytest

import qtarget_inspect as qt


def rows_of(text):
    """Cells of aligned text: columns stand two spaces apart."""
    import re

    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


def test_variants_are_all_registered_ones(run):
    done = run("variants")
    assert done.exit_code == 0
    head, *rows = rows_of(done.stdout)
    assert head == ["name", "source", "category", "parameters", "needs", "loss", "reference"]
    assert [row[0] for row in rows] == list(qt.variants())
    assert ["iw-sft", "paper", "label trust", "maximum=16.0", "reference_logits, sequence_ids"] in [r[:5] for r in rows]
    assert [row[1] for row in rows] == ["paper"] * 16 + ["beyond the paper"] * (len(rows) - 16)


def test_variants_as_data(run):
    rows = json.loads(run("variants", "--format", "json").stdout)["rows"]
    assert [row["name"] for row in rows] == list(qt.variants())


def test_the_papers_table_has_sixteen_rows_with_verdicts(run):
    done = run("tables", "--kind", "paper")
    assert done.exit_code == 0
    assert done.stderr == ""
    table, _, end = done.stdout.partition("\n\n")
    head, *rows = rows_of(table)
    assert head[0] == "method"
    assert len(rows) == 16
    verdicts = {row[0]: row[head.index("holds")] for row in rows}
    assert [name for name, holds in verdicts.items() if holds != "yes"] == ["Proximal SFT"]
    assert "Proximal SFT: " in end
    assert done.stdout.strip().splitlines()[-1] == (
        "16 rows: 15 hold, 1 does not. Every number above was computed now, from the losses, on 512 states (float64)."
    )


def test_no_colour_and_no_folding_in_a_pipe(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    done = run("tables", "--kind", "residual")
    assert "\x1b" not in done.output
    assert max(map(len, done.stdout.splitlines())) > 100
    assert "…" not in done.stdout


@pytest.mark.parametrize(("suffix", "start"), [("md", "| method"), ("tex", r"\begin{tabular}"), ("csv", "method,")])
def test_a_table_is_written_in_the_format_its_name_says(run, tmp_path, suffix, start):
    path = tmp_path / f"table.{suffix}"
    done = run("tables", "--kind", "label-trust", "--out", path)
    assert done.exit_code == 0
    assert done.stdout == f"9 rows written to {path}\n"
    assert path.read_text().startswith(start)


def test_a_format_asked_for_goes_alone_to_the_pipe(run):
    rows = json.loads(run("tables", "--kind", "residual", "--format", "json").stdout)
    assert rows["kind"] == "residual"
    assert len(rows["rows"]) == 8


def test_the_table_in_float32(run):
    assert "(float32)" in run("tables", "--kind", "label-trust", "--dtype", "float32").stdout.splitlines()[-1]


@pytest.mark.parametrize("loss", ["dft", "asft(kl_weight=0.1)", "LOSSES:focal"])
def test_inspect_prints_the_inspections_text(run, losses, loss):
    spec = loss.replace("LOSSES", str(losses))
    done = run("inspect", spec)
    assert done.exit_code == 0
    assert done.stdout.strip() == qt.inspect(spec).text().strip()


def test_inspect_on_a_text(run, losses, tiny_model, tmp_path):
    text = tmp_path / "solution.txt"
    text.write_text("2 + 2 = 4\n")
    done = run("inspect", f"{losses}:focal", "--text-file", text, "--model", tiny_model)
    assert done.exit_code == 0
    assert "8 tokens" in done.stdout  # nine letters, the first is not predicted
    assert done.stdout.splitlines()[-1].startswith("On the text, read with no prompt by tiny, ")


def test_a_prompt_makes_the_text_an_answer(run, tiny_model):
    done = run("inspect", "dft", "--prompt", "2 + 2 =", "--text-file", "-", "--model", tiny_model, input="four\n")
    assert done.exit_code == 0
    assert "4 tokens" in done.stdout
    assert "after the prompt in its chat template" in done.stdout


def test_teacher_and_reference_reach_the_loss(run, losses, tiny_model):
    roles = ["--teacher", tiny_model, "--reference", tiny_model]
    done = run("compare", f"{losses}:distil", "asft", "--text", "2 + 2", "--model", tiny_model, *roles)
    assert done.exit_code == 0
    assert "teacher: tiny" in done.stdout
    assert "reference: tiny" in done.stdout


def test_compare_has_a_row_a_loss(run, losses):
    done = run("compare", "sft", "beyond-log(alpha=0.5)", f"{losses}:focal")
    assert done.exit_code == 0
    table, _, end = done.stdout.partition("\n\n")
    head, *rows = rows_of(table)
    assert head[:3] == ["loss", "gauge", "gamma"]
    assert [row[0] for row in rows] == ["sft", "beyond-log(alpha=0.5)", "focal"]
    assert rows[0][2] == "1"
    assert "[" in rows[1][2], "a mean has its interval"
    assert "512 tokens" in end
    assert "built-in probe states" in end


def test_compare_as_data_holds_every_column(run, tmp_path):
    path = tmp_path / "comparison.csv"
    assert run("compare", "sft", "dft", "--out", path).exit_code == 0
    expected = qt.compare(["sft", "dft"], qt.probe_batch())
    pd.testing.assert_frame_equal(pd.read_csv(path), expected, check_dtype=False)
