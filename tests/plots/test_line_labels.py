"""Names of lines: beside them where nothing is touched, else in a legend outside."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from qtarget_inspect.plots.line_labels import _apart, label_lines

X = np.linspace(0, 1, 50)


@pytest.fixture
def ax():
    ax = Figure(figsize=(5, 4)).add_subplot()
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.1, 1.1)
    return ax


def draw(ax, **lines):
    return {name: ax.plot(X, y) for name, y in lines.items()}


def boxes(ax):
    return {text.get_text(): text.get_window_extent() for text in ax.texts}


def distance(ax, box, line):
    """From a box to a line, in pixels."""
    points = ax.transData.transform(np.column_stack(line.get_data()))
    fine = np.column_stack([np.interp(np.linspace(0, 49, 9999), np.arange(50), points[:, side]) for side in (0, 1)])
    away = np.maximum([box.x0, box.y0] - fine, fine - [box.x1, box.y1]).clip(min=0)
    return np.hypot(*away.T).min()


def inside(ax, box, line):
    return distance(ax, box, line) == 0


def test_names_stand_at_the_ends_where_they_fit(ax):
    assert label_lines(ax, draw(ax, low=0.2 * X, high=1 - 0.2 * X))
    for name, end in (("low", 0.2), ("high", 0.8)):
        box = boxes(ax)[name]
        assert box.x0 > ax.bbox.x1
        assert (box.y0 + box.y1) / 2 == pytest.approx(ax.transData.transform((1, end))[1], abs=1)
    assert ax.get_legend() is None


def test_names_that_nearly_meet_are_moved_apart(ax):
    label_lines(ax, draw(ax, one=0.5 * X, other=0.5 * X + 0.03))
    one, other = (boxes(ax)[name] for name in ("one", "other"))
    assert one.x0 > ax.bbox.x1
    assert one.y1 <= other.y0 + 2


def test_names_stand_along_lines_that_end_together(ax):
    lines = draw(ax, power=X**4, root=X**0.25, straight=X)
    assert label_lines(ax, lines)
    found = boxes(ax)
    assert set(found) == {"power", "root", "straight"}
    for name, box in found.items():
        assert box.x1 < ax.bbox.x1
        assert not any(inside(ax, box, line) for (line,) in lines.values()), f"{name} lies on a line"
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found.values(), 2))


def test_a_name_is_nearest_to_its_own_line(ax):
    lines = draw(ax, power=X**4, root=X**0.25)
    label_lines(ax, lines)
    for name, box in boxes(ax).items():
        distances = {other: distance(ax, box, line) for other, (line,) in lines.items()}
        assert min(distances, key=distances.get) == name


def test_names_touch_no_other_lines(ax):
    lines = draw(ax, power=X**4)
    others = [ax.plot(X, X**4 + shift)[0] for shift in (-0.05, 0.05)]
    ax.plot(X[:1], X[:1])
    lines["power"][0].set_xdata(X * 0.8)  # ends early, so that its name cannot stand at the end
    label_lines(ax, lines, others=others)
    for box in boxes(ax).values():
        assert not any(inside(ax, box, line) for line in others)


def test_where_there_is_no_room_there_is_a_legend_outside(ax):
    lines = {f"loss number {rank}": ax.plot(X, X ** (1 + rank / 50)) for rank in range(9)}
    assert not label_lines(ax, lines)
    assert ax.texts == [] or len(ax.texts) == 0
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(lines)
    ax.figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(ax.bbox)


def test_names_have_the_colours_of_their_lines_dark_enough(ax):
    lines = draw(ax, blue=0.2 * X, pale=1 - 0.2 * X)
    lines["blue"][0].set_color("#0072b2")
    lines["pale"][0].set_color("#f0e0c0")
    label_lines(ax, lines)
    blue, pale = ax.texts
    assert blue.get_color() == "#0072b2"
    assert pale.get_color() != "#f0e0c0"


def test_gaps_in_a_line_are_no_ends(ax):
    y = np.where((X > 0.4) & (X < 0.6), np.nan, X)
    assert label_lines(ax, draw(ax, gap=y))
    assert boxes(ax)["gap"].x0 > ax.bbox.x1


def test_a_line_without_values_needs_the_legend(ax):
    assert not label_lines(ax, draw(ax, empty=np.full(50, np.nan)))
    assert ax.get_legend() is not None


def test_no_line_no_name(ax):
    assert label_lines(ax, {})
    assert ax.get_legend() is None


def test_places_move_as_little_as_they_can():
    assert _apart(np.array([0.0, 10.0]), 2).tolist() == [0, 10]
    assert _apart(np.array([5.0, 5.0]), 2).tolist() == [4, 6]
    assert _apart(np.array([5.0, 5.0, 5.0, 20.0]), 2).tolist() == [3, 5, 7, 20]
