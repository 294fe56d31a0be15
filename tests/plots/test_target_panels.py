"""Panels of targets: one a loss, token, gauge or reading, on one scale, with one key."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import qtarget_inspect as qt
from qtarget_inspect.plots import plot_targets

P = [[0.25, 0.5, 0.15, 0.1], [0.9, 0.06, 0.03, 0.01]]


@pytest.fixture
def batch():
    return qt.TokenBatch(torch.tensor(P, dtype=torch.float64).log(), torch.tensor([0, 1]))


def read(batch, *losses, token=0, **how):
    return qt.target_table([qt.decompose(qt.invert(loss, batch), **how) for loss in losses], token)


def panels(count, **options):
    return Figure(figsize=(8, 3), layout="constrained").subplots(1, count, **options)


def first_lines(axes):
    return [ax.get_title().split("\n")[0] for ax in axes.flat]


def named(ax):
    """The entries' texts that are shown."""
    ax.figure.draw_without_rendering()
    return [text.get_text() for text in ax.get_yticklabels()]


@pytest.mark.parametrize("sharey", [False, True])
def test_a_panel_a_loss_on_one_scale_with_one_key(batch, sharey):
    table = read(batch, "sft", "dft", "gem", gauge="natural")
    axes = panels(3, sharey=sharey)
    assert plot_targets(table, axes=axes) is axes
    assert first_lines(axes) == ["SFT", "DFT", "GEM"]
    for ax, (_, rows) in zip(axes, table.groupby("loss", sort=False), strict=True):
        model, positive, negative = ax.containers
        assert [bar.get_width() for bar in model] == rows.p.tolist()
        found = [one.get_width() + other.get_width() for one, other in zip(positive, negative, strict=True)]
        assert found == rows.q.tolist()
        assert ax.get_legend() is None
    assert len({ax.get_xlim() for ax in axes}) == 1
    (key,) = axes[0].figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["p", "Q", "residual", "Q < 0"]
    assert [named(ax) for ax in axes] == [["token 0", "token 1", "token 2", "token 3"], [], []]


def test_tokens_gauges_and_readings_are_panels_too(batch):
    tokens = [read(batch, "sft", token=token) for token in (0, 1)]
    axes = plot_targets(tokens, axes=panels(2))
    assert first_lines(axes) == ["SFT, token 1", "SFT, token 2"]
    assert named(axes[1]) == ["token 1", "token 0", "token 2", "token 3"], "other entries, so they are named again"
    readings = pd.concat([read(batch, "dft", reading=reading) for reading in ("attractor", "label-free")])
    assert first_lines(plot_targets(readings, axes=panels(2))) == ["DFT, attractor", "DFT, label-free"]
    gauges = pd.concat([read(batch, "label-smoothing", gauge=gauge) for gauge in ("unit", "normalized")])
    seconds = [ax.get_title().split("\n")[1] for ax in plot_targets(gauges, axes=panels(2))]
    assert [text.split(", ")[1] for text in seconds] == ["unit", "normalized"]


def test_many_losses_go_on_in_another_row(batch):
    try:
        axes = plot_targets(read(batch, "sft", "dft", "gem", "eaft", "focal"))
        assert axes.shape == (2, 4)
        assert [ax.axison for ax in axes.flat] == [True] * 5 + [False] * 3
        assert named(axes[1, 0]) == named(axes[0, 0])
        assert plot_targets(read(batch, "sft", "dft", "gem"), columns=2, key=False).shape == (2, 2)
        assert plt.gcf().legends == []
    finally:
        plt.close("all")


def test_the_key_has_a_place_without_a_layout_too(batch):
    axes = Figure(figsize=(8, 3)).subplots(1, 2)
    plot_targets(read(batch, "sft", "dft"), axes=axes)
    axes[0].figure.draw_without_rendering()
    assert len(axes[0].figure.legends) == 1


def test_what_has_no_place_is_refused(batch):
    table = read(batch, "sft", "dft", "gem")
    with pytest.raises(qt.QTargetError, match=r"3 panels \(SFT, DFT, GEM\), and axes has room for 2"):
        plot_targets(table, axes=panels(2))
    with pytest.raises(qt.QTargetError, match="SFT has rows twice for one entry"):
        plot_targets(pd.concat([table, table]), axes=panels(3))
    with pytest.raises(qt.QTargetError, match="the table has no residual"):
        plot_targets(table.drop(columns="residual"), axes=panels(3))
    with pytest.raises(qt.QTargetError, match="plot_targets takes a DataFrame, not Decomposition"):
        plot_targets([qt.decompose(qt.invert("sft", batch))], axes=panels(1))
    with pytest.raises(qt.QTargetError, match="plot_targets got no table"):
        plot_targets([], axes=panels(1))
