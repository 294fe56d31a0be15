"""The gallery of this checkout, and the figure of the script that a test is named after."""

from pathlib import Path

import numpy as np
import pytest

from qtarget_inspect.gallery.rendering import drawn
from qtarget_inspect.gallery.scripts import read_script

GALLERY = Path(__file__).parents[2] / "gallery"

TEMPLATE = """# %% [markdown]
# # {title}
#
# What to see: `p` and q\\* in **bold** & more. A second sentence.
#
# Misread: as if a < b.
#
# Chapter: {chapter}

# %%
import matplotlib.pyplot as plt

{code}
"""


@pytest.fixture
def gallery():
    """The folder of the gallery's scripts."""
    return GALLERY


@pytest.fixture
def figure(request):
    """The figure of the script of the same name: test_01_what_it_shows looks at 01_what_it_shows.py."""
    name = request.function.__name__.removeprefix("test_")
    with drawn(read_script(GALLERY / f"{name}.py")) as figure:
        yield figure


@pytest.fixture
def write_script(tmp_path):
    """Writes a script into a folder of its own and gives back its path."""

    def write(name, code="plt.subplots()[1].plot([1, 2])\nplt.show()", title="Is it so?", chapter="Targets"):
        path = tmp_path / "gallery" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEMPLATE.format(title=title, chapter=chapter, code=code))
        return path

    return write


@pytest.fixture
def curves():
    """The curves of axes, without lines that guide the eye: [points, (x, y)] each, in the order drawn."""

    def of(ax):
        data = [np.stack(line.get_data(), -1) for line in ax.lines]
        return [points for points in data if len(points) > 20]

    return of
