"""Populations: where the flow ends when labels are drawn from q*, or when a teacher is followed."""

import numpy as np
import pytest

Q_STAR = np.array([0.5, 0.3, 0.2])


def probabilities(line):
    """[points, 3] probabilities of a line of a triangle: its top, left and right corner's token."""
    x, top = (np.asarray(part, dtype=float) for part in line.get_data())
    left, right = (1 - top - np.sqrt(3) * x) / 2, (1 - top + np.sqrt(3) * x) / 2
    return np.stack([top, left, right], -1)


def marked(ax, label):
    """[points, 3] the points of a kind."""
    return np.concatenate([probabilities(line) for line in ax.lines if line.get_label() == label])


def flow_ends(ax):
    """[lines, 3] where the flow lines end."""
    return np.stack([probabilities(line)[-1] for line in ax.lines if line.get_label() == "flow"])


def time_to(velocity, start, step=0.01):
    """How long the flow of the logits takes to give the last token 0.4."""
    z, steps = np.log(start), 0
    while (p := np.exp(z) / np.exp(z).sum())[-1] < 0.4:
        z, steps = z + step * velocity(p), steps + 1
    return step * steps


def test_15_cross_entropy_finds_the_truth(figure):
    one_label, population = figure.axes
    assert marked(one_label, "stable") == pytest.approx(np.eye(3)[:1])
    assert marked(population, "stable") == pytest.approx(Q_STAR[None])
    assert marked(population, "q*") == pytest.approx(Q_STAR[None])
    assert flow_ends(one_label)[:, 0].min() > 0.98
    assert np.abs(flow_ends(population) - Q_STAR).max() < 0.01
    assert population.get_title() == "SFT: proper"


def test_16_why_dft_collapses(figure):
    dft, eaft = figure.axes
    assert marked(dft, "stable") == pytest.approx(np.eye(3)[:1])
    assert len(marked(dft, "unstable")) == 2
    assert marked(eaft, "stable") == pytest.approx(Q_STAR[None])
    assert np.abs(flow_ends(eaft) - Q_STAR).max() < 0.01
    assert [ax.get_title() for ax in figure.axes] == ["DFT: collapsing", "EAFT: proper"]


def test_17_two_ways_to_a_teacher(figure):
    teacher, start = np.array([0.475, 0.05, 0.475]), np.array([0.98, 0.01, 0.01])
    for ax in figure.axes:
        assert marked(ax, "stable") == pytest.approx(teacher[None], abs=1e-6)
        assert np.abs(flow_ends(ax) - teacher).max() < 0.01
    forward, reverse = figure.axes
    assert not any(line.get_label() == "unstable" for line in forward.lines)
    resting = marked(reverse, "unstable")
    assert len(resting) == 6
    for p in resting:  # the teacher without what is missing, or one token alone
        assert p[p > 1e-9] == pytest.approx((teacher / teacher[p > 1e-9].sum())[p > 1e-9])

    def toward(p):
        return teacher - p

    def tilted(p):
        score = np.log(teacher / p)
        return p * (score - (p * score).sum())

    assert time_to(tilted, start) / time_to(toward, start) == pytest.approx(2.4, abs=0.05)


def test_18_proper_sharpening_flattening(figure):
    losses = {"SFT": "proper", "Beyond-log (alpha=0.5)": "sharpening", "GEM": "flattening", "focal loss": "flattening"}
    losses |= {"label smoothing": "flattening"}
    assert [ax.get_title() for ax in figure.axes] == [f"{name}\n{verdict}" for name, verdict in losses.items()]
    learned = {}
    for ax, name in zip(figure.axes, losses, strict=True):
        grey, coloured = ([bar.get_height() for bar in container] for container in ax.containers)
        assert grey == pytest.approx(Q_STAR)
        learned[name] = np.array(coloured)
    assert learned["SFT"] == pytest.approx(Q_STAR)
    assert learned["Beyond-log (alpha=0.5)"] == pytest.approx(Q_STAR**2 / (Q_STAR**2).sum(), abs=1e-6)
    assert learned["label smoothing"] == pytest.approx(0.9 * Q_STAR + 0.1 / 3, abs=1e-6)
    sharpened = learned["GEM"] ** (1 / 0.7) / (learned["GEM"] ** (1 / 0.7)).sum()
    assert sharpened == pytest.approx(Q_STAR, abs=1e-6), "GEM rests where its sharpened model is q*"
