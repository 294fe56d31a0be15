"""The page of an inspection: four panels with the numbers of their tables, or words where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import qtarget_inspect as qt
from qtarget_inspect.inspection import Inspection
from qtarget_inspect.inspection.pictures import page_data
from qtarget_inspect.plots.inspection_page import LAYOUTS, inspection_page
from qtarget_inspect.plots.shown_figure import ShownFigure
from qtarget_inspect.plots.style import CATEGORY_COLOURS


def root_dft(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p.exp().detach().sqrt() * log_p


def mean_sft(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)


def seen_without_the_rest(loss, batch):
    """An inspection of which only what the page needs has been found."""
    reading = qt.decompose(qt.invert(loss, batch), gauge="natural")
    resolved = qt.get(loss) if isinstance(loss, str) else loss
    parts = (reading.target, reading, reading, None, None, None, {}, "states", torch.float64, ())
    return Inspection(reading.target.loss, *parts, resolved)


@pytest.fixture(scope="module")
def batch():
    return qt.probe_batch(64)


@pytest.fixture(scope="module")
def page(batch):
    return page_data(seen_without_the_rest("dft", batch), None)


def words(ax):
    return " ".join(text.get_text().replace("\n", " ") for text in ax.texts)


def test_four_panels_hold_their_numbers(page):
    figure = inspection_page(page)
    trust, gradient, bars, flow = figure.axes
    (curve,) = [line for line in trust.lines if len(line.get_xdata()) > 2]
    x, y = curve.get_data()
    assert np.allclose(x, y), "gamma is p_y"
    solid, dashed = [line for line in gradient.lines if len(line.get_xdata()) > 2]
    assert np.allclose(solid.get_ydata(), -x * (1 - x))
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert bars.containers[0][0].get_width() == pytest.approx(0.3)
    assert bars.containers[1][0].get_width() == pytest.approx(0.3 + 0.7 * 0.3)
    assert "made-up token" in bars.get_title()
    assert flow.name == "ternary"
    assert flow.get_title() == "labels drawn from $q^*$: collapsing"
    assert figure.get_suptitle().startswith("dft\n")
    assert "unit gauge" in figure.get_suptitle()


def test_all_in_the_colour_of_the_category(page):
    figure = inspection_page(replace(page, category="both"))
    trust, _, bars, _ = figure.axes
    colour = CATEGORY_COLOURS["both"]
    assert {to_hex(line.get_color()) for line in trust.lines if len(line.get_xdata()) > 2} == {colour}
    assert to_hex(bars.containers[1][0].get_facecolor()) == colour


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_have_their_size(page, layout):
    figure = inspection_page(page, layout=layout)
    assert figure.get_size_inches().tolist() == [LAYOUTS[layout].width, LAYOUTS[layout].height]
    assert len(figure.axes) == 4
    with pytest.raises(qt.QTargetError, match="layout must be one of slide, column, strip, not 'poster'"):
        inspection_page(page, layout="poster")


def test_what_cannot_be_had_says_why(page):
    missing = {"sweep": "it compares sequences", "field": "no view at one context"}
    figure = inspection_page(replace(page, sweep=None, field=None, missing=missing))
    trust, gradient, bars, flow = figure.axes
    assert words(trust) == "No picture of label trust against p_y: it compares sequences"
    assert words(gradient) == "No picture of the gradient on two tokens: it compares sequences"
    assert words(flow) == "No picture of the flow on three tokens: no view at one context"
    assert bars.containers
    assert not any(ax.axison for ax in (trust, gradient, flow))


def test_a_loss_that_nothing_explains_has_a_gradient_and_no_trust(batch):
    figure = inspection_page(page_data(seen_without_the_rest("squared-logits", batch), None))
    trust, gradient, _, _ = figure.axes
    assert "label trust against p_y: it is undefined" in words(trust)
    assert gradient.lines


def test_a_preference_loss_is_drawn_on_a_token_of_its_batch(batch):
    page = page_data(seen_without_the_rest("dpo", batch), None)
    assert set(page.missing) == {"sweep", "target", "field"}
    assert "of those inspected" in page.state
    assert page.target is not None
    assert abs(page.target["p"].iloc[0] - 0.3) < 0.1
    assert len(inspection_page(page).axes) == 4


def test_a_token_of_the_batch_may_be_asked_for(batch):
    seen = seen_without_the_rest("dft", batch)
    page = page_data(seen, 5)
    assert page.state == "token 6 of those inspected"
    assert page.target["entry"].iloc[0] == int(batch.labels[5])
    assert page.target["q"].iloc[0] == pytest.approx(float(seen.reading.q[5, batch.labels[5]]))
    with pytest.raises(qt.QTargetError, match="from -64 to 63, not 64"):
        page_data(seen, 64)


def test_a_mean_over_tokens_is_undone_in_every_panel(batch):
    page = page_data(seen_without_the_rest(mean_sft, batch), None)
    assert not page.missing
    assert np.allclose(page.sweep["q_label"], 1, atol=1e-9)
    assert page.target["q"].iloc[0] == pytest.approx(1)
    assert torch.allclose(page.field.q, page.field.q_star.expand_as(page.field.q), atol=1e-9)


def test_a_loss_that_is_bound_to_its_batch_has_its_own_tokens_drawn(batch):
    weights = torch.linspace(0.5, 1.5, batch.vocabulary, dtype=torch.float64)

    def class_weighted(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, weight=weights, reduction="none")

    page = page_data(seen_without_the_rest(class_weighted, batch), None)
    assert {"sweep", "field"} <= set(page.missing)
    figure = inspection_page(page)
    assert "No picture of label trust" in words(figure.axes[0])
    assert figure.axes[2].containers


@pytest.mark.slow
@pytest.mark.parametrize("name", qt.variants())
def test_every_registered_loss_has_a_page(name, batch, monkeypatch):
    few = torch.tensor([[0.6, 0.3, 0.1], [0.05, 0.05, 0.9]], dtype=torch.float64)
    monkeypatch.setattr("qtarget_inspect.analysis.simplex.field.STARTS", 4)
    monkeypatch.setattr("qtarget_inspect.analysis.simplex.field._starts", lambda: few)
    page = page_data(seen_without_the_rest(name, batch), None)
    expected = {"sweep", "target", "field"} if qt.get(name).category == "preference" else set()
    assert set(page.missing) == expected
    figure = inspection_page(page)
    figure.draw_without_rendering()
    assert len(figure.axes) == 4


def test_an_inspection_draws_its_page():
    """The loss of the front page, in the category that was found by calling it."""
    seen = qt.inspect(root_dft)
    figure = seen.plot(layout="column")
    trust, _, bars, flow = figure.axes
    (curve,) = [line for line in trust.lines if len(line.get_xdata()) > 2]
    assert np.allclose(curve.get_ydata(), np.sqrt(curve.get_xdata()), atol=1e-6)
    assert to_hex(curve.get_color()) == CATEGORY_COLOURS["label trust"]
    assert "sharpening" in flow.get_title()
    assert "= 0.55" in bars.get_title()
    assert figure.get_suptitle() == f"root_dft\n{seen.headline()}"


def test_a_notebook_without_pyplot_shows_it():
    assert ShownFigure(figsize=(1, 1))._repr_png_().startswith(b"\x89PNG")
