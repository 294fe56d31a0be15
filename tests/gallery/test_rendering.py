"""Rendering: small files, the same each time; a script that raises does not keep the others from running."""

import matplotlib.pyplot as plt
import torch
from PIL import Image

from qtarget_inspect.gallery import rendering
from qtarget_inspect.gallery.rendering import drawn, render, rendered_files, rendered_from, stale_files
from qtarget_inspect.gallery.scripts import read_script

CODE = "import torch\n\nplt.subplots()[1].plot(torch.randn(9))\nplt.show()"


def test_the_same_script_gives_the_same_files(write_script, tmp_path):
    script = read_script(write_script("01_x", CODE))
    (once,) = render([script], tmp_path / "a")
    (again,) = render([script], tmp_path / "b")
    assert [path.name for path in once.files] == ["01_x.png", "01_x.svg"]
    assert [path.read_bytes() for path in once.files] == [path.read_bytes() for path in again.files]
    assert once.error == ""
    assert rendered_from(once.files[0]) == script.fingerprint
    with Image.open(once.files[0]) as image:
        assert image.mode == "P"
        assert image.size == tuple(220 * side for side in (6.4, 4.8))


def test_nothing_is_left_behind(write_script):
    script = read_script(write_script("01_x", CODE + "\nplt.rcParams['lines.linewidth'] = 9"))
    mine, show, width = plt.figure(), plt.show, plt.rcParams["lines.linewidth"]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with drawn(script) as figure:
        assert figure.axes[0].lines
    assert torch.equal(torch.rand(1), expected)
    assert plt.get_fignums() == [mine.number]
    assert (plt.show, plt.rcParams["lines.linewidth"]) == (show, width)
    plt.close(mine)


def test_a_script_that_raises_is_reported_and_the_rest_run(write_script, tmp_path):
    scripts = [
        read_script(write_script("01_bad", "x = 1\n1 / 0")),
        read_script(write_script("02_none", "x = 1")),
        read_script(write_script("03_two", "plt.figure()\nplt.figure()")),
        read_script(
            write_script(
                "04_lacks", "import qtarget_inspect as qt\n\nraise qt.MissingDependencyError('pip install it')"
            )
        ),
        read_script(write_script("05_good", "from matplotlib.figure import Figure\n\nfigure = same = Figure()")),
    ]
    bad, none, two, lacks, good = render(scripts, tmp_path / "out")
    assert bad.error == "line 14: ZeroDivisionError: division by zero"
    assert "02_none.py draws 0 figures; a gallery script draws one" in none.error
    assert "03_two.py draws 2 figures" in two.error
    assert lacks.error.endswith("MissingDependencyError: pip install it")
    assert [result.missing for result in (bad, none, two, lacks, good)] == [False, False, False, True, False]
    assert good.files == rendered_files(tmp_path / "out", scripts[-1])
    assert plt.get_fignums() == []


def test_a_file_that_is_too_large_is_an_error(write_script, tmp_path, monkeypatch):
    monkeypatch.setitem(rendering.LARGEST, "svg", 1000)
    (result,) = render([read_script(write_script("01_x"))], tmp_path)
    assert "01_x.svg has" in result.error
    assert "1 are the limit" in result.error


def test_files_without_a_script_are_stale(write_script, tmp_path):
    script = read_script(write_script("01_x"))
    for name in ("01_x.png", "01_x.svg", "02_gone.png", "02_gone.svg", "notes.png"):
        (tmp_path / name).touch()
    assert [path.name for path in stale_files(tmp_path, [script])] == ["02_gone.png", "02_gone.svg"]


def test_the_figure_stays_open_in_the_block_only(write_script):
    with drawn(read_script(write_script("01_x"))) as figure:
        assert plt.fignum_exists(figure.number)
    assert not plt.fignum_exists(figure.number)
