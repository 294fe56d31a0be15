"""The file: what is in it, what it offers and refuses; no browser needed."""

import json
import re
from pathlib import Path

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.sweeps.states import sweep_states
from qtarget_inspect.explorer import catalogue, colours, formulas, grid, positions, scenes
from qtarget_inspect.explorer.page import SCRIPTS, STYLES, explorer_page, write_explorer

ASSETS = Path(catalogue.__file__).parent / "assets"


@pytest.fixture(scope="module")
def page_text():
    return explorer_page()


@pytest.fixture(scope="module")
def data(page_text):
    return json.loads(re.search(r'id="data">(.*?)</script>', page_text, re.DOTALL)[1])


def test_every_registered_loss_is_offered_or_named_with_a_reason(data):
    offered = {loss["name"] for loss in data["losses"]}
    assert offered | set(data["notOffered"]) == set(qt.variants())
    assert not offered & set(data["notOffered"])
    assert all(data["notOffered"].values())


def test_the_page_needs_nothing_else(page_text):
    assert not re.findall(r'(?:src|href)\s*=\s*"(?!data:)[^"]*"', page_text)
    assert not re.findall(r"@import|url\((?!#)", page_text)
    assert "connect-src" not in page_text
    assert "default-src 'none'" in page_text
    assert "@@" not in page_text
    assert len(page_text) < 300_000


def test_scripts_are_all_in_it_and_short():
    assert {f"{name}.js" for name in SCRIPTS} == {path.name for path in ASSETS.glob("*.js")}
    assert {f"{name}.css" for name in STYLES} == {path.name for path in ASSETS.glob("*.css")}
    assert all(len(path.read_text().splitlines()) < 400 for path in ASSETS.iterdir())


@pytest.mark.parametrize("name", formulas.FORMULAS)
def test_a_loss_is_described_by_its_variant(data, name):
    record = next(loss for loss in data["losses"] if loss["name"] == name)
    variant = qt.get(name)
    assert (record["title"], record["category"], record["formula"]) == (
        variant.title,
        variant.category,
        variant.formula,
    )
    assert {one["name"]: one["default"] for one in record["parameters"]} == dict(variant.parameters)
    for one in record["parameters"]:
        assert one["steps"] == sorted(set(one["steps"]))
        assert one["default"] in one["steps"]
        for step in one["steps"]:
            variant.with_parameters(**{one["name"]: step})  # within its range


def test_a_parameter_that_is_no_number_has_no_slider():
    with pytest.raises(qt.QTargetError, match="mode is 'mean'"):
        catalogue.steps("mode", "mean", None)


def test_the_token_is_one_of_those_that_are_swept():
    axes = {"p": (0.1, 0.5, 0.9), "shape": (0.8, 2.0), "teacher": (0.2, 0.95)}
    at = positions.every_position(axes, {"favourite": 3, "reference": -1.0, "old": -0.2, "log_z": 0.0})
    ours = positions.tokens_at(at)
    theirs = sweep_states(
        at["p"].numpy(), others_entropy=at["shape"].numpy(), teacher_p_y=at["teacher"].numpy(), vocabulary=10
    )
    for name in ("logits", "teacher_logits", "reference_logits", "old_logits"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-14)
    assert ours.labels.tolist() == theirs.labels.tolist()


def test_no_two_positions_tie():
    """Where entries tie, top-k choices and thresholds hang on rounding, and Python and the page may differ."""
    at = positions.every_position({name: positions.POSITIONS[name] for name in ("p", "shape")}, {})
    p = positions.tokens_at(at).logits.softmax(-1).sort(-1).values
    assert float((p[:, 1:] / p[:, :-1]).min()) > 1 + 1e-9
    thresholds = set(catalogue.steps("threshold", 0.1, qt.get("profit").ranges["threshold"]))
    assert not thresholds & set(positions.POSITIONS["p"])


def test_sliders_begin_at_one_of_their_positions():
    assert set(positions.DEFAULTS) == set(positions.POSITIONS)
    assert all(positions.DEFAULTS[name] in values for name, values in positions.POSITIONS.items())


def test_scenes_name_what_is_offered():
    for _, fragment, sentence in scenes.SCENES:
        parts = dict(part.split("=", 1) for part in fragment.split("&"))
        for spec in re.findall(r"[\w-]+(?:\([^)]*\))?", parts.pop("losses")):
            assert qt.get(spec).name in formulas.FORMULAS
        assert set(parts) <= {*positions.POSITIONS, "gauge", "reading"}
        assert sentence.endswith(".")


def test_colours_are_told_from_their_ground():
    for theme, ground in (("light", colours.LIGHT), ("dark", colours.DARK)):
        for both in colours.palette()[theme].values():
            assert colours.contrast(both["line"], ground) >= 3
            assert colours.contrast(both["text"], ground) >= 4.5
    assert f"--panel: {colours.LIGHT}" in (ASSETS / "base.css").read_text()
    assert f"--panel: {colours.DARK}" in (ASSETS / "base.css").read_text()


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("dpo", "cannot show dpo.* two sequences"),
        ("unlikelihood-tokens", "earlier labels"),
        ("FILE:coupled", "couples its tokens"),
        ("FILE:wanting", "rewards"),
        ("FILE:broken", "boom"),
        ("FILE:infinite", "NaN|finite|inf"),
        ("no-such-loss", "no variant is named"),
    ],
)
def test_a_loss_that_cannot_be_shown_is_refused_and_nothing_written(losses_file, tmp_path, loss, words):
    path = tmp_path / "explorer.html"
    with pytest.raises(qt.QTargetError, match=words):
        write_explorer(path, [loss.replace("FILE", str(losses_file))])
    assert list(tmp_path.iterdir()) == []


def test_more_losses_than_are_shown_are_refused():
    with pytest.raises(qt.QTargetError, match="up to 4"):
        explorer_page(["sft", "dft", "gem", "kd", "asft"])


def test_a_registered_loss_that_is_named_twice_stands_once():
    text = explorer_page(["gem", "gem", "gem(beta=0.5)"])
    first = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["first"]
    assert [(one["name"], one["parameters"]) for one in first[2:]] == [("gem", {"beta": 0.7}), ("gem", {"beta": 0.5})]


def test_two_losses_of_one_name_are_refused(losses_file):
    spec = f"{losses_file}:sqrt_trust"
    with pytest.raises(qt.QTargetError, match=r"two losses are called my_losses.py:sqrt_trust"):
        explorer_page([spec, spec])


@pytest.fixture(scope="module")
def odd_records(odd_page_file):
    """What the page holds of a user's losses."""
    return json.loads(re.search(r'id="data">(.*?)</script>', odd_page_file.read_text(), re.DOTALL)[1])["own"]


def test_sliders_are_held_where_the_grid_would_be_large(odd_records):
    record = odd_records[0]
    assert list(record["axes"]) == ["reference", "old"]
    assert record["held"] == {"advantage": 1.0}
    assert len(record["targets"]) < 4 / 3 * grid.MOST_BYTES + 4


def test_names_are_those_of_the_address(losses_file):
    assert grid.name_of_loss(f"{losses_file}:distil") == "my_losses.py:distil"


def test_a_loss_that_looks_at_the_labels_id_has_a_note(losses_file, odd_records):
    assert grid.LABEL_COUNTS in grid.precomputed(f"{losses_file}:even_labels_only")["note"]
    assert all(grid.LABEL_COUNTS not in record["note"] for record in odd_records)


def test_a_loss_without_pulls_is_worked_out_with_its_offset(odd_records):
    record = odd_records[1]
    assert list(record["axes"]) == ["log_z"]
    assert record["gamma"] == "unknown law"
