"""Targets: label trust, gradients, two formulas of one loss, trust by entropy."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


def test_01_what_cross_entropy_teaches(figure):
    for ax, p in zip(figure.axes, ([0.08, 0.62, 0.20, 0.10], [0.90, 0.06, 0.03, 0.01]), strict=True):
        model, target, negative, *_ = ax.containers
        assert [bar.get_width() for bar in model] == pytest.approx(p)
        assert [bar.get_width() for bar in target] == pytest.approx([1, 0, 0, 0])
        assert [bar.get_width() for bar in negative] == pytest.approx([0, 0, 0, 0])
        assert "gamma = 1" in ax.get_title()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "Canberra",
        "Sydney",
        "Melbourne",
        "Perth",
    ]


def test_02_how_far_a_label_is_trusted(figure, curves):
    (ax,) = figure.axes
    sft, dft, beyond_log, profit = curves(ax)
    assert sft[:, 1] == pytest.approx(1)
    assert dft[:, 1] == pytest.approx(dft[:, 0])
    assert beyond_log[:, 1] == pytest.approx(beyond_log[:, 0] ** 10)
    assert (profit[:, 1] == (profit[:, 0] > 0.1)).all()
    assert {"SFT", "DFT", "Beyond-log", "ProFiT"} <= set(texts_of(ax))


def test_03_the_gradient_on_two_tokens(figure, curves):
    (ax,) = figure.axes
    found = curves(ax)
    p_y = found[0][:, 0]
    assert len(found) == 6
    label = {"sft": p_y - 1, "dft": p_y * (p_y - 1), "smoothing": p_y - 0.9 - 0.1 / 32}
    for expected in label.values():
        assert min(np.abs(curve[:, 1] - expected).max() for curve in found) < 1e-12
    assert p_y[label["smoothing"] > 0].min() == pytest.approx(0.903, abs=0.006)
    assert p_y[label["dft"].argmin()] == pytest.approx(0.5, abs=0.003)
    assert sum((curve[:, 1] > -0.01).all() for curve in found) == 3, "three curves of the other token"


def test_04_two_formulas_one_gradient(figure, curves):
    left, right = figure.axes
    dft, p_loss = curves(left)
    assert dft[:, 1] == pytest.approx(-dft[:, 0] * np.log(dft[:, 0]), abs=1e-6)
    assert p_loss[:, 1] == pytest.approx(-p_loss[:, 0])
    assert dft[dft[:, 1].argmax(), 0] == pytest.approx(0.37, abs=0.01)
    gradient, _ = curves(right)
    assert gradient[:, 1] == pytest.approx(-gradient[:, 0] * (1 - gradient[:, 0]))
    assert "DFT = p-loss" in texts_of(right)
    assert right.get_title() == "qt.equivalent: same"


def test_05_trust_by_entropy(figure):
    eaft, dft = (
        [mesh for mesh in ax.collections if isinstance(mesh, QuadMesh)][-1]
        for ax in figure.axes
        if ax.get_xlabel().startswith("$p_y$")
    )
    p_y, entropy = np.moveaxis(np.asarray(dft.get_coordinates()), -1, 0)
    p_y = (p_y[:-1, 1:] + p_y[:-1, :-1]) / 2  # middles of cells: [entropies, p_ys]
    gamma = np.ma.masked_invalid(dft.get_array()).reshape(p_y.shape)
    reached = ~np.ma.getmaskarray(gamma)
    assert 0.3 < reached.mean() < 0.7
    assert np.abs(gamma - p_y).max() < 1e-9
    row = np.abs(entropy[:-1, 0] - 1.0).argmin()
    level = np.ma.masked_invalid(eaft.get_array()).reshape(p_y.shape)[row]
    assert np.ma.ptp(level[p_y[row] < 0.65]) < 0.005, "level at 1 nat"
    assert np.ma.ptp(level) > 0.05, "but not where more than 20 tokens share the rest"
