"""The page in benchmarks/: made from the saved results, with a block for each kind of device."""

import importlib.util
import re
from pathlib import Path

import pytest

from qtarget_inspect.benchmark.report import markdown_report
from qtarget_inspect.benchmark.results import results_from_json
from qtarget_inspect.benchmark.setting import DTYPES, SHAPES

HERE = Path(__file__).resolve().parents[2] / "benchmarks"
spec = importlib.util.spec_from_file_location("benchmarks_run", HERE / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)

PAGE = (HERE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_page_shows_the_saved_results(device):
    (shown,) = re.findall(run.BLOCK.format(device=device, text="(.*?)"), PAGE, re.DOTALL)
    path = HERE / "results" / f"{device}.json"
    if not path.is_file():
        assert "Not measured" in shown
        return
    results = results_from_json(path.read_text(encoding="utf-8"))
    assert shown.strip() == markdown_report(results).strip(), "run: python benchmarks/run.py --tables"
    assert results.rounds >= 15
    assert path.stat().st_size < 500_000


def test_the_settings_are_all_shapes_types_and_the_real_logits():
    for device in ("cpu", "cuda"):
        settings = run.settings(device)
        assert (settings[0].rows, settings[0].vocabulary, settings[0].dtype) == (*SHAPES[0], "float32")
        for shape in SHAPES:
            for dtype in DTYPES:
                assert any((s.rows, s.vocabulary, s.dtype) == (*shape, dtype) for s in settings)
        assert [s.dtype for s in settings if s.source == "smollm2"] == list(DTYPES)
        assert len(set(settings)) == len(settings)


def test_refreshing_changes_its_own_block_only(tmp_path, monkeypatch):
    page = "before\n<!-- results: cpu -->\nold\n<!-- end -->\nbetween\n<!-- results: cuda -->\nkept\n<!-- end -->\n"
    (tmp_path / "README.md").write_text(page)
    monkeypatch.setattr(run, "HERE", tmp_path)
    run.refresh("cpu", r"new \1" + "\n")
    expected = page.replace("old\n", "new \\1\n\n")
    assert (tmp_path / "README.md").read_text() == expected
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(SystemExit, match="no block"):
        run.refresh("cpu", "new")
