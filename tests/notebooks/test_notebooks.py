"""Notebooks run from a clean kernel, print what is committed, define nothing of the package's, and check exercises."""

import functools
import importlib.util
import re
import sys
import tomllib
from datetime import datetime
from pathlib import Path

import nbformat
import pytest

import qtarget_inspect as qt

from . import reading
from .solutions import SOLUTIONS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST = 120
"""Seconds from a clean kernel, on two cores."""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_run = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(path.stem)) for path in NOTEBOOKS]
)
kernel_warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def committed(path):
    return nbformat.read(path, as_version=4)


@functools.cache
def refresh_tool():
    """The module that runs notebooks; it lies in tools/."""
    path = ROOT / "tools" / "refresh_notebooks.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers_of(notebook, stem):
    """(exercise, code, what the hint must say or None where the answer is right), in order."""
    for cell, answers in zip(reading.exercises(notebook), SOLUTIONS[stem], strict=True):
        yield cell, answers.right, None, answers
        for code, said in answers.wrong.items():
            yield cell, code, said, answers


@functools.cache
def run(path):
    """The notebook in a clean kernel, with the answers to its exercises in cells behind its own."""
    notebook = committed(path)
    for cell in reading.code_cells(notebook):
        cell.outputs = []
    own = len(notebook.cells)
    for cell, code, *_ in answers_of(committed(path), path.stem):
        notebook.cells.append(nbformat.v4.new_code_cell(f"{code}\n{reading.check_of(cell)}"))
    refresh_tool().execute(notebook, path.parent, timeout=LONGEST)
    return notebook.cells[:own], notebook.cells[own:]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == list(SOLUTIONS)


@pytest.mark.slow
@pytest.mark.model
@each_run
@kernel_warnings
def test_it_prints_what_is_committed(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    before = committed(path).cells
    for old, new in zip(before, run(path)[0], strict=True):
        if old.cell_type == "code":
            was, now = reading.printed(old), reading.printed(new)
            assert reading.skeleton(now) == reading.skeleton(was), old.source
            assert reading.unlike(was, now) == [], old.source
            assert reading.pictures(old) == reading.pictures(new), old.source


@pytest.mark.slow
@pytest.mark.model
@each_run
@kernel_warnings
def test_it_runs_in_two_minutes_and_warns_of_nothing(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [cell for cell in run(path)[0] if cell.cell_type == "code"]
    first, last = (cell.metadata.execution for cell in (cells[0], cells[-1]))
    start, end = first["iopub.execute_input"], last["shell.execute_reply"]
    assert (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() < LONGEST
    assert [output.text for cell in cells for output in cell.outputs if output.get("name") == "stderr"] == []


@pytest.mark.slow
@pytest.mark.model
@each_run
@kernel_warnings
def test_answers_are_checked_and_hints_do_not_give_them_away(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for (_, code, said, answers), cell in zip(answers_of(committed(path), path.stem), run(path)[1], strict=True):
        hint = reading.printed(cell)
        if said is None:
            assert hint.startswith("right: "), f"{code}\n{hint}"
        else:
            assert hint.startswith("not yet: "), f"{code}\n{hint}"
            assert said in hint, code
            assert [word for word in answers.secret if word in hint] == [], hint


@each
def test_it_is_committed_as_a_run_leaves_it(path):
    notebook = committed(path)
    assert any(reading.printed(cell) for cell in reading.code_cells(notebook))
    assert path.stat().st_size < refresh_tool().LARGEST
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    text = path.read_text()
    assert "widget-view" not in text
    assert "stderr" not in text
    assert re.search(r"/(home|root|work|tmp|Users)/", text) is None, "a path of somebody's machine"
    assert [cell.execution_count for cell in reading.code_cells(notebook)] == list(
        range(1, len(reading.code_cells(notebook)) + 1)
    )


@each
def test_three_exercises_are_handed_out_unfilled(path):
    cells = reading.exercises(committed(path))
    assert len(cells) == 3
    for cell in cells:
        assert reading.printed(cell).startswith("not filled in: ")
        assert "qt.teaching.check_" in reading.check_of(cell)


@each
def test_answers_fill_in_the_name_that_is_handed_out(path):
    for cell, code, *_ in answers_of(committed(path), path.stem):
        assert re.search(rf"\b{reading.student_name(cell)}\b", code)


@each
def test_a_slider_is_followed_by_a_picture(path):
    cells = reading.code_cells(committed(path))
    sliders = [i for i, cell in enumerate(cells) if re.search(r"^interact\(", cell.source, re.MULTILINE)]
    assert sliders
    for i in sliders:
        assert reading.pictures(cells[i + 1]) > 0
        shown = re.search(r"interact\((\w+)", cells[i].source).group(1)
        assert f"{shown}(" in cells[i + 1].source, "the picture is of the same function"


@each
def test_it_defines_nothing_that_the_package_has(path):
    notebook = committed(path)
    ours = {*qt.__all__, *qt.plots.__all__, *qt.losses.__all__, *qt.teaching.__all__}
    assert reading.defined_names(notebook) & ours == set()
    drawn = {"bar", "barh", "scatter", "imshow", "contourf", "quiver", "fill_between", "hist"}
    assert reading.called_methods(notebook) & drawn == set(), "pictures come from qt.plots"


@each
def test_make_notebooks_installs_all_that_it_imports(path):
    """What `make notebooks` asks for: the package itself and its extras demo, dev and notebook."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"(?s)\nnotebooks:.*?\$\(ENVIRONMENT\) ([a-z ]+)\n", (ROOT / "Makefile").read_text())
    needed = [
        *project["dependencies"],
        *(one for extra in extras.split() for one in project["optional-dependencies"][extra]),
    ]
    installed = {re.match(r"[\w-]+", one).group().replace("-", "_") for one in needed}
    missing = reading.imported_packages(committed(path)) - installed - sys.stdlib_module_names - {"qtarget_inspect"}
    assert missing == set()
    assert {"jupyterlab", "ipykernel"} <= installed


@each
def test_real_logits_are_said_to_be_of_a_converted_model(path):
    notebook = committed(path)
    if any("worked_solution" in cell.source for cell in reading.code_cells(notebook)):
        prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert "Q4_1" in prose


def test_one_at_least_has_real_logits():
    assert any("worked_solution" in path.read_text() for path in NOTEBOOKS)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("gamma 0.31", "gamma 0.32", True),
        ("gamma 0.31", "gamma 0.33", False),
        ("gamma 0.31", "gamma 0.310", True),
        ("to 2e-16", "to 3.1e-15", True),
        ("off 2e-05", "off 4e-05", False),
        ("gamma 0.31", "gama 0.31", False),
        ("[1. 0. 0.5]", "[ 1.  0.  0.5]", True),
        ("p_y^0.5", "p_y^0.7", False),
        ("512 states", "513 states", False),
    ],
)
def test_texts_are_the_same_up_to_the_last_digit(first, second, same):
    alike = reading.skeleton(first) == reading.skeleton(second)
    assert (alike and reading.unlike(first, second) == []) == same


@pytest.mark.parametrize(
    ("number", "worth"), [("3.14", 0.01), ("2e-05", 1e-5), ("1.5e-3", 1e-4), ("12", 1.0), ("1.", 1)]
)
def test_the_worth_of_a_last_digit(number, worth):
    assert reading.last_digit(number) == pytest.approx(worth)
