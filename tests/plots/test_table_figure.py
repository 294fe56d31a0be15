"""A table as a figure: its cells are those that are printed, and nothing runs into anything."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, plot_table
from qtarget_inspect.tables.writers import display_table


@pytest.fixture(scope="module")
def unification():
    return qt.unification_table("label-trust")


def cells(ax):
    """(row, column) -> text, lines joined."""
    found: dict[tuple[int, int], str] = {}
    for text in ax.texts:
        row, column = map(int, text.get_gid().split(","))
        found[row, column] = " ".join(filter(None, [found.get((row, column), ""), text.get_text()]))
    return found


def test_cells_are_those_of_the_printed_table(unification):
    ax = plot_table(unification, ax=Figure(figsize=(9, 4)).add_subplot())
    table = display_table(unification)
    found = cells(ax)
    assert [found[0, column] for column in range(len(table.columns))] == list(table.columns)
    for row, values in enumerate(table.itertuples(index=False), 1):
        assert [found[row, column] for column in range(len(values))] == [" ".join(value.split()) for value in values]


def test_columns_are_chosen_by_their_printed_names(unification):
    ax = plot_table(unification, columns=["method", "gauge"], ax=Figure().add_subplot())
    assert {column for _, column in cells(ax)} == {0, 1}
    assert (cells(ax)[1, 0], cells(ax)[2, 0]) == ("SFT", "DFT")


def test_methods_have_the_colour_of_their_category(unification):
    ax = plot_table(unification, ax=Figure().add_subplot())
    colours = {text.get_text(): text.get_color() for text in ax.texts if text.get_gid().endswith(", 0")}
    assert colours["DFT"] == CATEGORY_COLOURS["label trust"]


def test_losses_of_a_comparison_have_the_colour_of_their_category():
    """What is not registered has no category, though it be called like a registered loss."""

    def dft(logits, labels):
        return -logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)

    table = qt.compare(["gem", dft], qt.probe_batch(16), resamples=10)
    assert table["category"].tolist() == ["residual distribution", ""]
    ax = plot_table(table, ax=Figure().add_subplot())
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours["gem(beta=0.7)"] == CATEGORY_COLOURS["residual distribution"]
    assert colours["dft"] == colours["loss"]
    assert "category" not in colours, "it is a colour and no column"


def test_long_cells_are_broken_and_nothing_overlaps():
    frame = pd.DataFrame({"loss": ["one", "another of long words"], "note": ["a word " * 12, "short"], "x": [0.1, 2.0]})
    figure = Figure(figsize=(5, 3))
    ax = plot_table(frame, widest=20, ax=figure.add_axes((0, 0, 1, 1)))
    figure.draw_without_rendering()
    boxes = [(text.get_gid(), text.get_window_extent()) for text in ax.texts]
    assert sum(gid == "1, 1" for gid, _ in boxes) == 4
    for place, (_, one) in enumerate(boxes):
        assert not any(one.overlaps(other) for _, other in boxes[place + 1 :])


@pytest.mark.parametrize("size", [(3.4, 1.2), (1.5, 3), (12, 6)])
def test_it_fits_into_given_axes(unification, size):
    figure = Figure(figsize=size)
    ax = plot_table(unification, ax=figure.add_axes((0, 0, 1, 1)))
    figure.draw_without_rendering()
    for text in ax.texts:
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1 * 1.02
        assert box.y0 >= figure.bbox.y0 - 1
    sizes = {text.get_fontsize() for text in ax.texts}
    assert len(sizes) == 1
    assert (sizes.pop() < 10) == (size != (12, 6)), "letters shrink only where they must"


def test_cells_are_broken_where_that_lets_letters_be_larger():
    frame = pd.DataFrame({f"column {i}": ["0.5 [0.4, 0.6] on 52 %"] for i in range(4)})

    def size_in(height):
        ax = plot_table(frame, ax=Figure(figsize=(3.4, height)).add_axes((0, 0, 1, 1)))
        return ax.texts[0].get_fontsize(), cells(ax)[1, 0]

    flat, high = size_in(0.2), size_in(2)
    assert high[0] > 1.5 * flat[0]
    assert high[1] == "0.5 [0.4, 0.6] on 52 %", "nothing is lost"


def test_three_rules_as_wide_as_the_text(unification):
    ax = plot_table(unification, ax=Figure(figsize=(9, 4)).add_subplot())
    top, middle, bottom = (line.get_data() for line in ax.lines)
    assert list(top[1]) == [0, 0]
    assert 0 < middle[1][0] < bottom[1][0]
    assert top[0][1] == middle[0][1] == bottom[0][1]


def test_its_own_figure_is_as_large_as_the_table(unification):
    try:
        ax = plot_table(unification)
        figure = ax.figure
        figure.draw_without_rendering()
        right = max(text.get_window_extent().x1 for text in ax.texts)
        bottom = min(text.get_window_extent().y0 for text in ax.texts)
        assert 0 < figure.bbox.x1 - right < 0.05 * figure.bbox.x1
        assert 0 < bottom < 0.2 * figure.bbox.y1
    finally:
        plt.close("all")


def test_math_signs_are_left_alone():
    ax = plot_table(pd.DataFrame({"loss": ["a$b_c$d"]}), ax=Figure().add_subplot())
    shown, is_formula = ax.texts[1]._preprocess_math(ax.texts[1].get_text())
    assert (shown, bool(is_formula)) == ("a$b_c$d", False)


def test_what_is_no_such_table_is_refused(unification):
    ax = Figure().add_subplot()
    with pytest.raises(qt.QTargetError, match="plot_table takes a DataFrame, not list"):
        plot_table([1, 2], ax=ax)
    with pytest.raises(qt.QTargetError, match="no column speed; it has method, category, gamma"):
        plot_table(unification, columns=["speed"], ax=ax)
    with pytest.raises(qt.QTargetError, match="without rows"):
        plot_table(unification.iloc[:0], ax=ax)
