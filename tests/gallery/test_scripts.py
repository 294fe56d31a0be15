"""Scripts as data: every one of the gallery has its shape, its length, and a test that looks at its figure."""

import ast
from pathlib import Path

import pytest

import qtarget_inspect as qt
from qtarget_inspect.gallery.pages import chapters
from qtarget_inspect.gallery.scripts import LONGEST, find_scripts, read_script

SCRIPTS = find_scripts(Path(__file__).parents[2] / "gallery")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_a_short_text_with_a_short_program(script):
    lines = script.path.read_text().splitlines()
    assert len(lines) <= LONGEST == 40
    assert max(map(len, lines)) <= 120
    assert 2 <= sum(paragraph.count(". ") + 1 for paragraph in (*script.text, script.misread)) <= 9
    assert len(script.text) == 1
    assert script.title[-1] not in ".:"
    assert script.code.rstrip().endswith(("plt.show()", "\nfigure")), "the last line shows the figure in a notebook"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_uses_public_names_only(script):
    for node in ast.walk(ast.parse(script.code)):
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("torch.nn.functional", "qtarget_inspect", "qtarget_inspect.plots")
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {
                "matplotlib.pyplot",
                "numpy",
                "torch",
                "qtarget_inspect",
            }
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "__name__"


def test_scripts_are_numbered_without_gaps_and_chapters_stay_together():
    assert [script.number for script in SCRIPTS] == [f"{number:02d}" for number in range(1, len(SCRIPTS) + 1)]
    names = [chapter for chapter, _ in chapters(SCRIPTS)]
    assert len(names) == len(set(names))
    assert len({script.title for script in SCRIPTS}) == len(SCRIPTS)


def test_every_script_has_a_test_of_its_figure():
    tested = {
        node.name.removeprefix("test_")
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and "figure" in [argument.arg for argument in node.args.args]
    }
    assert tested == {script.name for script in SCRIPTS}


def test_a_script_is_read(write_script):
    script = read_script(write_script("07_so", title="It is `p`", chapter="A real model"))
    assert (script.name, script.number, script.title, script.chapter) == ("07_so", "07", "It is `p`", "A real model")
    assert script.text == ("What to see: `p` and q\\* in **bold** & more. A second sentence.",)
    assert script.summary == "What to see: `p` and q\\* in **bold** & more."
    assert script.misread == "as if a < b."
    assert script.code.startswith("import matplotlib")


@pytest.mark.parametrize(
    ("code", "needs"),
    [
        ("from qtarget_inspect import models", True),
        ("from qtarget_inspect.models import worked_solution", True),
        ("import qtarget_inspect.models as m", True),
        ("import qtarget_inspect as models", False),
    ],
)
def test_what_imports_the_models_needs_the_model(write_script, code, needs):
    assert read_script(write_script("01_x", code)).needs_model is needs


def test_the_fingerprint_is_that_of_the_code(write_script):
    prints = [
        read_script(write_script("01_x", code, title)).fingerprint
        for code, title in (("f(1, 2)", "A"), ("f(1,\n  2)", "B"), ("f(1, 3)", "A"))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_script_of_another_shape_is_refused(write_script):
    path = write_script("01_x")
    text = path.read_text()
    for damage in (("# %% [markdown]\n", ""), ("# Misread:", "# Note:"), ("# Chapter:", "# Part:"), ("\n# %%\n", "\n")):
        path.write_text(text.replace(*damage))
        with pytest.raises(qt.QTargetError, match=r"01_x\.py does not have the shape"):
            read_script(path)
    path.write_text(text + "x = 1\n" * 40)
    with pytest.raises(qt.QTargetError, match=r"01_x\.py has 5\d lines; a gallery script has at most 40"):
        read_script(path)
    with pytest.raises(qt.QTargetError, match="holds no scripts"):
        find_scripts(path.parent / "none")
