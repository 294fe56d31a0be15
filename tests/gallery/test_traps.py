"""Traps: reductions, stop-gradients, lost mass."""

import numpy as np
import pytest


def test_19_a_mean_over_tokens(figure):
    (ax,) = figure.axes
    *read_naively, found = ax.lines
    assert [len(line.get_xdata()) for line in read_naively] == [2, 8, 64]
    for line in read_naively:
        p_y, q_y = line.get_data()
        assert q_y == pytest.approx(p_y + (1 - p_y) / len(p_y))
    assert found.get_ydata() == pytest.approx(np.ones(64))
    assert found.get_label() == "qt.invert: mean over 64 tokens, undone"


def test_20_a_weight_without_its_stop_gradient(figure):
    (ax,) = figure.axes
    curves = {line.get_gid() or line.get_label(): line.get_data() for line in ax.lines if len(line.get_xdata()) > 10}
    dft, bare = curves.values()
    assert dft[1] == pytest.approx(dft[0])
    assert bare[1] == pytest.approx(bare[0] * (1 + np.log(bare[0])), abs=1e-9)
    assert bare[0][bare[1] < 0].max() == pytest.approx(1 / np.e, abs=0.005)
    assert bare[0][bare[1].argmin()] == pytest.approx(np.exp(-2), abs=0.005)
    assert bare[0][(bare[1] * (1 - bare[0])).argmin()] == pytest.approx(0.117, abs=0.005)


def test_21_mass_that_is_lost(figure):
    (ax,) = figure.axes
    sft, z_loss = ax.lines
    assert sft.get_ydata() == pytest.approx(np.ones(65))
    assert z_loss.get_ydata() == pytest.approx(1 - 2 * 0.05 * z_loss.get_xdata())
    assert [line.get_label() for line in ax.lines] == ["SFT", "SFT + z-loss"]
