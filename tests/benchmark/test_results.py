"""Results go to JSON and back; tables and Markdown say what is in them."""

import json

import pandas as pd
import pytest

import qtarget_inspect as qt
from qtarget_inspect.benchmark.machine import available_memory, this_machine
from qtarget_inspect.benchmark.report import markdown_report, verdict_counts
from qtarget_inspect.benchmark.results import Peak, Results, Section, Timing, results_from_json
from qtarget_inspect.benchmark.setting import Setting, parse_shape
from qtarget_inspect.benchmark.tables import (
    goals_frame,
    goals_table,
    page_faults_table,
    seconds_table,
    timings_frame,
    timings_table,
)

FLOOR, FRESH = "softmax, out=", "softmax, fresh"


def timing(name, *seconds, about=""):
    return Timing(name, "plain", seconds, 2 * seconds[0], about)


@pytest.fixture
def results():
    setting, half = Setting(512, 49152), Setting(512, 49152, "bfloat16")
    shape = Section(
        "shape",
        setting,
        (
            timing(FLOOR, 0.01, 0.01, 0.02),
            timing(FRESH, 0.03, 0.03, 0.06),
            timing("naive line, dft", 0.1, 0.1, 0.2),
            timing("naive line, asft", 0.2, 0.2, 0.4),
            timing("invert, dft, fresh", 0.04, 0.05, 0.08),
            timing("invert, asft, fresh", 0.1, 0.1, 0.2, about="a | b"),
            timing("closed form, dft, out=", 0.011, 0.012, 0.026),
        ),
        (Peak("invert, dft, fresh", 2**25, 2**26), Peak("closed form, dft, out=", 5, None)),
        ("torch.topk(20): left out, as a test",),
    )
    other = Section("shape", half, (timing(FLOOR, 0.01), timing("closed form, dft, out=", 0.02)))
    kept = Section("kept memory", setting, (timing(FLOOR, 0.01), timing(FRESH, 0.012)))
    compiled = Section("compile time", setting, (timing("first call", 9.0), timing("second call", 0.05)))
    named = Section("identify", setting, (timing("identify, dft", 0.5), timing("identify, asft", 2.5)))
    return Results(this_machine(), 3, 2**25, (shape, other, kept, compiled, named))


def test_json_round_trip(results):
    again = results_from_json(results.to_json())
    assert again == results
    assert again.to_json() == results.to_json()


def test_json_holds_every_sample_on_one_line_with_five_digits(results):
    long = Section("shape", Setting(4, 64), (timing("x", 0.123456789, 1e-7),))
    text = Results(results.machine, 2, 1, (long,)).to_json()
    assert '"seconds": [0.12346, 1e-07]' in text
    assert json.loads(text)["sections"][0]["timings"][0]["seconds"] == [0.12346, 1e-07]


def test_saved_results_are_those(results, tmp_path):
    path = results.save(tmp_path / "results.json")
    assert results_from_json(path.read_text()) == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "null"])
def test_other_files_are_refused(text):
    with pytest.raises(qt.QTargetError, match=r"no results of a benchmark|format 99"):
        results_from_json(text)


def test_timings_in_numbers(results):
    frame = timings_frame(results.sections[0]).set_index("contender")
    assert frame.loc[FLOOR, "floors"] == 1
    assert frame.loc[FRESH, "floors"] == pytest.approx(3)
    assert frame.loc["invert, dft, fresh", "of_naive"] == pytest.approx(0.4)
    assert frame.loc["invert, asft, fresh", "of_naive"] == pytest.approx(0.5)  # of its own naive line
    assert frame.loc["invert, dft, fresh", "peak_torch_mib"] == 32
    assert pd.isna(frame.loc["closed form, dft, out=", "peak_system_mib"])
    assert frame.loc["invert, dft, fresh", "ms"] == pytest.approx(50)


def test_timings_as_people_read_them(results):
    table = timings_table(results.sections[0]).set_index("contender")
    assert table.loc["invert, dft, fresh", "floors"] == "4 [4, 4.5]"
    assert table.loc[FLOOR, "peak MiB, torch"] == "-"
    assert "invert, asft, fresh (a | b)" in table.index
    assert "of naive" not in timings_table(results.sections[1]).columns  # there is no naive line


def test_goals_in_numbers_and_as_people_read_them(results):
    frame = goals_frame(results)
    closed = frame[frame["goal"] == "closed form: dft"]
    assert list(closed["setting"]) == ["512 x 49152 float32", "512 x 49152 bfloat16"]
    assert list(closed["verdict"]) == ["met", "NOT met"]
    table = goals_table(results).set_index("goal")
    assert table.loc["closed form: dft", "limit"] == "≤ 1.3 floors"
    assert table.loc["closed form: dft", "512 x 49152 float32"] == "1.2 [1.15, 1.25] met"
    assert table.loc["closed form: dft", "512 x 49152 bfloat16"] == "2 NOT met"
    assert table.loc["peak memory by torch: invert, dft, fresh", "512 x 49152 float32"] == "1 met"
    assert table.loc["peak memory by system: invert, dft, fresh", "512 x 49152 float32"] == "2 met"
    assert table.loc["identify: asft", "512 x 49152 float32"] == "2.5 NOT met"
    assert table.loc["compiled code is kept: second call", "512 x 49152 float32"] == "0.00556 met"
    assert set(table.loc["GPU, closed form: dft"][1:]) == {"not measured: no CUDA device"}
    assert "closed form: kd" not in table.index  # not asked for


def test_page_faults_are_what_kept_memory_does_not_cost(results):
    (row,) = page_faults_table(results).set_index("contender").loc[[FRESH]].to_dict("records")
    assert row == {
        "floors": "3",
        "floors, memory kept": "1.2",
        "page faults, floors": "1.8",
        "their share": "60 %",
    }
    without = Results(results.machine, 3, 1, results.sections[:1])
    assert page_faults_table(without) is None


def test_seconds(results):
    assert seconds_table(results.sections[-1]).to_dict("list") == {
        "what": ["identify, dft", "identify, asft"],
        "seconds": ["0.5", "2.5"],
        "calls": ["1", "1"],
    }


def test_markdown(results):
    text = markdown_report(results)
    assert text.startswith(results.machine.text)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "### Goals",
        "### The same on other shapes and types",
        "### Page faults",
        "### 512 x 49152 float32",
        "### 512 x 49152 bfloat16",
        "### Compile time, 512 x 49152 float32",
        "### Identify",
    ]
    assert r"a \| b" in text
    assert "* torch.topk(20): left out, as a test" in text
    assert verdict_counts(results) in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 7
    assert {line.count("|") for line in tables[0]} == {4}  # a goal, its limit, the first setting
    for lines in tables:
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_verdicts_are_counted(results):
    frame = goals_frame(results)
    asked = frame[~frame["verdict"].str.contains("not asked for")]
    counts = [(asked["verdict"] == word).sum() for word in ("met", "NOT met")]
    assert verdict_counts(results) == (
        f"{counts[0]} met, {counts[1]} NOT met, {len(asked) - sum(counts)} not measured."
    )


@pytest.mark.parametrize("text", ["512x49152", "512 x 49152", " 512×49152 "])
def test_shapes_are_read(text):
    assert parse_shape(text) == (512, 49152)


@pytest.mark.parametrize("text", ["512", "x", "512x-1", "512x49152x2", "ax3"])
def test_other_shapes_are_refused(text):
    with pytest.raises(qt.QTargetError, match="TOKENSxVOCABULARY"):
        parse_shape(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10), "1 token"),
        ((1, 1), "2 vocabulary entries"),
        ((1, 4, "int8"), "dtype must be one of float32, bfloat16"),
        ((1, 4, "float32", "gpt"), "source must be one of random, smollm2"),
        ((1, 4, "float32", "smollm2"), "SmolLM2 has V = 49152"),
        ((1, 4, "float32", "random", "tpu"), "device must be cpu or cuda"),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(qt.QTargetError, match=message):
        Setting(*arguments)


def test_the_machine_says_what_it_is():
    machine = this_machine()
    assert machine.versions["torch"]
    assert machine.cores >= 1
    assert machine.threads >= 1
    assert machine.memory_gib > 0.1
    assert machine.gpu is None
    assert machine.fast_paths
    with qt.fast_paths(False):
        assert "fast paths OFF" in this_machine().text
    assert 0 < available_memory("cpu") <= 2 * machine.memory_gib * 2**30
