"""Plots: what is drawn, from which numbers; never the pixels."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots import CATEGORY_COLOURS, plot_target, plot_tokens, save_figure, solution_figure
from qtarget_inspect.plots.strip_layout import strip_columns
from qtarget_inspect.plots.style import colour_of, figure_style
from qtarget_inspect.plots.token_strip import MARKERS

METHODS = {"SFT": "one-hot", "DFT": "label trust", "GEM": "residual distribution"}


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture
def records():
    texts = ["She", "·has", "·12", "·apples", ".", "⏎"]
    rows = []
    for method in METHODS:
        for position, text in enumerate(texts, 1):
            gamma = {"SFT": 1.0, "DFT": position / 10, "GEM": np.nan if position == 2 else 1.0}[method]
            telling = {2: "rescue", 5: "signed"}.get(position, "")
            p_label = [0.001, 0.2, 0.3, 0.4, 0.5, 0.999][position - 1]
            rows.append(
                {
                    "loss": method.lower(),
                    "position": position,
                    "token": text,
                    "p_label": p_label,
                    "method": method,
                    "gamma": gamma,
                }
                | {"gauge": "unit", "telling": telling, "category": METHODS[method]}
            )
    return pd.DataFrame(rows)


@pytest.fixture
def targets():
    rows = []
    for method, q in {"SFT": [1, 0, 0], "DFT": [0.5, 0.3, 0.2], "GEM": [1.1, -0.25, 0.15]}.items():
        for entry, p in enumerate([0.3, 0.5, 0.2]):
            rows.append(
                {"position": 2, "method": method, "category": METHODS[method], "gauge": "unit", "gamma": 1.0}
                | {"entry": entry, "token": f"t{entry}", "is_label": entry == 0, "p": p, "q": q[entry]}
                | {"residual": [0.25, 0.45, 0.3][entry] if method == "DFT" else np.nan, "change": q[entry] - p}
            )
    return pd.DataFrame(rows)


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


def test_tokens_are_tinted_by_gamma(ax, records):
    assert plot_tokens(records, ax=ax) is ax
    (cells,) = ax.collections
    values = cells.get_array().reshape(6, 3)  # a token a row, a method a column
    assert values[:, 0].tolist() == [1.0] * 6
    assert values[:, 1].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert np.ma.getmaskarray(values)[:, 2].tolist() == [False, True, False, False, False, False]
    assert (cells.norm.vmin, cells.norm.vmax) == pytest.approx((0, 1), abs=1e-4)
    assert cells.norm(1 + 1e-6) <= 1  # rounding is not what stands out
    assert cells.norm(1.001) > 1


def test_tokens_stand_in_reading_order_with_p_label(ax, records):
    plot_tokens(records, ax=ax)
    written = [text for text in texts_of(ax) if text in set(records.token)]
    assert written == ["She", "·has", "·12", "·apples", ".", "⏎"]
    assert [text for text in texts_of(ax) if text[0] in "<>." and text[1:]] == [
        "<.01",
        ".20",
        ".30",
        ".40",
        ".50",
        ">.99",
    ]
    assert texts_of(ax).count("×") == 1, "a cell without gamma is crossed"


def test_methods_have_the_colour_of_their_category(ax, records):
    plot_tokens(records, ax=ax)
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert {name: colours[name] for name in METHODS} == {
        name: CATEGORY_COLOURS[category] for name, category in METHODS.items()
    }


def test_telling_tokens_are_marked_by_shape(ax, records):
    plot_tokens(records, ax=ax)
    assert [line.get_marker() for line in ax.lines] == [MARKERS["rescue"], MARKERS["signed"]]
    bold = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    assert bold == ["·has", "."]


def test_the_normalized_gauge_is_marked_among_others(ax, records):
    records.loc[records.method == "DFT", "gauge"] = "normalized"
    assert {"SFT", "DFT*", "GEM"} <= set(texts_of(plot_tokens(records, ax=ax)))
    alone = records[records.method == "DFT"]
    assert "DFT" in texts_of(plot_tokens(alone, ax=Figure().add_subplot()))


def test_lines_are_broken_where_they_are_full(ax, records):
    plot_tokens(records, columns=16, ax=ax)
    boxes = np.array([path.vertices for path in ax.collections[0].get_paths()])
    assert boxes[..., 0].min() >= 0
    assert boxes[..., 0].max() <= 16
    assert texts_of(ax).count("SFT") == 2, "the names stand before each line"


def test_a_token_wider_than_the_line_is_cut(ax, records):
    records.loc[records.position == 2, "token"] = "x" * 40
    plot_tokens(records, columns=16, ax=ax)
    assert "x" * 14 + "…" in texts_of(ax)
    wide = plot_tokens(records, ax=Figure(figsize=(20, 3)).add_subplot())
    assert "x" * 23 + "…" in texts_of(wide)


@pytest.mark.parametrize("size", [(8, 4), (3.4, 3), (2, 5), (9, 1.2)])
@pytest.mark.parametrize("layout", ["constrained", None])
def test_a_strip_fits_into_given_axes(records, size, layout):
    figure = Figure(figsize=size, layout=layout)
    with figure_style(8):
        ax = plot_tokens(pd.concat([records, records.assign(position=records.position + 6)]), ax=figure.add_subplot())
    figure.draw_without_rendering()
    texts = [text for text in ax.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for box in boxes:
        assert ax.bbox.x0 - 2 <= box.x0
        assert box.x1 <= ax.bbox.x1 + 2
        assert ax.bbox.y0 - 2 <= box.y0
        assert box.y1 <= ax.bbox.y1 + 2
    for place, one in enumerate(boxes):
        assert not any(one.padded(-0.5).overlaps(other.padded(-0.5)) for other in boxes[place + 1 :])
    assert max(text.get_fontsize() for text in texts) <= 8
    key = [*ax.get_legend().get_texts(), ax.child_axes[0].yaxis.label]
    edges = [text.get_window_extent() for text in key]
    assert min(box.x0 for box in edges) >= ax.bbox.x0 - 2
    assert not any(box.overlaps(edges[-1]) for box in edges[:-1]), "marks and colour bar stand apart"
    assert max(box.y1 for box in edges) < min(box.y0 for box in boxes), "the key lies below the text"


def test_a_strip_leaves_room_for_a_neighbour(records):
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_tokens(records, ax=left)
    figure.draw_without_rendering()
    assert left.bbox.x1 < right.bbox.x0
    assert right.bbox.width > 0.8 * left.bbox.width


def test_two_losses_of_one_title_are_two_rows(ax, records):
    twins = pd.concat([records[records.method == "SFT"], records[records.method == "DFT"].assign(method="SFT")])
    plot_tokens(twins, ax=ax)
    assert ax.collections[0].get_array().size == 12


def test_a_strip_without_a_key(ax, records):
    plot_tokens(records, key=False, ax=ax)
    assert ax.get_legend() is None
    assert ax.child_axes == []


def test_bars_are_p_and_q(ax, targets):
    group = targets[targets.method == "DFT"]
    assert plot_target(group, ax=ax) is ax
    model, positive, negative = ax.containers
    assert [bar.get_width() for bar in model] == [0.3, 0.5, 0.2]
    assert [bar.get_width() for bar in positive] == [0.5, 0.3, 0.2]
    assert [bar.get_width() for bar in negative] == [0, 0, 0]
    assert to_rgb(positive[0].get_facecolor()) == to_rgb(CATEGORY_COLOURS["label trust"])
    labels = ax.get_yticklabels()
    assert [label.get_text() for label in labels] == ["t0", "t1", "t2"]
    assert [label.get_weight() for label in labels] == ["bold", "normal", "normal"]
    assert "DFT" in ax.get_title()
    assert "unit" in ax.get_title(), "the gauge is named beside gamma"


def test_negative_mass_is_visible(ax, targets):
    plot_target(targets[targets.method == "GEM"], ax=ax)
    _, positive, negative = ax.containers
    assert [bar.get_width() for bar in negative] == [0, -0.25, 0]
    assert positive[1].get_width() == 0
    assert negative[1].get_hatch()
    low, high = ax.get_xlim()
    assert low < -0.25
    assert high > 1.1


def test_changes_are_written_where_they_matter(ax, targets):
    plot_target(targets[targets.method == "DFT"].assign(q=[0.5, 0.495, 0.1], change=[0.2, -0.005, -0.1]), ax=ax)
    assert texts_of(ax) == ["+0.20", "−0.10"]
    assert [text.get_color() for text in ax.texts] == [CATEGORY_COLOURS["label trust"], "#666666"]
    assert [text.xy for text in ax.texts] == [(0.5, 0), (pytest.approx(0.3), 2)], "right of p, Q and residual"


def test_the_residual_is_a_tick_where_there_is_one(ax, targets):
    plot_target(targets[targets.method == "DFT"], ax=ax)
    (ticks,) = [lines for lines in ax.collections if lines.get_label() == "residual"]
    assert [segment[0][0] for segment in ticks.get_segments()] == [0.25, 0.45, 0.3]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p", "Q", "residual"]


def test_no_residual_no_tick(ax, targets):
    plot_target(targets[targets.method == "GEM"], ax=ax)
    assert not ax.collections
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p", "Q", "Q < 0"]


def test_a_residual_far_off_is_a_triangle_at_its_side(ax, targets):
    wild = targets[targets.method == "DFT"].assign(residual=[-4.0, 0.5, 7.0])
    plot_target(wild, ax=ax)
    (ticks,) = [lines for lines in ax.collections if lines.get_label() == "residual"]
    assert [segment[0][0] for segment in ticks.get_segments()] == [0.5]
    sides = {line.get_marker(): line.get_data() for line in ax.lines if line.get_label() == "residual far off"}
    assert {marker: (x.tolist(), y.tolist()) for marker, (x, y) in sides.items()} == {"<": ([0], [0]), ">": ([1], [2])}
    low, high = ax.get_xlim()
    assert low > -0.5
    assert high < 2
    assert "residual far off" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_target_that_is_undefined_leaves_p(ax, targets):
    plot_target(targets[targets.method == "DFT"].assign(q=np.nan, residual=np.nan, change=np.nan), ax=ax)
    assert [bar.get_width() for bar in ax.containers[0]] == [0.3, 0.5, 0.2]
    assert texts_of(ax) == []


def test_the_key_may_be_left_out(ax, targets):
    assert plot_target(targets[targets.method == "DFT"], key=False, ax=ax).get_legend() is None


def test_numbers_have_room(ax, targets):
    plot_target(targets[targets.method == "SFT"], ax=ax)
    ax.figure.draw_without_rendering()
    right = max(text.get_window_extent().x1 for text in ax.texts)
    assert right <= ax.bbox.x1


def test_bars_of_two_losses_at_once_are_refused(ax, targets):
    with pytest.raises(QTargetError, match="the table has several: SFT, DFT, GEM"):
        plot_target(targets, ax=ax)


def test_bars_of_two_tokens_at_once_are_refused_though_no_entry_is_twice(ax, targets):
    group = targets[targets.method == "DFT"]
    elsewhere = group.assign(position=3, entry=group.entry + 3)
    with pytest.raises(QTargetError, match="the table has several: position 2, position 3"):
        plot_target(pd.concat([group, elsewhere]), ax=ax)
    with pytest.raises(QTargetError, match="the table has several: t0, t1, t2"):
        plot_target(pd.concat([group, group]), ax=ax)


def test_axes_may_share_their_rows(targets):
    left, right = Figure().subplots(1, 2, sharey=True)
    for ax, method in ((left, "SFT"), (right, "DFT")):
        plot_target(targets[targets.method == method], ax=ax)
    assert [(text.get_text(), text.get_weight()) for text in left.get_yticklabels()] == [
        ("t0", "bold"),
        ("t1", "normal"),
        ("t2", "normal"),
    ]
    assert right.get_yticklabels() == [], "matplotlib hides the inner ones"
    with pytest.raises(QTargetError, match="a panel of other entries than other, t1, t2"):
        plot_target(targets[targets.method == "GEM"].replace({"token": {"t0": "other"}}), ax=right)


@pytest.mark.parametrize(
    ("plot", "column", "source"),
    [(plot_target, "residual", "qt.target_table"), (plot_tokens, "gauge", "qt.token_table")],
)
def test_missing_columns_are_named(records, targets, plot, column, source):
    table = targets[targets.method == "DFT"] if plot is plot_target else records
    with pytest.raises(QTargetError, match=rf"the table has no {column}\. {source}"):
        plot(table.drop(columns=column))


def test_an_undefined_gamma_is_said(ax, targets):
    plot_target(targets[targets.method == "SFT"].assign(gamma=np.nan), ax=ax)
    assert "undefined" in ax.get_title()


@pytest.mark.parametrize(("layout", "width"), [("slide", 8.0), ("column", 3.4)])
def test_the_solution_figure_has_a_strip_and_a_panel_a_method(records, targets, layout, width):
    figure = solution_figure(records, targets, layout=layout, caption="a model")
    upper, lower, foot = figure.subfigs
    assert figure.get_size_inches()[0] == width
    (strip,) = upper.axes
    assert len(strip.child_axes) == 1, "its colour bar"
    shown = [ax for ax in lower.axes if ax.containers]
    assert [ax.get_title().partition("\n")[0] for ax in shown] == list(METHODS)
    assert len({ax.get_xlim() for ax in shown}) == 1, "the panels share their scale"
    assert "·has" in lower.get_suptitle()
    assert [text.get_text() for text in foot.texts] == ["a model"]
    marks = [text.get_text() for text in strip.get_legend().get_texts()]
    assert marks == ["rescue", "signed"]


def test_figures_are_saved_with_fonts_that_embed(records, targets, tmp_path):
    files = save_figure(solution_figure(records, targets), tmp_path / "figure")
    assert [path.name for path in files] == ["figure.png", "figure.svg", "figure.pdf"]
    document = files[2].read_bytes()
    assert b"/FontFile2" in document
    assert b"/Type3" not in document
    assert "<text" not in files[1].read_text(), "letters are outlines"


def test_the_same_figure_is_the_same_file(records, targets, tmp_path):
    first, second = (
        save_figure(solution_figure(records, targets), tmp_path / name, ["svg", "pdf"]) for name in ("a", "b")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_style_ends_with_its_block():
    before = mpl.rcParams["font.size"]
    with figure_style(5.5):
        assert mpl.rcParams["font.size"] == 5.5
    assert mpl.rcParams["font.size"] == before


def test_every_category_has_its_own_colour():
    from qtarget_inspect.variants.variant import CATEGORIES

    assert set(CATEGORIES) == set(CATEGORY_COLOURS)
    assert len({colour_of(category) for category in CATEGORIES}) == len(CATEGORIES)


def test_without_axes_a_figure_is_made(records, targets):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    try:
        assert plot_tokens(records).figure is plt.gcf()
        assert plot_target(targets[targets.method == "SFT"]).figure is plt.gcf()
    finally:
        plt.close("all")


def test_a_strip_of_its_own_has_its_key(records):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    records.loc[(records.method == "DFT") & (records.position == 3), "gamma"] = 1.5
    records.loc[records.method == "GEM", "gauge"] = "normalized"
    try:
        ax = plot_tokens(records, columns=60, size=7)
        figure = ax.figure
        (bar,) = ax.child_axes
        assert bar.get_ylabel().strip() == r"label trust $\gamma$ (unit gauge; * normalized)"
        assert bar._colorbar.extend == "max", "gamma above 1 has a colour of its own"
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rescue", "signed"]
        figure.draw_without_rendering()
        width = figure.get_size_inches()[0] * figure.dpi
        assert all(text.get_window_extent().x0 >= 0 and text.get_window_extent().x1 <= width for text in ax.texts)
        assert ax.texts[0].get_fontsize() == pytest.approx(7, rel=0.05), "the figure is as large as the text"
        assert strip_columns(records, figure.get_size_inches()[0], 7) == pytest.approx(61, abs=2)
    finally:
        plt.close("all")
