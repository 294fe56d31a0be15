"""`qtarget-inspect gallery`: what is drawn, what is said, and how it ends."""

from pathlib import Path

import pytest

import qtarget_inspect
from qtarget_inspect.cli import gallery_command

SCRIPT = """# %% [markdown]
# # A title
#
# A sentence.
#
# Misread: as another.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt

"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three scripts: one draws, one fails, one needs a model that is not there."""
    folder = tmp_path / "checkout"
    (folder / "gallery").mkdir(parents=True)
    (folder / "qtarget_inspect").mkdir()
    (folder / "qtarget_inspect" / "__init__.py").touch()
    for name, code in {
        "01_good": "plt.plot([1, 2])",
        "02_bad": "plt.plot([1], [1, 2])",
        "03_model": "from qtarget_inspect import models\n\nmodels.load_causal_lm('there is none')",
    }.items():
        (folder / "gallery" / f"{name}.py").write_text(SCRIPT + code)
    monkeypatch.chdir(folder)
    return folder / "gallery"


def test_what_fails_is_named_and_the_rest_is_drawn(run, checkout):
    done = run("gallery")
    assert done.exit_code == 1
    assert "01_good: " in done.stdout
    assert "1 of 3 scripts drawn" in done.stdout
    assert "02_bad: FAILED: line 13: ValueError: x and y must have same first dimension" in done.stderr
    assert sorted(path.name for path in (checkout / "rendered").iterdir()) == ["01_good.png", "01_good.svg"]
    assert "01_good" in (checkout / "index.html").read_text()
    assert "02_bad" not in (checkout / "README.md").read_text()


def test_only_what_is_asked_for(run, checkout):
    done = run("gallery", "--only", "1", "--only", "01_good.py")
    assert done.exit_code == 0
    assert "1 of 1 scripts drawn" in done.stdout
    done = run("gallery", "--only", "04")
    assert done.exit_code == 2
    assert "error: --only 04: there is no such script. There are:" in done.stderr
    assert "02_bad" in done.stderr


def test_the_model_may_be_left_out(run, checkout):
    done = run("gallery", "--skip-model", "--only", "01", "--only", "03")
    assert done.exit_code == 0
    assert "Left out, as asked, for they need the language model: 03." in done.stdout


def test_a_missing_model_is_no_failure_but_is_told(run, checkout, monkeypatch):
    from qtarget_inspect.core.errors import MissingDependencyError
    from qtarget_inspect.models import causal_lm

    def absent(*_):
        raise MissingDependencyError("it is not installed")

    monkeypatch.setattr(causal_lm, "_find", absent)
    done = run("gallery", "--only", "03")
    assert done.exit_code == 1
    assert "03_model: left out: line 15: MissingDependencyError: it is not installed" in done.stderr


def test_another_folder_gets_everything(run, checkout, tmp_path):
    out = tmp_path / "new" / "pictures"
    assert run("gallery", "--only", "01", "--out", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["01_good.py", "README.md", "index.html", "rendered"]
    assert not (checkout / "index.html").exists()
    done = run("gallery", "--out", out / "index.html")
    assert done.exit_code == 2
    assert "is a file; name a folder" in done.stderr


def test_outside_a_checkout_it_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        qtarget_inspect, "__file__", str(tmp_path / "site-packages" / "qtarget_inspect" / "__init__.py")
    )
    done = run("gallery")
    assert done.exit_code == 2
    assert "is no checkout" in done.stderr
    assert "Run this in a checkout" in done.stderr


def test_elsewhere_the_scripts_are_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gallery_command._scripts_folder() == Path(qtarget_inspect.__file__).parents[1] / "gallery"
