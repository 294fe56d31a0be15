"""Run the notebooks from a clean kernel and write their outputs back: all of them, or those named as arguments.

What a run adds besides results is left out, so that a second run changes nothing: times, kernel versions, what goes to
stderr, addresses of objects, and widgets, which need a living kernel and are followed by a picture that does not.
"""

import os
import re
import sys
import time
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"

WIDGET = "application/vnd.jupyter.widget-view+json"

SETTINGS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
"""One thread, so that sums are taken in one order."""

LARGEST = 1_500_000
"""Bytes that a notebook may have."""


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int = 600) -> None:
    """Run all cells in place, in a kernel of its own that draws into the notebook."""
    before = dict(os.environ)
    os.environ.update(SETTINGS)
    os.environ.pop("MPLBACKEND", None)  # the kernel's own draws into the notebook
    try:
        nbclient.NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            coalesce_streams=True,  # else what is printed slowly comes in pieces
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leave out what differs from run to run or needs the kernel that is gone."""
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := _tidy_output(output)) is not None]


def _tidy_output(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """One output without what differs from run to run; None where nothing is left."""
    if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
        return None
    picture = output.get("data", {})
    if "image/png" in picture:  # "<Figure size 900x320 with 3 Axes>" says nothing more than the picture
        output.data = nbformat.from_dict({"image/png": picture["image/png"]})
        output.metadata = nbformat.from_dict({})
    if "text/plain" in picture:
        picture["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", picture["text/plain"])
    return output


def refresh(path: Path) -> str:
    """Execute one notebook in place; return what was done, in a line."""
    start = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, path.parent)
    tidy(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    size = path.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{path.name} has {size:,} bytes, more than {LARGEST:,}: draw smaller figures.")
    return f"{path.name}: {time.monotonic() - start:.0f} s, {size / 1000:.0f} kB"


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(refresh(path), flush=True)
