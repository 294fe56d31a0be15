"""Notebooks run from a clean kernel and print what is committed."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell printed; rounding errors are left out of the comparison."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            text = "".join(output.get("text", "") for output in cell.outputs if output.get("name") != "stderr")
            texts.append(re.sub(r"explained (up )?to [\d.e+-]+", "explained", text))
    return texts


def test_there_is_one():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_it_prints_what_is_committed(path, monkeypatch):
    committed = nbformat.read(path, as_version=4)
    assert printed(committed) != ["" for _ in printed(committed)], "committed without outputs"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    fresh = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        fresh, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    assert printed(fresh) == printed(committed)
