"""Targets that are no distribution, a claim that fails, and a clip."""

import numpy as np
import pytest


def bars(ax):
    """p, Q where it is not negative, Q where it is: [entries] each."""
    return [np.array([bar.get_width() for bar in container]) for container in ax.containers[:3]]


def test_11_focal_trusts_too_much(figure, curves):
    (ax,) = figure.axes
    for focusing, curve in zip((1, 2, 5), curves(ax), strict=True):
        p_y, gamma = curve.T
        law = (1 - p_y) ** focusing - focusing * p_y * (1 - p_y) ** (focusing - 1) * np.log(p_y)
        assert gamma == pytest.approx(law, abs=1e-9)
        if focusing == 2:
            assert p_y[gamma > 1].max() == pytest.approx(0.30, abs=0.005)
            assert (p_y[gamma.argmax()], gamma.max()) == pytest.approx((0.10, 1.22), abs=0.006)


def test_12_negative_mass_of_gem(figure, curves):
    left, right = figure.axes
    p = np.array([0.08, 0.62, 0.20, 0.10])
    q = p ** (1 / 0.7) / (p ** (1 / 0.7)).sum()
    _, positive, negative = bars(left)
    assert positive + negative == pytest.approx(np.eye(4)[0] + p - q)
    assert negative[1] < -0.05
    assert positive.sum() + negative.sum() == pytest.approx(1)
    other = min(curves(right), key=lambda curve: curve[:, 1].min())
    assert other[:, 1].min() < -0.1
    assert other[other[:, 1] < 0, 0].max() == pytest.approx(0.39, abs=0.006)
    assert (other[other[:, 0] > 0.4, 1] > 0).all()


def test_13_a_claim_that_does_not_hold(figure):
    p, old = np.array([0.20, 0.55, 0.15, 0.10]), np.array([0.40, 0.10, 0.15, 0.35])
    gamma, label = 0.20 / 0.40, np.eye(4)[0]
    claimed, found = (bars(ax)[1] + bars(ax)[2] for ax in figure.axes)
    assert claimed == pytest.approx(gamma * label + (1 - gamma) * old)
    assert found == pytest.approx(gamma * label + (1 - gamma) * p)
    assert np.linalg.matrix_rank([claimed[1:], found[1:]], tol=0.05) == 2, "no gamma makes them agree off the label"


def test_14_a_negative_advantage(figure, curves):
    (ax,) = figure.axes
    good, bad = curves(ax)
    ratio = good[:, 0] / 0.4
    assert good[:, 1] == pytest.approx(np.where(ratio <= 1.2, ratio, 0), abs=1e-9)
    assert bad[:, 1] == pytest.approx(np.where(ratio >= 0.8, -ratio, 0), abs=1e-9)
    assert bad[bad[:, 1].argmin(), 0] == bad[:, 0].max(), "gamma is most negative where the model is surest"
    push = -bad[:, 1] * (1 - bad[:, 0])
    assert bad[push.argmax(), 0] == pytest.approx(0.5, abs=0.005)
    assert {"A = +1", "A = -1"} <= {text.get_text() for text in ax.texts}
