"""Bad input: exit code 2, one clear line that begins "error:", what to do below it, and never a traceback."""

import warnings

import pytest
import typer

from qtarget_inspect.cli.guard import guarded
from qtarget_inspect.core.errors import QTargetError

CASES = {
    "an unknown command": (["nope"], "no such command 'nope'", "qtarget-inspect --help"),
    "an unknown option": (["tables", "--knd"], "no such option: --knd", "qtarget-inspect tables --help"),
    "a missing loss": (["inspect"], "missing argument 'LOSS'", "qtarget-inspect inspect --help"),
    "no losses to compare": (["compare"], "missing argument 'LOSS", "qtarget-inspect compare --help"),
    "no number": (["demo", "--problem", "x"], "invalid value for '--problem'", "qtarget-inspect demo --help"),
    "an unknown kind": (["tables", "--kind", "x"], "kind must be one of paper, label-trust, residual"),
    "an unknown format": (
        ["tables", "--format", "x"],
        "--format must be one of text, markdown, latex, html, csv, json",
    ),
    "an unknown dtype": (["tables", "--dtype", "int8"], "--dtype must be one of float64, float32, not 'int8'"),
    "an unknown suffix": (["tables", "--out", "TMP/x.foo"], "the name does not say the format", "Add --format"),
    "no such folder": (["tables", "--out", "TMP/no/x.md"], "there is no folder"),
    "a folder for a file": (["variants", "--out", "TMP"], "is a folder; name a file in it"),
    "an unknown loss": (["inspect", "dtf"], "no variant is named 'dtf'; registered are sft, dft"),
    "an unknown loss of two": (["compare", "sft", "nope"], "no variant is named 'nope'"),
    "an unknown parameter": (["inspect", "asft(x=1)"], "asft has no parameter x; it has kl_weight"),
    "a parameter of a loss that has none": (["compare", "dft(alpha=2)", "grpo"], "dft has no parameter alpha"),
    "a parameter out of its range": (
        ["compare", "dft", "grpo(epsilon=2)"],
        "epsilon of grpo must be a number in [0, 1)",
    ),
    "a parameter of a wrong type": (["inspect", "dpo(beta='x')"], "beta of dpo must be a number > 0, not 'x'"),
    "half a loss": (["inspect", "asft("], "cannot read 'asft('"),
    "no such file of losses": (["inspect", "TMP/no.py:focal"], "there is no file"),
    "no such loss in the file": (
        ["inspect", "LOSSES:nope"],
        "holds no function named 'nope'; it defines broken, distil",
    ),
    "a number instead of a loss": (["inspect", "LOSSES:number"], "holds no function named 'number'"),
    "a loss that raises": (["inspect", "LOSSES:broken"], "boom"),
    "a model without a text": (["inspect", "sft", "--model", "smollm2"], "--model has nothing to read", "Add --text"),
    "roles without a text": (
        ["compare", "sft", "--teacher", "a", "--reference", "b"],
        "--teacher and --reference have nothing to read",
    ),
    "two texts": (["inspect", "sft", "--text", "a", "--text-file", "LOSSES"], "pass one of them"),
    "no such text": (["inspect", "sft", "--text-file", "TMP/no.txt"], "no.txt: No such file or directory"),
    "no text but bytes": (["inspect", "sft", "--text-file", "TMP/bytes"], "is no UTF-8 text"),
    "no such model": (["inspect", "sft", "--text", "hello", "--model", "TMP/no"], "there is no model at"),
    "an empty text": (["inspect", "sft", "--text", "", "--model", "MODEL"], "the text '' has 0 tokens"),
    "a missing teacher": (
        ["inspect", "LOSSES:distil", "--text", "hello", "--model", "MODEL"],
        "distil needs teacher_logits [N, V], and the batch has none.",
        "--teacher MODEL on the command line",
    ),
    "the teacher's own problem": (["demo", "--problem", "0"], "--problem 0 is the example that the teacher sees"),
    "a negative problem": (["demo", "--problem", "-1"], "--problem must be 0 or more"),
    "no shape": (["bench", "--shape", "512"], "a shape is TOKENSxVOCABULARY, e.g. 512x49152, not '512'"),
    "a shape too large": (["bench", "--shape", "9999999x99999"], "GiB are free: name a smaller shape"),
    "an unknown logits dtype": (["bench", "--dtype", "x"], "--dtype must be one of float32, bfloat16, not 'x'"),
    "an unknown device": (["bench", "--device", "tpu"], "--device must be one of cpu, cuda, not 'tpu'"),
    "an unknown part": (["bench", "--only", "closed"], "a benchmark has no part closed; it has floor, plain"),
    "no rounds": (["bench", "--quick", "--rounds", "0"], "rounds and threads must be at least 1, not 0 and None"),
    "results without a suffix": (["bench", "--quick", "--out", "TMP/x.csv"], "end the name in .json or .md"),
    "a file for a folder": (["demo", "--out", "LOSSES"], "is a file; name a folder"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_answered(run, losses, tmp_path, request, case):
    arguments, first, *remedies = CASES[case]
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    model = str(request.getfixturevalue("tiny_model")) if "MODEL" in arguments else ""
    given = [
        argument.replace("LOSSES", str(losses)).replace("TMP", str(tmp_path)).replace("MODEL", model)
        for argument in arguments
    ]
    done = run(*given)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    head, *others = done.stderr.splitlines()
    assert head.startswith("error: ")
    assert first in head
    assert all(line.startswith("       ") for line in others)
    for remedy in remedies:
        assert remedy in done.stderr.partition("\n")[2]
    assert "Traceback" not in done.stderr


def test_missing_packages_are_named_before_anything_is_computed(run, monkeypatch):
    from qtarget_inspect.cli import demo_setting

    monkeypatch.setattr(demo_setting, "NEEDED", ("json", "no_such_package"))
    done = run("demo")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "not installed: no_such_package" in done.stderr
    assert "pip install" in done.stderr.splitlines()[1]


def test_a_fault_of_the_program_keeps_its_traceback():
    def command():
        raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        guarded(command)


def test_lines_after_the_first_are_indented(capsys):
    def command():
        raise QTargetError("first\nsecond")

    assert guarded(command) == 2
    assert capsys.readouterr().err == "error: first\n       second\n"


def test_warnings_are_a_line_on_stderr(capsys):
    def command():
        warnings.simplefilter("always")
        warnings.warn("a plug-in is broken", RuntimeWarning, stacklevel=1)

    assert guarded(command) == 0
    assert capsys.readouterr().err == "warning: a plug-in is broken\n"


def test_an_interrupt_is_no_traceback():
    def command():
        raise typer.Abort

    assert guarded(command) == 130
