"""Curves of a sweep: which lines are drawn, from which numbers, under which names."""

import functools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, plot_gamma, plot_gradient, plot_pulls, plot_q, plot_sensitivity
from qtarget_inspect.plots.style import INK, MODEL_LINE, ROLE_STYLES, figure_style

PLOTS = [plot_gamma, plot_gradient, plot_q, plot_pulls, plot_sensitivity]


@pytest.fixture
def ax():
    return Figure(figsize=(6, 4)).add_subplot()


@functools.cache
def swept(*losses, over="p_y", **arguments):
    return qt.sweep(list(losses), over=over, **arguments)


def curves(ax):
    """The lines that span more than two points: no frame."""
    return [line for line in ax.lines if len(line.get_xdata()) > 2]


def names(ax):
    legend = ax.get_legend()
    return {text.get_text() for text in (ax.texts if legend is None else legend.get_texts())}


def rows_of(table, title):
    return table[table.title == title]


def test_gamma_is_a_line_a_loss(ax):
    table = swept("sft", "dft", "asft")
    assert plot_gamma(table, ax=ax) is ax
    for line, title in zip(curves(ax), ("SFT", "DFT", "ASFT"), strict=True):
        rows = rows_of(table, title)
        assert line.get_xdata().tolist() == rows.p_y.tolist()
        assert line.get_ydata().tolist() == rows.gamma.tolist()
        assert to_hex(line.get_color()) == CATEGORY_COLOURS[rows.category.iloc[0]]
    assert names(ax) == {"SFT", "DFT", "ASFT*"}
    assert ax.get_ylabel().endswith("(unit gauge; * normalized)"), "the gauge stands beside gamma"
    assert ax.get_xlabel().startswith("$p_y$")
    assert ax.get_xlim() == (0, 1)


def test_one_gauge_is_named_without_asterisks(ax):
    plot_gamma(swept("sft", "dft", gauge="unit"), ax=ax)
    assert ax.get_ylabel().endswith("(unit gauge)")
    assert names(ax) == {"SFT", "DFT"}


def test_curves_that_coincide_are_one_line_under_all_names(ax):
    plot_gamma(swept("dft", "sft", "p-loss"), ax=ax)
    assert len(curves(ax)) == 2
    assert names(ax) == {"DFT = p-loss", "SFT"}


def test_curves_that_nearly_coincide_stay_apart(ax):
    table = swept("dft", "p-loss").copy()
    table.loc[table.title == "p-loss", "gamma"] += 1e-6
    plot_gamma(table, ax=ax)
    assert len(curves(ax)) == 2


def test_a_shared_line_has_the_colours_of_both_categories_in_turn(ax):
    table = swept("sft", "gem")
    plot_gamma(table, ax=ax)
    one, other = curves(ax)
    assert [to_hex(line.get_color()) for line in (one, other)] == [
        CATEGORY_COLOURS["one-hot"],
        CATEGORY_COLOURS["residual distribution"],
    ]
    assert not one.get_linestyle() == other.get_linestyle() == "-", "both are dashed, each in the other's gaps"
    assert names(ax) == {"SFT = GEM"}
    assert to_hex(ax.texts[0].get_color()) == INK


def test_losses_of_one_category_differ_by_shade_and_mark(ax):
    plot_gamma(swept("dft", "eaft", "profit"), ax=ax)
    assert len({line.get_color() for line in curves(ax)}) == len({line.get_marker() for line in curves(ax)}) == 3
    assert {line.get_linestyle() for line in curves(ax)} == {"-"}, "dashes are for roles"


def test_what_is_undefined_is_said(ax):
    plot_gamma(swept("dft", "logit-norm"), ax=ax)
    assert ax.get_title(loc="right") == r"$\gamma$ undefined: logit normalisation"
    assert len(curves(ax)) == 1


def test_all_undefined_is_an_empty_frame_that_says_so(ax):
    plot_gamma(swept("logit-norm"), ax=ax)
    assert not curves(ax)
    assert "logit normalisation" in ax.get_title(loc="right")


def test_values_in_any_order_are_drawn_from_left_to_right(ax):
    table = swept("dft").sample(frac=1, random_state=0)
    plot_gamma(table, ax=ax)
    assert (np.diff(curves(ax)[0].get_xdata()) > 0).all()


def test_gamma_above_one_is_inside(ax):
    plot_gamma(swept("symmetric-ce"), ax=ax)
    assert ax.get_ylim()[1] > 4.09


def test_a_parameter_over_decades_is_on_a_log_axis(ax):
    plot_gamma(swept("asft", over="kl_weight"), ax=ax)
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "kl_weight")
    linear = Figure().add_subplot()
    plot_gamma(swept("label-smoothing", over="label_smoothing"), ax=linear)
    assert linear.get_xscale() == "linear"


def test_gradient_on_the_label_is_solid_on_the_other_dashed(ax):
    table = swept("sft", "dft")
    assert plot_gradient(table, ax=ax) is ax
    drawn = curves(ax)
    for solid, dashed, title in zip(drawn[:2], drawn[2:], ("SFT", "DFT"), strict=True):
        assert solid.get_ydata().tolist() == rows_of(table, title).g_label.tolist()
        assert dashed.get_ydata().tolist() == rows_of(table, title).g_other.tolist()
        assert (solid.get_linestyle(), dashed.get_linestyle()) == (ROLE_STYLES["label"], ROLE_STYLES["other"])
        assert solid.get_color() == dashed.get_color()
    assert "— label, - - favourite other" in ax.get_ylabel()
    assert names(ax) == {"SFT", "DFT"}


def test_small_axes_have_short_words():
    with figure_style(7):
        small = Figure(figsize=(1.6, 1.4)).add_subplot()
        plot_gradient(swept("sft", "dft"), ax=small)
    assert small.get_xlabel() == "$p_y$ of the model"
    assert small.get_ylabel() == "gradient $g$\n(— label, - - other)"


def test_losses_with_one_gamma_but_other_gradients_stay_apart(ax):
    plot_gradient(swept("sft", "gem"), ax=ax)
    assert len(curves(ax)) == 4


def test_q_stands_beside_the_model(ax):
    table = swept("dft", "gem")
    assert plot_q(table, ax=ax) is ax
    *drawn, p_label, p_other = curves(ax)
    assert [line.get_ydata().tolist() for line in drawn] == [
        rows_of(table, title)[column].tolist() for column in ("q_label", "q_other") for title in ("DFT", "GEM")
    ]
    assert p_label.get_ydata().tolist() == p_label.get_xdata().tolist()
    assert p_other.get_ydata().tolist() == rows_of(table, "DFT").p_other.tolist()
    assert {to_hex(line.get_color()) for line in (p_label, p_other)} == {MODEL_LINE}
    assert names(ax) == {"DFT", "GEM", "model $p$"}
    assert "unit gauge" in ax.get_ylabel()
    assert ax.get_ylim()[0] < -0.1, "negative mass is inside"


def test_q_without_a_gauge_is_said(ax):
    plot_q(swept("dft", "reverse-kl", gauge="normalized"), ax=ax)
    assert ax.get_title(loc="right") == "$Q$ undefined: reverse KL"


def test_sensitivity_of_one_loss_names_the_tokens(ax):
    table = swept("target-sft", over="eta")
    assert plot_sensitivity(table, ax=ax) is ax
    drawn = curves(ax)
    columns = ("q_label", "q_other", "q_teacher_token", "p_y", "p_other", "p_teacher_token")
    assert [line.get_ydata().tolist() for line in drawn] == [table[column].tolist() for column in columns]
    assert [line.get_linestyle() for line in drawn] == ["-", "--", ":"] * 2
    assert names(ax) == {"label", "model's favourite", "teacher's favourite"}
    assert ax.get_ylabel().startswith("$Q$ under Target-SFT")


def test_sensitivity_of_several_losses_names_them(ax):
    plot_sensitivity(swept("asft", "sft-kl", over="kl_weight"), ax=ax)
    assert names(ax) == {"ASFT", "SFT + KL"}
    assert "···" in ax.get_ylabel()


def test_pulls_are_a_line_an_attractor_and_their_sum(ax):
    table = swept("asft", "dft")
    assert plot_pulls(table, loss="asft", ax=ax) is ax
    rows = rows_of(table, "ASFT")
    assert [line.get_ydata().tolist() for line in curves(ax)] == [
        rows[column].tolist() for column in ("pull_label", "pull_reference", "total_pull")
    ]
    assert [line.get_linestyle() for line in curves(ax)] == ["-", "--", "-"]
    assert names(ax) == {"label", "reference", "total pull $S$"}
    assert "unit gauge" in ax.get_ylabel()


def test_a_single_pull_has_no_sum(ax):
    plot_pulls(swept("dft"), ax=ax)
    assert names(ax) == {"label"}


def test_a_sum_that_is_one_of_the_pulls_is_its_line(ax):
    plot_pulls(swept("asft-reverse-kl"), ax=ax)
    assert names(ax) == {"label = total pull $S$", "tilt log p", "tilt log reference"}
    assert len(curves(ax)) == 3, "tilts do not count in S"


def test_long_numbers_in_attractors_are_rounded(ax):
    plot_pulls(swept("gem"), ax=ax)
    assert names(ax) == {"label", "p^1.429", "total pull $S$"}


@pytest.mark.parametrize(
    ("losses", "loss", "message"),
    [
        (("asft", "dft"), None, r"draws one loss, and the table has asft\(kl_weight=0.05\), dft. Pass loss="),
        (("asft", "dft"), "sft", "loss='sft' names 0 of the losses"),
        (("asft", "asft(kl_weight=1)"), "ASFT", "loss='ASFT' names 2 of the losses"),
        (("logit-norm",), None, "logit normalisation has no pulls here"),
    ],
)
def test_one_loss_must_be_named(losses, loss, message):
    with pytest.raises(qt.QTargetError, match=message):
        plot_pulls(swept(*losses), loss=loss)


def test_two_settings_of_one_loss_are_told_apart_by_name(ax):
    plot_gamma(swept("asft", "asft(kl_weight=1)"), ax=ax)
    assert names(ax) == {"ASFT (kl_weight=0.05)", "ASFT (kl_weight=1)"}


@pytest.mark.parametrize("plot", PLOTS)
def test_missing_columns_are_named(plot):
    with pytest.raises(qt.QTargetError, match=rf"{plot.__name__} needs the columns .* has no value, gauge. qt.sweep"):
        plot(swept("dft").drop(columns=["value", "gauge"]))


@pytest.mark.parametrize("plot", PLOTS)
def test_what_is_no_sweep_over_one_number_is_refused(plot):
    with pytest.raises(qt.QTargetError, match=f"{plot.__name__} takes a DataFrame, not str"):
        plot("dft")
    with pytest.raises(qt.QTargetError, match="table without rows"):
        plot(swept("dft").iloc[:0])
    with pytest.raises(qt.QTargetError, match=r"this one is a grid. plot_trust_map"):
        plot(qt.sweep("dft", over=("p_y", "teacher_p_y"), values=([0.1, 0.2], [0.5, 0.6])))


@pytest.mark.parametrize("plot", PLOTS)
def test_without_axes_a_figure_is_made_in_the_shared_style(plot):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    try:
        made = plot(swept("target-sft"))
        assert made.figure is plt.gcf()
        assert made.xaxis.label.get_size() == 8
        assert made.xaxis.get_major_ticks()[0].label1.get_size() == 8
        assert not made.spines["top"].get_visible()
    finally:
        plt.close("all")


@pytest.mark.parametrize("plot", PLOTS)
def test_the_style_of_the_block_holds(plot):
    with figure_style(5.5):
        made = plot(swept("target-sft"), ax=Figure().add_subplot())
    assert made.yaxis.label.get_size() == made.yaxis.get_major_ticks()[0].label1.get_size() == 5.5


@pytest.mark.parametrize("plot", PLOTS)
def test_how_it_is_misread_is_told(plot):
    note = plot.__doc__.split("Misread:")[1].split("Args:")[0]
    assert len(note.split()) > 40


@pytest.mark.parametrize("plot", PLOTS)
def test_nothing_is_changed_in_the_table(plot, ax):
    table = swept("target-sft")
    before = table.copy()
    plot(table, ax=ax)
    assert table.equals(before)


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(("loss", "over"), [("target-sft", "eta"), ("asft", "kl_weight"), ("dft", "p_y")])
def test_one_value_is_a_point_that_can_be_seen(plot, loss, over, ax):
    plot(swept(loss, over=over, values=(0.5,)), ax=ax)
    ax.figure.draw_without_rendering()
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert points
    assert {(line.get_linestyle(), line.get_marker()) for line in points} <= {("-", "o"), ("--", "s"), (":", "^")}
    low, high = ax.get_xlim()
    assert low < 0.5 < high


def test_a_line_that_is_defined_at_one_value_has_a_mark(ax):
    table = swept("dft", values=(0.2, 0.5, 0.8)).copy()
    table.loc[[0, 2], "gamma"] = np.nan
    plot_gamma(table, ax=ax)
    assert curves(ax)[0].get_marker() == "o"


@pytest.mark.parametrize("plot", PLOTS)
def test_sweeps_that_no_line_can_show_together_are_refused(plot):
    one, other = swept("asft", gauge="unit"), swept("asft", gauge="normalized")
    with pytest.raises(qt.QTargetError, match=r"several rows of asft\(kl_weight=0.05\) at one value"):
        plot(pd.concat([one, other]))
    with pytest.raises(qt.QTargetError, match="one axis for what is swept, and the table has p_y, teacher_p_y"):
        plot(pd.concat([one, swept("dft", over="teacher_p_y")]))


def test_names_stand_beside_their_points(ax):
    plot_pulls(swept("asft", over="kl_weight", values=(0.5,)), ax=ax)
    ax.figure.draw_without_rendering()
    heights = {text.get_text(): text.get_window_extent().y0 for text in ax.texts}
    assert set(heights) == {"label", "reference", "total pull $S$"}
    for name, column in {"label": 0.3, "reference": 0.5, "total pull $S$": 0.8}.items():
        point = ax.transData.transform((0.5, column))[1]
        assert abs(heights[name] - point) < 3 * 10 * ax.figure.dpi / 72, "within three heights of the text"


def twenty():
    losses = [name for name, one in qt.variants().items() if one.category != "preference"][:20]
    return swept(*losses, values=tuple(np.linspace(0.05, 0.95, 19)))


@pytest.mark.parametrize("plot", [plot_gamma, plot_gradient, plot_q])
def test_twenty_losses_have_a_figure_that_holds_their_names(plot):
    import matplotlib.pyplot as plt

    few, many = plot(swept("sft", "dft")), plot(twenty())
    for ax in (few, many):
        ax.figure.draw_without_rendering()
    inside = many.figure.bbox
    for part in (many.get_legend().get_window_extent(), many.yaxis.label.get_window_extent()):
        assert inside.x0 <= part.x0 < part.x1 <= inside.x1
        assert inside.y0 <= part.y0 < part.y1 <= inside.y1
    assert many.bbox.width > 0.9 * few.bbox.width, "the lines keep their room"
    assert many.bbox.height > 0.9 * few.bbox.height
    assert not many.get_legend().get_window_extent().overlaps(many.xaxis.label.get_window_extent())
    plt.close("all")


def test_a_legend_below_stands_clear_of_the_axis_label():
    with figure_style(6.5):
        small = Figure(figsize=(3.4, 2.4), layout="constrained").add_subplot()
        plot_gamma(swept("sft", "dft", "eaft", "profit", "asft", "focal"), ax=small)
    small.figure.draw_without_rendering()
    legend, label = small.get_legend().get_window_extent(), small.xaxis.label.get_window_extent()
    assert label.y0 - legend.y1 > 0.4 * 6.5 * small.figure.dpi / 72


def test_a_loss_can_be_named_as_its_picture_names_it(ax):
    plot_pulls(swept("asft", "asft(kl_weight=1)"), loss="ASFT (kl_weight=1)", ax=ax)
    assert ax.get_ylabel().startswith("pulls of ASFT (kl_weight=1)")


def test_more_attractors_than_marks_are_drawn(ax):
    table = swept("dft").copy()
    for rank in range(12):
        table[f"pull_made up {rank}"] = 0.1 * rank
    plot_pulls(table, ax=ax)
    assert len(curves(ax)) == 13, "the label's pull is the sum"
