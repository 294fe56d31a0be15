"""The style of lines: families of colours, names, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots.style import (
    CATEGORY_COLOURS,
    MARKS,
    MODEL_COLOUR,
    MODEL_LINE,
    ROLE_STYLES,
    SHADES,
    check_columns,
    colour_of,
    display_names,
    legible,
    line_styles,
    save_figure,
    shaded,
)


def records(**categories):
    return pd.DataFrame({"loss": list(categories), "category": list(categories.values())})


def test_the_first_loss_of_a_category_has_its_colour():
    found = line_styles(records(sft="one-hot", dft="label trust", mine=""))
    assert [style["color"] for style in found.values()] == [colour_of(one) for one in ("one-hot", "label trust", "")]
    assert {style["marker"] for style in found.values()} == {""}


def test_losses_of_one_category_have_shades_and_marks_of_their_own():
    many = line_styles(records(**{f"loss{rank}": "label trust" for rank in range(10)}))
    assert len({(style["color"], style["marker"]) for style in many.values()}) == 10
    assert {style["color"] for style in many.values()} == {shaded(CATEGORY_COLOURS["label trust"], s) for s in SHADES}
    assert [style["marker"] for style in many.values()] == list(MARKS)
    thirty = line_styles(records(**{f"loss{rank}": "label trust" for rank in range(30)}))
    assert len({(style["color"], style["marker"]) for style in thirty.values()}) == 30
    assert not any("linestyle" in style for style in many.values()), "dashes tell roles apart"


def test_shades_keep_their_hue():
    assert max(map(abs, SHADES)) <= 0.35
    for category, colour in CATEGORY_COLOURS.items():
        for shade in SHADES:
            hues = [rgb_to_hsv(to_rgb(one))[0] for one in (colour, shaded(colour, shade))]
            assert abs(hues[0] - hues[1]) < 0.02, category
            others = [np.array(to_rgb(other)) for name, other in CATEGORY_COLOURS.items() if name != category]
            distances = [np.linalg.norm(np.array(to_rgb(shaded(colour, shade))) - other) for other in others]
            assert min(distances) > 0.18, f"{category} at {shade} looks like another category"


def test_a_loss_without_a_category_is_not_grey_as_the_model_is():
    assert colour_of("") not in {MODEL_LINE, MODEL_COLOUR, *CATEGORY_COLOURS.values()}
    assert rgb_to_hsv(to_rgb(colour_of("")))[1] > 0.5


def test_roles_have_a_dash_each():
    assert len(set(ROLE_STYLES.values())) == len(ROLE_STYLES) == 3


def test_a_table_without_categories_has_styles_too():
    assert list(line_styles(pd.DataFrame({"loss": ["a", "a", "b"]}))) == ["a", "b"]


def test_names_are_titles_where_these_differ():
    table = pd.DataFrame({
        "loss": ["asft(kl_weight=0.1)", "asft(kl_weight=1)", "dft"],
        "title": ["ASFT", "ASFT", "DFT"],
    })
    assert list(display_names(table).values()) == ["ASFT (kl_weight=0.1)", "ASFT (kl_weight=1)", "DFT"]
    assert display_names(table.iloc[1:]) == {"asft(kl_weight=1)": "ASFT (kl_weight=1)", "dft": "DFT"}
    assert display_names(table.rename(columns={"title": "method"}).iloc[2:]) == {"dft": "DFT"}


@pytest.mark.parametrize("colour", [*CATEGORY_COLOURS.values(), "#ffffff", "#ffff00"])
def test_letters_have_a_contrast_of_three(colour):
    def luminance(text):
        values = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert 1.05 / (luminance(legible(colour)) + 0.05) >= 2.99
    if luminance(colour) < 0.29:
        assert legible(colour) == colour


def test_shades_reach_black_and_white():
    assert (shaded("#0072b2", -1), shaded("#0072b2", 0), shaded("#0072b2", 1)) == ("#000000", "#0072b2", "#ffffff")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1], "plot_x takes a DataFrame, not list. qt.y makes such a table"),
        (pd.DataFrame({"a": [1]}), "plot_x needs the columns a, b; the table has no b. qt.y makes"),
        (pd.DataFrame({"a": [], "b": []}), "plot_x got a table without rows"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, message):
    with pytest.raises(qt.QTargetError, match=message):
        check_columns(table, ("a", "b"), "plot_x", "qt.y")


@pytest.mark.parametrize("formats", ["pdf", ["png", "docx"]])
def test_figures_are_saved_in_formats_that_there_are(formats, tmp_path):
    with pytest.raises(qt.QTargetError, match="formats must be a list such as"):
        save_figure(Figure(), tmp_path / "a", formats)


def test_figures_are_saved_where_there_is_a_folder(tmp_path):
    with pytest.raises(qt.QTargetError, match="there is no folder"):
        save_figure(Figure(), tmp_path / "none" / "a")
