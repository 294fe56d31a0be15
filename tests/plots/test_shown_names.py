"""Names and texts of others: shown as they are in every plot, dollar signs and letters without a shape included."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

import qtarget_inspect as qt
from qtarget_inspect import plots
from qtarget_inspect.plots.style import MONO, display_names, plain, readable

SCRIPTS = {"Chinese": "日本語", "emoji": "🦊", "Hebrew": "שלום", "Devanagari": "नम"}
FORMULAS = ["$x_1$", r"$\frac$", "one $ sign", r"a\$b"]
NAMES = [*SCRIPTS.values(), *FORMULAS, "_private"]


def named(name):
    def loss(logits, labels):
        return -logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)

    return qt.adapt(loss, name=name)


def seen(figure):
    """Every text of a figure, as matplotlib shows it where it is no formula; drawn, so that what it cannot raises."""
    figure.draw_without_rendering()
    texts = figure.findobj(Text)
    return "\n".join(one.get_text().replace(r"\$", "$") if one.get_parse_math() else one.get_text() for one in texts)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def ax():
    return Figure(figsize=(6, 4), layout="constrained").add_subplot()


@pytest.mark.parametrize("plot", [plots.plot_gamma, plots.plot_gradient, plots.plot_q, plots.plot_sensitivity])
def test_curves_show_the_name(plot, name, ax):
    plot(qt.sweep([named(name), "dft"], values=[0.2, 0.5, 0.8]), ax=ax)
    assert readable(name) in seen(ax.figure)


def test_legends_show_the_name(name, ax):
    losses = [named(f"{name} {rank}") for rank in range(9)]
    table = qt.sweep(losses, values=[0.2, 0.5, 0.8])
    table["gamma"] += table["loss"].str[-1].astype(int) / 300
    plots.plot_gamma(table, ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [plain(loss.name) for loss in losses]
    assert readable(name) in seen(ax.figure)


def test_pulls_and_maps_show_the_name(name):
    one, other = (Figure(figsize=(6, 6), layout="constrained").add_subplot() for _ in range(2))
    plots.plot_pulls(qt.sweep(named(name), values=[0.2, 0.5, 0.8]), ax=one)
    plots.plot_trust_map(qt.sweep(named(name), over=("p_y", "teacher_p_y"), values=([0.2, 0.8], [0.5, 0.6])), ax=other)
    assert f"pulls of {readable(name)}" in seen(one.figure)
    assert readable(name) in seen(other.figure)


@pytest.fixture
def tokens(name):
    rows = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2]]).log()
    batch = qt.TokenBatch(rows, torch.tensor([1, 0]), teacher_logits=rows.flip(-1), tokens=[name, "so"])
    return qt.token_table([named(name), "dft"], batch)


@pytest.mark.parametrize("plot", [plots.plot_tokens, plots.plot_quadrants])
def test_texts_show_tokens_and_names(plot, tokens, name, ax):
    plot(tokens if plot is plots.plot_tokens else tokens[tokens.loss == name], ax=ax)
    text = seen(ax.figure)
    assert readable(name) in text
    assert readable(tokens["token"].iloc[0], MONO) in text


def test_targets_show_entries_and_names(name, ax):
    batch = qt.TokenBatch(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]))
    table = qt.target_table(qt.decompose(qt.invert(named(name), batch)), texts=lambda ids: [name] * len(ids))
    plots.plot_target(table, ax=ax)
    assert seen(ax.figure).count(readable(table["token"].iloc[0], MONO)) >= 3
    assert f"{readable(name)}\n" in seen(ax.figure)


def test_tables_show_the_name(name, ax):
    plots.plot_table(pd.DataFrame({"loss": [name], "gamma": [1.0]}), ax=ax)
    assert readable(name) in " ".join(seen(ax.figure).split("\n"))


def test_triangles_and_pages_show_the_name(name):
    figure = Figure(figsize=(4, 4), layout="constrained")
    ax = figure.add_subplot(projection="ternary")
    plots.plot_simplex(qt.simplex_field(named(name), 0, resolution=4), tokens=[name, "b", "c"], ax=ax)
    figure.draw_without_rendering()
    assert plain(name) in ax.get_title()
    assert plain(name) in {text.get_text() for text in ax.texts}


@pytest.mark.parametrize("script", SCRIPTS)
def test_letters_without_a_shape_are_written_as_python_writes_them(script):
    text = f"a{SCRIPTS[script]}b"
    shown = readable(text, MONO)
    assert shown.isascii()
    assert shown.encode("ascii").decode("unicode_escape") == text


def test_letters_that_the_font_has_stay():
    assert readable("·she⏎ é γ →\nso", MONO) == "·she⏎ é γ →\nso"
    assert readable("שלום") == "שלום", "DejaVu Sans has Hebrew, its fixed-width sister has not"
    assert readable("\x07\t") == r"\x07\t"


def test_the_fonts_that_are_set_decide():
    with plt.rc_context({"font.family": ["DejaVu Sans Mono"]}):
        assert readable("ש") == r"\u05e9"
    with plt.rc_context({"font.family": ["DejaVu Sans Mono", "DejaVu Sans"]}):
        assert readable("ש") == "ש"


def test_letters_without_a_bold_shape_count_as_missing():
    assert readable("𝚀", MONO) == r"\U0001d680", "telling tokens and labels are bold"


@pytest.mark.parametrize("text", FORMULAS)
def test_dollar_signs_are_no_formulas(text):
    figure = Figure()
    shown, is_formula = figure.text(0, 0, plain(text))._preprocess_math(plain(text))
    assert (shown, bool(is_formula)) == (text, False)


def test_a_name_beside_a_formula_is_not_typeset(ax):
    widths = []
    for text in (r"\$x_1\$", "x_1"):
        ax.set_title(f"{text} $\\gamma$")
        widths.append(ax.title.get_window_extent().width)
    assert widths[0] > widths[1], "the signs are drawn"


def test_names_of_parameters_are_in_the_title():
    table = qt.sweep(["beyond-log(alpha=0.5)", "sft-kl(kl_weight=0.5)", "asft"], values=[0.5])
    assert list(display_names(table).values()) == ["Beyond-log (alpha=0.5)", "SFT + KL (kl_weight=0.5)", "ASFT"]
    swept = qt.sweep("psft(epsilon=0.3)", over="epsilon_high", values=np.array([0.2, 0.3]))
    assert list(display_names(swept).values()) == ["Proximal SFT (epsilon=0.3)"]
    assert list(display_names(qt.sweep("asft", over="kl_weight", values=[0.2, 0.3])).values()) == ["ASFT"]
