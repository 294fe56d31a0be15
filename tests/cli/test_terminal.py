"""A terminal: colour, tables folded to its width, progress; and a pipe whose reader leaves."""

import re
import subprocess
import sys

import pandas as pd
import pytest

import qtarget_inspect as qt
from qtarget_inspect.cli import console
from qtarget_inspect.cli.variants_command import variants
from qtarget_inspect.variants import BEYOND_VARIANTS

COMMAND = [sys.executable, "-c", "from qtarget_inspect.cli.app import main; main()"]


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout and stderr pass for a terminal of a given width."""

    def terminal(width):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm-256color")
        for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
            monkeypatch.delenv(name, raising=False)

    return terminal


FRAME = pd.DataFrame({
    "method": ["SFT", "Proximal SFT"],
    "holds": ["yes", "NO"],
    "note": ["-", "the residual is the model"],
    "more": ["", ""],
})


def test_a_table_is_coloured_on_a_terminal(terminal, capsys):
    terminal(80)
    console.print_table(FRAME)
    printed = capsys.readouterr().out
    assert "\x1b[32myes" in printed
    assert "\x1b[1;31mNO" in printed
    assert "not shown" not in printed


def test_a_narrow_window_does_without_the_optional_columns(terminal, capsys):
    terminal(36)
    console.print_table(FRAME.assign(more="something that needs room"), optional=("more",))
    printed = capsys.readouterr().out
    assert "something" not in printed
    assert "not shown in a window of this width: more" in " ".join(re.sub(r"\x1b\[\d*m", "", printed).split())


def printed_lines(capsys):
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("width", range(25, 60))
def test_no_letter_is_cut_off_and_no_word_broken_where_the_words_have_room(terminal, capsys, width):
    """The longest words are 8, 5 and 8 letters, with two spaces between columns: 25."""
    frame = pd.DataFrame({
        "method": ["SFT", "Proximal SFT SFT SFT SFT SFT"],
        "holds": ["yes", "NO"],
        "note": ["-", "the residual is the model itself, on all tokens"],
    })
    terminal(width)
    console.print_table(frame)
    words = sorted(" ".join(printed_lines(capsys)).replace("─", "").split())
    assert words == sorted(" ".join([*frame.columns, *frame.to_numpy().flatten()]).split())


@pytest.fixture
def mine():
    """A loss of a user's own in the registry."""
    qt.register("mine", parameters={"alpha": 0.5})(
        lambda logits, labels, *, alpha: alpha * qt.losses.sft(logits, labels)
    )
    yield
    qt.unregister("mine")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("width", [80, 110, 120, 200])
def test_variants_are_shown_in_groups_and_whole(terminal, capsys, width):
    terminal(width)
    variants()
    lines = printed_lines(capsys)
    titles = [line for line in lines if line.startswith(("The paper", "Beyond the paper: ", "Registered by"))]
    beyond = [f"Beyond the paper: {category}" for category in dict.fromkeys(v.category for v in BEYOND_VARIANTS)]
    assert titles == ["The paper's table", *beyond, "Registered by others"]
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for variant in qt.variants().values():
        assert variant.name in words
        assert set((variant.formula or "-").split()) <= set(words)
    assert ("reference" in words) == (width >= 120)
    assert words.index("target-sft") < words.index("focal") < words.index("orpo") < words.index("mine")


@pytest.mark.parametrize("width", [200, 60, 30, 12])
def test_no_window_is_too_narrow_for_the_words(terminal, capsys, width):
    terminal(width)
    console.print_table(FRAME)
    letters = "".join(filter(str.isalpha, capsys.readouterr().out))
    for letter in set("residualmodel"):
        assert letters.count(letter) >= "theresidualisthemodel".count(letter)


def test_a_pipe_gets_plain_lines(capsys):
    console.print_table(FRAME)
    console.heading("Heading")
    assert capsys.readouterr().out == (
        "method        holds  note                       more\n"
        "SFT           yes    -\n"
        "Proximal SFT  NO     the residual is the model\n"
        "\nHeading\n-------\n"
    )


def test_cells_fold_where_asked():
    assert console.aligned(FRAME[["method", "note"]], widest=14).splitlines() == [
        "method        note",
        "SFT           -",
        "Proximal SFT  the residual",
        "              is the model",
    ]


def test_progress_is_for_terminals_only(capsys):
    with console.working("computing"):
        pass
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal(terminal, capsys):
    terminal(80)
    with console.working("computing"):
        pass
    assert "computing" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["variants"], ["tables", "--kind", "residual", "--format", "json"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert errors == b""


def test_an_ascii_terminal_is_no_error():
    script = "from qtarget_inspect.cli.guard import guarded; raise SystemExit(guarded(lambda: print('\u23ce')))"
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", script],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"?", b"")
