"""Gallery scripts run, are short, and draw what they promise."""

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "gallery").glob("[0-9]*.py"))


@pytest.fixture
def drawn(monkeypatch):
    """Runs a script and gives back its figures."""
    mpl.use("Agg", force=True)
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)

    def run(path):
        runpy.run_path(str(path))
        return [plt.figure(number) for number in plt.get_fignums()]

    yield run
    plt.close("all")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_is_short_and_draws(path, drawn):
    assert len(path.read_text().splitlines()) <= 40
    assert path.read_text().startswith("# %% [markdown]\n# # ")
    figures = drawn(path)
    assert figures
    assert all(ax.has_data() for figure in figures for ax in figure.axes)


def test_cross_entropy_trusts_every_label(drawn):
    (figure,) = drawn(SCRIPTS[0])
    sft, dft, eaft = (ax.collections[0].get_offsets() for ax in figure.axes)
    assert (sft[:, 1] == 1).all()
    assert abs(dft[:, 1] - dft[:, 0]).max() < 1e-12
    assert eaft[:, 1].max() < 1 + 1e-12
    assert abs(eaft[:, 1] - eaft[:, 0]).max() > 0.5
