"""A loss of one's own: named, and seen on one page."""

import numpy as np
import pytest


def test_22_a_black_box_named(figure):
    (ax,) = figure.axes
    (points,), (law,) = ax.collections, ax.lines
    measured = np.asarray(points.get_offsets())
    assert measured[:, 1] == pytest.approx(np.sqrt(measured[:, 0]), abs=1e-6)
    assert law.get_ydata() == pytest.approx(np.sqrt(law.get_xdata()), abs=1e-6)
    assert (np.diff(law.get_xdata()) >= 0).all()
    assert "gamma = p_y^0.5, residual = model" in ax.get_title()
    assert "beyond-log(alpha=0.5)" in ax.get_title()


def test_23_one_page_for_your_own_loss(figure, curves):
    assert "hedged" in figure.get_suptitle()
    trust, gradient, bars, triangle = figure.axes
    p_y, gamma = curves(trust)[0].T
    assert gamma == pytest.approx(np.sqrt(p_y) / (np.sqrt(p_y) + 0.2), abs=1e-6)
    p_y, on_label = next(curve.T for curve in curves(gradient) if curve[:, 1].min() < -0.2)
    assert on_label == pytest.approx(np.sqrt(p_y) * (p_y - 1) + 0.2 * (p_y - 1 / 32), abs=1e-6)
    assert p_y[on_label > 0].min() == pytest.approx(0.83, abs=0.01)
    model, target, *_ = bars.containers
    assert model[0].get_width() == pytest.approx(0.3)
    assert target[0].get_width() == pytest.approx((np.sqrt(0.3) + 0.2 / 32) / (np.sqrt(0.3) + 0.2))
    assert "sharpening" in triangle.get_title()
