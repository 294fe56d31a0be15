"""Residuals: where the other mass goes, in which gauge, in which reading, and what pulls."""

import numpy as np
import pytest


def bars(ax):
    """p, Q where it is not negative, Q where it is: [entries] each."""
    return [np.array([bar.get_width() for bar in container]) for container in ax.containers[:3]]


def test_06_where_the_rest_goes(figure):
    p, teacher, reference = np.array([[0.25, 0.50, 0.15, 0.10], [0.60, 0.20, 0.05, 0.15], [0.10, 0.30, 0.50, 0.10]])
    label, path = np.eye(4)[0], np.sqrt(p * teacher)
    expected = [
        0.9 * label + 0.1 / 4,
        (label + 0.5 * reference) / 1.5,
        teacher,
        0.25 * label + 0.75 * path / path.sum(),
    ]
    assert len(figure.axes) == 4
    for ax, target in zip(figure.axes, expected, strict=True):
        model, found, negative = bars(ax)
        assert model == pytest.approx(p)
        assert found == pytest.approx(target)
        assert not negative.any()
    titles = [ax.get_title() for ax in figure.axes]
    assert ["normalized" in title for title in titles] == [False, True, False, False]


def test_07_one_loss_two_gauges(figure, curves):
    (unit,), (normalized,) = (curves(ax) for ax in figure.axes)
    assert unit[:, 1] == pytest.approx(unit[:, 0])
    assert normalized[:, 1] == pytest.approx(normalized[:, 0] / (normalized[:, 0] + 0.05))
    assert [ax.get_title() for ax in figure.axes] == ["unit gauge", "normalized gauge"]


def test_08_three_readings_of_dft(figure):
    p, label = np.array([0.25, 0.50, 0.15, 0.10]), np.eye(4)[0]
    for ax in figure.axes:
        assert bars(ax)[1] == pytest.approx(0.25 * label + 0.75 * p), "one Q, three times"
    titles = {"DFT, attractor": "0.25", "DFT, self": "0.25", "DFT, label-free": "0.44"}
    assert [ax.get_title() for ax in figure.axes] == [
        f"{title}\n$\\gamma$ = {gamma}, unit" for title, gamma in titles.items()
    ]


def test_09_pulls_as_the_model_gets_sure(figure, curves):
    (ax,) = figure.axes
    found = curves(ax)
    p_y = found[0][:, 0]
    for weight in (p_y, np.full_like(p_y, 0.05), p_y + 0.05):
        assert min(np.abs(curve[:, 1] - weight).max() for curve in found) < 1e-9


def test_10_eta_of_target_sft(figure, curves):
    (ax,) = figure.axes
    label = max(curves(ax), key=lambda curve: curve[-1, 1])
    assert label[[0, -1]] == pytest.approx(np.array([[0, 0.51], [1, 0.86]]))
    assert (np.diff(label[:, 1]) > 0).all()
