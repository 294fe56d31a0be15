"""Quadrants: dots and arrows stand where the table says, and names do not lie on them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style, plot_quadrants
from qtarget_inspect.plots.quadrants import QUADRANTS
from qtarget_inspect.plots.token_strip import MARKER_COLOURS, MARKERS

P = [0.1, 0.2, 0.6, 0.9, 0.3]
TEACHER = [0.8, 0.1, 0.2, 0.9, 0.7]
Q = {"SFT": [1.0] * 5, "DFT": [0.19, 0.36, 0.84, 0.99, 0.51], "odd": [0.1, 1.4, 0.6, 0.9, -0.2]}
CATEGORY = {"SFT": "one-hot", "DFT": "label trust", "odd": ""}


@pytest.fixture
def records():
    tokens = ["a", "·bb", "c", "·dd", "e"]
    return pd.concat([
        pd.DataFrame(
            {"loss": method.lower(), "method": method, "category": CATEGORY[method], "gauge": "unit"}
            | {
                "token": tokens,
                "p_label": P,
                "teacher_p_label": TEACHER,
                "q_label": q,
                "change": np.subtract(q, P),
            }
        )
        for method, q in Q.items()
    ])


@pytest.fixture
def ax():
    return Figure(figsize=(3.4, 3.4), layout="constrained").add_subplot()


def arrows(ax):
    return [tuple(map(tuple, patch._posA_posB)) for patch in ax.patches]


def test_dots_and_arrows(ax, records):
    assert plot_quadrants(records, method="DFT", ax=ax) is ax
    assert ax.collections[0].get_offsets().tolist() == [list(pair) for pair in zip(P, TEACHER, strict=True)]
    expected = [((p, t), (q, t)) for p, t, q in zip(P, TEACHER, Q["DFT"], strict=True)]
    assert np.allclose(arrows(ax), expected)
    assert {to_hex(patch.get_facecolor()) for patch in ax.patches} == {CATEGORY_COLOURS["label trust"]}
    assert ax.get_title() == "DFT"
    assert "unit gauge" in ax.get_xlabel()


def test_what_stays_has_no_arrow(ax, records):
    plot_quadrants(records, method="odd", ax=ax)
    assert [pair[0][0] for pair in arrows(ax)] == [0.2, 0.3]
    low, high = ax.get_xlim()
    assert low < -0.2, "signed targets are inside"
    assert high > 1.4


def test_a_loss_is_a_name_too_and_one_method_needs_none(ax, records):
    plot_quadrants(records, method="dft", ax=ax)
    assert ax.get_title() == "DFT"
    alone = Figure().add_subplot()
    assert plot_quadrants(records[records.method == "SFT"], ax=alone).get_title() == "SFT"


def test_the_four_quadrants_are_named_inside_and_nothing_lies_under_a_name(ax, records):
    with figure_style(7):
        plot_quadrants(records, method="DFT", ax=ax)
    ax.figure.draw_without_rendering()
    named = {text.get_text(): text for text in ax.texts}
    lines = [np.linspace((p, t), (q, t), 50) for p, t, q in zip(P, TEACHER, Q["DFT"], strict=True)]
    drawn = ax.transData.transform(np.concatenate(lines))
    where = {"only the teacher": (0, 1), "both": (1, 1), "neither": (0, 0), "only the model": (1, 0)}
    for name, (right, up) in where.items():
        box = named[name].get_window_extent()
        assert not box.count_contains(drawn), name
        low, high = (ax.transData.inverted().transform(corner) for corner in (box.min, box.max))
        assert (low >= np.array([right, up]) / 2 - 0.01).all(), name
        assert (high <= np.array([right, up]) / 2 + 0.51).all(), name


def test_no_name_of_a_quadrant_is_that_of_a_mark():
    """A quadrant parts at one half and a mark goes by differences: two things, two words."""
    assert set(QUADRANTS) & set(MARKERS) == set()


def test_telling_tokens_are_marked_as_in_the_strip(ax, records):
    plot_quadrants(records.assign(telling=["rescue", "", "doubted", "", "rescue"] * 3), method="DFT", ax=ax)
    marks = {mark.get_label(): mark.get_offsets().tolist() for mark in ax.collections[1:]}
    assert marks == {"rescue": [[0.1, 0.8], [0.3, 0.7]], "doubted": [[0.6, 0.2]]}
    colours = {mark.get_label(): to_hex(mark.get_facecolor()[0]) for mark in ax.collections[1:]}
    assert colours == {name: MARKER_COLOURS[name] for name in marks}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rescue", "doubted"]


def test_without_marks_or_unasked_there_is_no_key(ax, records):
    assert plot_quadrants(records.assign(telling=""), method="DFT", ax=ax).get_legend() is None
    bare = Figure().add_subplot()
    assert plot_quadrants(records.assign(telling="filter"), method="DFT", key=False, ax=bare).get_legend() is None


def test_those_that_move_most_are_named_and_names_lie_on_nothing(ax, records):
    plot_quadrants(records, method="SFT", named=2, ax=ax)
    named = [text for text in ax.texts if text.get_family() == ["DejaVu Sans Mono"]]
    assert [text.get_text() for text in named] == ["a", "·bb"]
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in named]
    dots = ax.transData.transform(np.column_stack([P, TEACHER]))
    assert not any(box.count_contains(dots) for box in boxes)
    assert not boxes[0].overlaps(boxes[1])


def test_without_axes_a_figure_is_made(records):
    try:
        assert plot_quadrants(records, method="DFT").figure is plt.gcf()
    finally:
        plt.close("all")


def test_what_cannot_be_drawn_is_refused(ax, records):
    with pytest.raises(QTargetError, match=r"draws one method; the table has SFT, DFT, odd\. Pass method='SFT'"):
        plot_quadrants(records, ax=ax)
    with pytest.raises(QTargetError, match="finds no method 'EAFT'"):
        plot_quadrants(records, method="EAFT", ax=ax)
    with pytest.raises(QTargetError, match="the table has no teacher_p_label"):
        plot_quadrants(records.drop(columns="teacher_p_label"), ax=ax)
    with pytest.raises(QTargetError, match="needs the teacher's view"):
        plot_quadrants(records.assign(teacher_p_label=np.nan), method="SFT", ax=ax)
