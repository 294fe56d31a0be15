"""The triangle: arrows, lines, edges and points stand where the field says."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, plot_simplex

TEACHER = torch.tensor([0.2, 0.5, 0.3]).log()
Q_STAR = [0.5, 0.3, 0.2]

TOP, LEFT, RIGHT = np.array([[0.0, 1.0], [-(3**-0.5), 0.0], [3**-0.5, 0.0]])


@pytest.fixture(scope="module")
def fields():
    return {
        "sft": qt.simplex_field("sft", 1, resolution=5),
        "dft": qt.simplex_field("dft", 0, resolution=5),
        "profit": qt.simplex_field("profit(threshold=0.3)", 0, resolution=5),
        "several": qt.simplex_field("beyond-log(alpha=3)", q_star=Q_STAR, resolution=5),
        "teacher": qt.simplex_field("target-sft", q_star=Q_STAR, resolution=5, teacher_logits=TEACHER),
    }


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3)).add_subplot(projection="ternary")


def seen(p, order=(0, 1, 2)):
    """Where probabilities stand, the first token of the order on top."""
    return np.asarray(p)[..., list(order)] @ np.array([TOP, LEFT, RIGHT])


def lines(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_arrows_point_where_p_moves(ax, fields):
    field = fields["several"]
    assert plot_simplex(field, ax=ax) is ax
    arrows = ax.collections[0]
    drawn = np.stack([arrows.U, arrows.V], -1)
    moves = np.asarray(field.velocity) @ np.array([TOP, LEFT, RIGHT])
    cosine = (drawn * moves).sum(-1) / np.linalg.norm(drawn, axis=-1) / np.linalg.norm(moves, axis=-1)
    assert cosine == pytest.approx(np.ones(len(field.p)))
    middle = arrows.get_offsets() + drawn / 2
    assert np.allclose(middle, seen(field.p)), "an arrow's middle is its state"
    speed = np.linalg.norm(np.asarray(field.velocity), axis=-1)
    ratio = np.linalg.norm(drawn, axis=-1) / np.sqrt(speed)
    far = np.linalg.norm(np.asarray(field.velocity) @ np.array([TOP, LEFT, RIGHT]), axis=-1) / speed
    assert ratio / far == pytest.approx(np.full(len(speed), (ratio / far)[0])), "length is the root of the speed"


def test_the_label_stands_on_top(ax, fields):
    plot_simplex(fields["sft"], ax=ax)
    names = [text.get_text() for text in ax.texts]
    assert names == ["label $y$", "token 0", "token 2"]
    (rest,) = lines(ax, "stable")
    assert np.allclose(np.column_stack(rest.get_data()), [TOP])
    assert ax.get_title() == "SFT"


def test_flow_lines_are_those_of_the_field(ax, fields):
    plot_simplex(fields["several"], ax=ax)
    drawn = lines(ax, "flow")
    assert len(drawn) == len(fields["several"].lines)
    assert np.allclose(np.column_stack(drawn[3].get_data()), seen(fields["several"].lines[3]))


def test_stable_points_are_filled_and_others_open(ax, fields):
    field = fields["several"]
    plot_simplex(field, ax=ax)
    colour = CATEGORY_COLOURS["label trust"]
    assert {to_hex(line.get_markerfacecolor()) for line in lines(ax, "stable")} == {colour}
    assert {to_hex(line.get_markerfacecolor()) for line in lines(ax, "unstable")} == {"#ffffff"}
    for stable, name in ((True, "stable"), (False, "unstable")):
        drawn = sorted(np.column_stack(line.get_data()).round(6).tolist() for line in lines(ax, name))
        there = sorted(seen(p.p[None]).round(6).tolist() for p in field.points if p.stable == stable)
        assert np.allclose(drawn, there)
    assert ax.get_title() == "Beyond-log (alpha=3): multi-stable"


def test_q_star_and_teacher_are_marked(ax, fields):
    plot_simplex(fields["teacher"], ax=ax)
    (cross,), (teacher,) = lines(ax, "q*"), lines(ax, "teacher")
    assert np.allclose(np.column_stack(cross.get_data()), seen([Q_STAR]))
    assert np.allclose(np.column_stack(teacher.get_data()), seen([[0.2, 0.5, 0.3]]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["stable", "unstable", "$q^*$", "teacher"]
    assert [text.get_text() for text in ax.texts][1] == "token 1\n$q^*$ = 0.3"


def test_an_edge_at_rest_is_drawn_as_one_and_not_as_points(ax, fields):
    field = fields["dft"]
    assert sum(not point.stable for point in field.points) >= 2
    plot_simplex(field, ax=ax)
    assert not lines(ax, "unstable")
    outer, inner = lines(ax, "edge at rest")
    assert np.allclose(np.column_stack(outer.get_data()), [LEFT, RIGHT])
    assert to_hex(inner.get_color()) == "#ffffff", "open, since it is not stable"
    assert "edge at rest" in [text.get_text().strip() for text in ax.get_legend().get_texts()]


def test_states_at_rest_are_dots(ax, fields):
    field = fields["profit"]
    plot_simplex(field, ax=ax)
    (dots,) = lines(ax, "at rest")
    assert np.allclose(np.column_stack(dots.get_data()), seen(field.p[field.at_rest]))
    assert len(ax.collections[0].get_offsets()) == int((~field.at_rest).sum())


def test_names_and_key_are_free(ax, fields):
    plot_simplex(fields["sft"], tokens=["cat", "dog", "cow"], key=False, ax=ax)
    assert [text.get_text() for text in ax.texts] == ["dog", "cat", "cow"]
    assert ax.get_legend() is None


def test_without_axes_a_ternary_figure_is_made(fields):
    try:
        ax = plot_simplex(fields["sft"])
        assert ax.name == "ternary"
        assert ax.figure is plt.gcf()
    finally:
        plt.close("all")


def test_wrong_axes_and_data_are_refused(ax, fields):
    with pytest.raises(qt.QTargetError, match="needs ternary axes, not Axes: pass"):
        plot_simplex(fields["sft"], ax=Figure().add_subplot())
    with pytest.raises(qt.QTargetError, match=r"takes what qt\.simplex_field returns, not str"):
        plot_simplex("dft", ax=ax)
    with pytest.raises(qt.QTargetError, match="three names"):
        plot_simplex(fields["sft"], tokens=["a"], ax=ax)


@pytest.mark.parametrize("size", [(3.4, 3.4), (4.2, 4.4), (8, 4.5)])
def test_title_and_key_are_inside_the_figure(fields, size):
    figure = Figure(figsize=size, layout="constrained")
    ax = plot_simplex(fields["several"], ax=figure.add_subplot(projection="ternary"))
    figure.draw_without_rendering()
    for part in (ax.title, ax.get_legend(), *ax.texts):
        box = part.get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height
