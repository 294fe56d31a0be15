"""What `bench` prints and writes, at shapes that take no time. No test asserts a time."""

import pytest

from qtarget_inspect.benchmark.contenders.collection import contenders
from qtarget_inspect.benchmark.results import results_from_json
from qtarget_inspect.benchmark.setting import Setting

SHAPE = "16x256"


def test_tables_goals_and_machine(run):
    done = run("bench", "--shape", SHAPE, "--only", "closed-form", "--rounds", "2", "--threads", "1")
    assert done.exit_code == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1] == "16 x 256 float32"
    assert any(line.split()[:3] == ["closed", "form,", "target-sft,"] for line in lines)
    assert any(line.startswith("goals (they are set for 512 x 49152 float32 on two cores)") for line in lines)
    assert any(line.startswith("closed form: target-sft") and "≤ 2.6 floors" in line for line in lines)
    assert not any(line.startswith("naive line") for line in lines)
    end = " ".join(done.stdout.split("\n\n")[-1].split())
    assert "Medians [quartiles] of 2 rounds." in end
    assert "1 threads" in end
    assert "torch" in end


def test_quick_is_few_contenders(run):
    done = run("bench", "--quick", "--shape", SHAPE)
    assert done.exit_code == 0
    assert "closed form, dft, out=" in done.stdout
    assert "closed form, p-loss" not in done.stdout
    assert "compiled" not in done.stdout.partition("goals")[0]
    assert "of 5 rounds" in done.stdout


def test_results_as_json_hold_every_sample(run, tmp_path):
    path = tmp_path / "results.json"
    arguments = ["--shape", SHAPE, "--shape", "8x64", "--dtype", "bfloat16", "--only", "top-k", "--rounds", "3"]
    done = run("bench", *arguments, "--out", path)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"Results written to {path}"
    results = results_from_json(path.read_text())
    settings = [Setting(16, 256, "bfloat16"), Setting(8, 64, "bfloat16")]
    assert [section.setting for section in results.sections] == settings
    expected = [contender.name for contender in contenders(settings[0], ["top-k"])]
    assert [timing.name for timing in results.sections[0].timings] == expected
    assert {len(timing.seconds) for timing in results.sections[0].timings} == {3}


def test_results_as_markdown(run, tmp_path):
    path = tmp_path / "results.md"
    assert run("bench", "--shape", SHAPE, "--only", "top-k", "--rounds", "1", "--out", path).exit_code == 0
    assert "### 16 x 256 float32" in path.read_text()


def test_a_shape_that_does_not_fit_is_left_out_with_a_notice(run):
    done = run("bench", "--shape", SHAPE, "--shape", "9999999x99999", "--only", "top-k", "--rounds", "1")
    assert done.exit_code == 0
    assert done.stderr.startswith("left out: 9999999 x 99999 float32 needs")
    assert "16 x 256 float32" in done.stdout


def test_a_device_that_is_not_there(run):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    done = run("bench", "--device", "cuda")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --device cuda: torch sees no GPU here.")
