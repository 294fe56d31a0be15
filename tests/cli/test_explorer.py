"""The command explorer: it writes one page, or nothing and one line that says why."""

import pytest


def test_it_writes_one_page(run, losses, tmp_path):
    path = tmp_path / "lecture.html"
    done = run("explorer", "--out", path, "--loss", "asft(kl_weight=0.1)", "--loss", f"{losses}:focal")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{path}: 0.")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert '"name": "my_losses.py:focal"' in text
    assert '"parameters": {"kl_weight": 0.1}' in text


def test_it_is_written_where_one_stands(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("explorer").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["explorer.html"]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("simpo", "the explorer cannot show simpo"),
        ("LOSSES:broken", "boom"),
        ("LOSSES:number", "no function named 'number'"),
        ("asft(kl=1)", "asft has no parameter kl"),
    ],
)
def test_a_loss_that_is_refused_leaves_no_file(run, losses, tmp_path, loss, words):
    path = tmp_path / "lecture.html"
    done = run("explorer", "--out", path, "--loss", loss.replace("LOSSES", str(losses)))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not path.exists()


@pytest.mark.parametrize(("place", "words"), [("", "is a folder"), ("nowhere/page.html", "there is no folder")])
def test_a_place_that_cannot_be_written_to_is_named_at_once(run, tmp_path, place, words):
    done = run("explorer", "--out", tmp_path / place)
    assert done.exit_code == 2
    assert words in done.stderr
