"""What the population learns: closed forms of fixed points, for several q* and vocabularies."""

import math

import pytest
import torch

import qtarget_inspect as qt

SMALL = ([0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.4, 0.25, 0.2, 0.15])


def wide(tokens):
    """q* proportional to 1, ..., V."""
    q = torch.arange(1, tokens + 1, dtype=torch.float64)
    return q / q.sum()


def model(tokens, seed=3):
    """Logits of another model."""
    return torch.randn(tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normalised(weights):
    return weights / weights.sum()


def learned(loss, q_star, **context):
    found = qt.fixed_points(loss, q_star, 6, **context)
    assert found.settled.all()
    assert sum(point.basin for point in found.points) == pytest.approx(1)
    return found


def same(found, expected, tolerance=1e-7):
    assert found.learned.sum() == pytest.approx(1)
    assert float((found.learned - expected).abs().max()) < tolerance


@pytest.mark.parametrize("q_star", [*SMALL, wide(12)], ids=len)
def test_cross_entropy_is_proper(q_star):
    found = learned("sft", q_star)
    assert found.verdict == "proper"
    assert [point.kind for point in found.points] == ["interior"]
    same(found, torch.as_tensor(q_star, dtype=torch.float64))
    assert found.total_variation < 1e-7


@pytest.mark.parametrize("alpha", [0.25, 0.5, -0.5])
@pytest.mark.parametrize("q_star", SMALL[1:], ids=len)
def test_a_power_of_p_below_one_learns_a_power_of_q(q_star, alpha):
    found = learned(f"beyond-log(alpha={alpha})", q_star)
    same(found, normalised(torch.tensor(q_star, dtype=torch.float64) ** (1 / (1 - alpha))))
    assert found.verdict == ("sharpening" if alpha > 0 else "flattening")


@pytest.mark.parametrize("beta", [0.7, 1.6])
def test_gem_learns_a_power_of_q(beta):
    """E[g] = p^(1/b)/Z - q*, which is zero at q*^b / Z: below 1 it flattens, though its q is sharper than p."""
    q_star = torch.tensor(SMALL[2], dtype=torch.float64)
    found = learned(f"gem(beta={beta})", q_star)
    same(found, normalised(q_star**beta))
    assert found.verdict == ("flattening" if beta < 1 else "sharpening")


@pytest.mark.parametrize("q_star", [SMALL[0], wide(7)], ids=len)
def test_mixtures(q_star):
    q_star = torch.as_tensor(q_star, dtype=torch.float64)
    tokens = len(q_star)
    other = model(tokens)
    smoothed = learned("label-smoothing(label_smoothing=0.2)", q_star)
    same(smoothed, 0.8 * q_star + 0.2 / tokens)
    assert smoothed.verdict == "flattening"
    anchored = learned("sft-kl(kl_weight=0.5)", q_star, reference_logits=other)
    same(anchored, (q_star + 0.5 * other.softmax(-1)) / 1.5)
    assert anchored.verdict == "anchored"
    assert "reference" in anchored.reason
    same(learned("kd", q_star, teacher_logits=other), other.softmax(-1))
    same(learned("kd-hybrid", q_star, teacher_logits=other), 0.5 * q_star + 0.5 * other.softmax(-1))


@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
def test_target_sft_learns_the_teacher_tilted_by_one_minus_q(eta):
    """E[g] = 0: p_k = q_k p_k + r_k (1 - E p_y), r ~ p^(1-h) t^h, so p^h (1 - q) ~ t^h on the tokens alive."""
    q_star, teacher = torch.tensor(SMALL[0], dtype=torch.float64), model(3)
    found = learned(f"target-sft(eta={eta})", q_star, teacher_logits=teacher)
    same(found, normalised(teacher.softmax(-1) * (1 - q_star) ** (-1 / eta)))
    assert found.verdict == "anchored"
    assert len(found.stable) == 1
    faces = [point for point in found.points if point.kind == "face"]
    assert bool(faces) == (eta < 1)  # on a face the same form holds among the tokens alive, but a push leaves it
    for point in faces:
        same_face = normalised(teacher.softmax(-1) * (1 - q_star) ** (-1 / eta) * (point.p > 0))
        assert float((point.p - same_face).abs().max()) < 1e-7
        assert not point.stable


@pytest.mark.parametrize("loss", ["dft", "p-loss", "target-sft(eta=0)"])
@pytest.mark.parametrize("q_star", SMALL, ids=str)
def test_dft_collapses_to_the_likeliest_label(loss, q_star):
    found = learned(loss, q_star, teacher_logits=model(len(q_star)))
    best = max(range(len(q_star)), key=q_star.__getitem__)
    assert found.verdict == "collapsing"
    assert found.learned.tolist() == [float(k == best) for k in range(len(q_star))]
    assert {point.kind for point in found.points} == {"vertex"}
    assert len(found.points) == len(q_star)  # the other vertices rest, too, and are unstable
    assert found.points[0].judged_by == "flow"
    assert math.isnan(found.points[0].growth)  # the Jacobian vanishes there


def test_dft_with_a_tie_keeps_both_and_the_start_decides_between_them():
    found = learned("dft", [0.4, 0.4, 0.2])
    assert found.verdict == "collapsing"
    assert found.points[0].kind == "continuum"
    assert "token 2 dies out" in found.reason
    assert float(found.ends[:, 2].max()) < 1e-6
    even = learned("dft", [1 / 3] * 3)
    assert (even.verdict, even.points[0].kind) == ("multi-stable", "continuum")


def test_a_power_above_one_lets_the_start_decide():
    """p^a, a > 1: every vertex is stable, and q*^(-1/(a-1)) between them is not."""
    found = qt.fixed_points("beyond-log(alpha=3)", [0.5, 0.3, 0.2], 12)
    assert found.verdict == "multi-stable"
    assert sorted(point.p.argmax().item() for point in found.stable) == [0, 1, 2]
    (between,) = [point for point in found.points if point.kind == "interior"]
    assert not between.stable
    assert between.judged_by == "jacobian"
    assert between.growth > 0
    expected = normalised(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64) ** (-1 / 2))
    assert float((between.p - expected).abs().max()) < 1e-7


def test_profit_has_a_stable_point_for_every_set_of_labels_it_keeps():
    q_star = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    found = qt.fixed_points("profit", q_star)
    assert found.verdict == "multi-stable"
    assert len(found.stable) == 7  # 3 tokens alive, 2, or 1: q* among them is above the threshold
    for point in found.stable:
        assert float((point.p - normalised(q_star * (point.p > 0))).abs().max()) < 1e-7


def test_profit_above_every_probability_is_a_dead_region():
    found = qt.fixed_points("profit(threshold=0.6)", [0.5, 0.3, 0.2], [[0.34, 0.33, 0.33], [0.4, 0.3, 0.3]])
    assert found.verdict == "multi-stable"
    assert found.points[0].kind == "continuum"
    assert any("dead region" in note for note in found.notes)
    assert torch.allclose(found.ends, found.starts)


def test_asft_is_held_by_the_reference_and_solves_its_equation():
    q_star, reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), model(3)
    found = learned("asft(kl_weight=0.2)", q_star, reference_logits=reference)
    p = found.learned
    assert found.verdict == "anchored"
    assert found.points[0].kind == "interior"
    drive = p * (q_star - (q_star * p).sum()) + 0.2 * (reference.softmax(-1) - p)
    assert float(drive.abs().max()) < 1e-9


def test_a_weight_that_is_the_same_for_every_label_is_proper():
    found = learned("eaft", [0.5, 0.3, 0.2])
    assert found.verdict == "proper"
    assert {point.kind for point in found.points if not point.stable} == {"vertex"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "form"),
    [
        ("sft", lambda q: q),
        ("beyond-log(alpha=0.5)", lambda q: normalised(q**2)),
        ("gem", lambda q: normalised(q**0.7)),
        ("dft", lambda q: (q == q.max()).double()),
    ],
)
def test_fifty_tokens(loss, form):
    q_star = wide(50)
    found = qt.fixed_points(loss, q_star, 3)
    same(found, form(q_star))
    assert len(found.stable) == 1
