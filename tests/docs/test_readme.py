"""The outputs that the README and the docs show are those of today; their links lead somewhere."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("refresh_readme", ROOT / "tools" / "refresh_readme.py")
refresh = importlib.util.module_from_spec(spec)
sys.modules["refresh_readme"] = refresh  # dataclasses look their module up
spec.loader.exec_module(refresh)

SHOWN = [(page, name, shown) for page in refresh.PAGES for name, shown in refresh.shown_outputs(page)]
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_output_is_shown_once_and_filled_in():
    assert sorted(name for _, name, _ in SHOWN) == sorted(refresh.OUTPUTS)
    for _, name, shown in SHOWN:
        assert shown.startswith(f"```console\n$ {refresh.OUTPUTS[name].command}\n"), name
        assert shown.count("\n") > 3


@pytest.mark.parametrize(
    ("page", "name", "shown"),
    [pytest.param(*example, id=example[1]) for example in SHOWN if not refresh.OUTPUTS[example[1]].model],
)
@pytest.mark.slow
def test_what_needs_no_model_is_current(page, name, shown):
    fresh = refresh.fresh_output(name, refresh.files_of(page))
    assert refresh.comparable(fresh) == refresh.comparable(shown), f"run: python tools/refresh_readme.py {name}"


def test_rounding_errors_are_not_compared():
    one, other = "holds  1e-16  x\nQ  4e-08 0.98\n──── -5.5e-14", "holds  2.5e-15 x\nQ  4e-08 0.98\n─── 3e-12"
    assert refresh.comparable(one) == refresh.comparable(other)
    assert refresh.comparable("4e-08") != refresh.comparable("5e-08")


def test_shown_losses_run():
    namespace = {}
    exec(refresh.files_of("README.md")["my_losses.py"], namespace)
    import torch

    assert namespace["focal"](torch.randn(3, 5), torch.tensor([0, 1, 2])).shape == (3,)


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def test_the_picture_is_small():
    assert 10_000 < (ROOT / "docs" / "images" / "overview.png").stat().st_size < 300_000
