"""The map of label trust: tints, contours, what cannot be reached."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots import plot_trust_map


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def grid():
    return qt.sweep(["eaft", "focal"], over=("p_y", "entropy"))


def mesh_of(ax):
    return [one for one in ax.collections if isinstance(one, QuadMesh)][-1]


def contours_of(ax):
    return [one for one in ax.collections if isinstance(one, QuadContourSet)]


def test_tints_are_gamma(ax, grid):
    assert plot_trust_map(grid, loss="eaft", ax=ax) is ax
    rows = grid[grid.title == "EAFT"]
    expected = rows.pivot(index="value_y", columns="value", values="gamma").to_numpy()
    found = mesh_of(ax).get_array()
    assert np.ma.getmaskarray(found).tolist() == np.isnan(expected).tolist()
    assert np.ma.filled(found, -1).tolist() == np.where(np.isnan(expected), -1, expected).tolist()
    assert (mesh_of(ax).norm.vmin, mesh_of(ax).norm.vmax) == (0, 1)
    assert ax.get_title(loc="left") == "EAFT"
    assert ax.get_xlim() == pytest.approx((0, 1))
    assert ax.get_ylim() == pytest.approx((0, np.log(32)))


def test_contours_are_where_gamma_has_their_level(ax, grid):
    plot_trust_map(grid, loss="EAFT", ax=ax)
    (lines,) = contours_of(ax)
    assert lines.levels.tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]
    x, y = max(lines.allsegs[2], key=len)[len(max(lines.allsegs[2], key=len)) // 2]
    state = qt.sweep("eaft", over="entropy", values=[float(y)], p_y=float(x))
    assert state.gamma.item() == pytest.approx(0.5, abs=5e-3)


def test_states_that_cannot_be_are_hatched_and_named(ax, grid):
    plot_trust_map(grid, loss="eaft", ax=ax)
    assert ax.patch.get_hatch()
    reachable, _ = (one for one in ax.collections if isinstance(one, QuadMesh))
    unreachable = np.ma.getmaskarray(reachable.get_array())
    assert unreachable.mean() == pytest.approx(grid.others_entropy.isna().mean())
    assert "no such state" in [text.get_text() for text in ax.texts]


def test_the_name_of_the_hatches_covers_no_state(grid):
    small = Figure(figsize=(2, 1.5)).add_subplot()
    plot_trust_map(grid, loss="eaft", colour_bar=False, ax=small)
    assert "no such state" not in [text.get_text() for text in small.texts]


def test_undefined_gamma_is_white_not_hatched(ax):
    table = qt.sweep("logit-norm", over=("p_y", "teacher_p_y"), values=([0.1, 0.5], [0.2, 0.8]))
    plot_trust_map(table, ax=ax)
    reachable, tinted = (one for one in ax.collections if isinstance(one, QuadMesh))
    assert not np.ma.getmaskarray(reachable.get_array()).any()
    assert np.ma.getmaskarray(tinted.get_array()).all()
    assert "no such state" not in [text.get_text() for text in ax.texts]


def test_gamma_above_one_leaves_the_scale(ax, grid):
    plot_trust_map(grid, loss="focal", ax=ax)
    _, bar = ax.figure.axes
    assert 1.1 in contours_of(ax)[0].levels
    assert mesh_of(ax).colorbar.extend == "max"
    assert bar.get_ylabel() == r"label trust $\gamma$ (unit gauge)"


def test_a_step_has_no_contours(ax):
    plot_trust_map(qt.sweep("profit", over=("p_y", "entropy")), ax=ax)
    assert contours_of(ax) == []


def test_without_a_colour_bar_there_is_one_frame(ax, grid):
    plot_trust_map(grid, loss="eaft", colour_bar=False, ax=ax)
    assert ax.figure.axes == [ax]


def test_a_parameter_may_be_an_axis(ax):
    table = qt.sweep("asft", over=("p_y", "kl_weight"), values=([0.1, 0.4], [0.1, 0.4, 0.9]))
    plot_trust_map(table, ax=ax)
    assert mesh_of(ax).get_array().shape == (3, 2)
    assert mesh_of(ax).get_array()[0].tolist() == pytest.approx([0.5, 0.8])
    assert ax.get_ylabel() == "kl_weight"


def test_one_value_is_a_column(ax):
    plot_trust_map(qt.sweep("dft", over=("p_y", "teacher_p_y"), values=([0.3], [0.1, 0.4])), ax=ax)
    assert mesh_of(ax).get_array().shape == (2, 1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda grid: qt.sweep("dft"), "has no over_y, value_y"),
        (lambda grid: grid, "draws one loss, and the table has"),
        (lambda grid: grid[grid.title == "EAFT"].iloc[1:], "one row for every pair of values"),
    ],
)
def test_what_is_no_grid_is_refused(grid, table, message):
    with pytest.raises(qt.QTargetError, match=message):
        plot_trust_map(table(grid))


def test_without_axes_a_figure_is_made(grid):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    try:
        assert plot_trust_map(grid, loss="eaft").figure is plt.gcf()
    finally:
        plt.close("all")


def test_how_it_is_misread_is_told():
    assert "Area is not frequency" in plot_trust_map.__doc__.split("Misread:")[1]
