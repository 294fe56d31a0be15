"""simplex_field: arrows, lines, edges and points of the flow on three tokens, against closed forms."""

import math

import pytest
import torch

import qtarget_inspect as qt

Q_STAR = [0.5, 0.3, 0.2]
TEACHER = [0.2, 0.5, 0.3]
ONE_HOT = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
q_star = torch.tensor(Q_STAR, dtype=torch.float64)
teacher = torch.tensor(TEACHER, dtype=torch.float64)


def p_toward(q, p):
    """dp/dt of dz/dt = q - p: p (q - p - sum_k p_k (q_k - p_k))."""
    v = q - p
    return p * (v - (p * v).sum(-1, keepdim=True))


def field(loss, *args, **kwargs):
    """A coarse one: closed forms hold on every grid."""
    return qt.simplex_field(loss, *args, **{"resolution": 5, **kwargs})


def rests_at(found, stable=True):
    return sorted(tuple(round(x, 6) for x in point.p.tolist()) for point in found.points if point.stable == stable)


def test_the_grid_lies_inside_and_is_even():
    found = field("sft", resolution=6)
    assert found.p.shape == (5 * 4 // 2, 3)
    assert torch.allclose(found.p.sum(-1), torch.ones(10, dtype=torch.float64))
    assert torch.equal((6 * found.p).round(), 6 * found.p)
    assert float(found.p.min()) == pytest.approx(1 / 6)
    assert len({tuple(p.tolist()) for p in found.p}) == 10


def test_sft_on_a_label():
    found = field("sft", 1)
    assert (found.label, found.title, found.category) == (1, "SFT", "one-hot")
    assert torch.allclose(found.q, ONE_HOT.expand_as(found.q), atol=1e-14)
    assert torch.allclose(found.velocity, p_toward(ONE_HOT, found.p), atol=1e-14)
    assert rests_at(found) == [(0, 1, 0)]
    assert found.edges == ()


def test_sft_on_a_distribution_of_labels():
    found = field("sft", q_star=Q_STAR)
    assert found.label is None
    assert found.q_star.tolist() == Q_STAR
    assert torch.allclose(found.q, q_star.expand_as(found.q), atol=1e-14)
    assert torch.allclose(found.velocity, p_toward(q_star, found.p), atol=1e-14)
    assert rests_at(found) == [tuple(Q_STAR)]
    assert found.verdict == "proper"
    assert all(float((line[-1] - q_star).abs().max()) < 0.01 for line in found.lines)


def test_dft_trusts_a_label_as_far_as_the_model_and_collapses():
    found = field("dft", q_star=Q_STAR)
    p = found.p
    weight = q_star * p  # label y pulls with q*_y p_y
    expected = weight + (1 - weight.sum(-1, keepdim=True)) * p
    assert torch.allclose(found.q, expected, atol=1e-14)
    assert (found.verdict, rests_at(found)) == ("collapsing", [(1, 0, 0)])
    ends = torch.stack([line[-1] for line in found.lines])
    assert float(ends[:, 0].min()) > 0.99, "every line runs to the likeliest token"


def test_dft_rests_wherever_the_label_has_no_probability():
    found = field("dft", 1)
    assert [(edge.tokens, edge.kind) for edge in found.edges] == [((0, 2), "unstable")]
    p_y = found.p[:, 1:2]
    assert torch.allclose(found.velocity, p_y * p_toward(ONE_HOT, found.p), atol=1e-14)


def test_unlikelihood_empties_a_label():
    found = field("unlikelihood", 0)
    assert [(edge.tokens, edge.kind) for edge in found.edges] == [((1, 2), "stable")]
    assert float(torch.stack([line[-1] for line in found.lines])[:, 0].max()) < 0.01


def test_a_threshold_leaves_states_at_rest_and_a_neutral_edge():
    found = field("profit(threshold=0.3)", 0, resolution=6)
    assert torch.equal(found.at_rest, found.p[:, 0] < 0.3)
    assert bool(found.at_rest.any())
    assert [(edge.tokens, edge.kind) for edge in found.edges] == [((1, 2), "neutral")]
    dead = [line for line in found.lines if float(line[0, 0]) < 0.3]
    assert {len(line) for line in dead} == {1}, "a line of one point"


def test_label_smoothing_rests_inside():
    found = field("label-smoothing(label_smoothing=0.3)", 1)
    assert rests_at(found) == [(0.1, 0.8, 0.1)]
    assert torch.allclose(found.q, (0.7 * ONE_HOT + 0.1).expand_as(found.q), atol=1e-14)


def test_confidence_penalty_rests_inside():
    """Q = q* - b p (log p + H); it rests where that is p."""
    found = field("confidence-penalty(entropy_weight=0.5)", q_star=Q_STAR)
    p = found.p
    entropy = -(p * p.log()).sum(-1, keepdim=True)
    assert torch.allclose(found.q, q_star - 0.5 * p * (p.log() + entropy), atol=1e-14)
    (point,) = [point for point in found.points if point.stable]
    rest = point.p
    off = rest - q_star + 0.5 * rest * (rest.log() - (rest * rest.log()).sum())
    assert float(off.abs().max()) < 1e-8
    assert point.kind == "interior"


def test_distillation_runs_to_the_teacher_whatever_the_labels():
    found = field("kd", q_star=Q_STAR, teacher_logits=teacher.log(), reference_logits=torch.zeros(3))
    assert torch.allclose(found.q, teacher.expand_as(found.q), atol=1e-14)
    assert rests_at(found) == [tuple(TEACHER)]
    assert list(found.models) == ["teacher"], "the loss does not see the reference"
    assert torch.allclose(found.models["teacher"], teacher)


def test_a_loss_of_the_logits_themselves_is_told_and_its_target_gains_mass():
    """z = log p on the grid, so that Q = onehot - 2 c log p."""
    found = field("squared-logits(logit_weight=0.1)", 1)
    assert torch.allclose(found.q, ONE_HOT - 0.2 * found.p.log(), atol=1e-12)
    assert any("sum of the logits" in note for note in found.notes)


@pytest.mark.parametrize("loss", ["sft", "target-sft", "beyond-log(alpha=3)"])
@pytest.mark.parametrize("labels", [{"label": 2}, {"q_star": Q_STAR}], ids=["label", "q*"])
def test_lines_follow_the_field_and_stay_inside(loss, labels):
    """The direction of a piece of line is that of dp/dt in its middle."""
    found = field(loss, **labels, teacher_logits=teacher.log())
    before, after = [], []
    for line in found.lines:
        assert bool((line >= 0).all())
        assert float((line.sum(-1) - 1).abs().max()) < 1e-12
        assert float((line[1:] - line[:-1]).norm(dim=-1).max()) < 0.03
        before.append(line[:-2])
        after.append(line[1:-1])  # the last piece is the short cut to where the line ends
    piece, middle = torch.cat(after) - torch.cat(before), (torch.cat(after) + torch.cat(before)) / 2
    moves = velocity_at(loss, labels, middle)
    fast = moves.norm(dim=-1) > 1e-3 * float(found.velocity.norm(dim=-1).max())  # beside a rest all is rounding
    looked_at = fast & (middle.amin(-1) > 0.002) & (piece.norm(dim=-1) > 1e-3)
    assert int(looked_at.sum()) > 200
    assert float(torch.cosine_similarity(piece, moves, dim=-1)[looked_at].min()) > 0.99


def velocity_at(loss, labels, p):
    """dp/dt by `invert`, a batch a label."""
    drawn = torch.eye(3, dtype=torch.float64)[labels["label"]] if "label" in labels else q_star
    flow = torch.zeros_like(p)
    for label, weight in enumerate(drawn):
        batch = qt.TokenBatch(p.log(), torch.full((len(p),), label), teacher_logits=teacher.log().expand_as(p))
        flow -= weight * qt.invert(loss, batch, method="torch.func").g
    return p * (flow - (p * flow).sum(-1, keepdim=True))


def test_a_line_begins_where_it_is_told():
    starts = [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]
    found = field("sft", 0, starts=starts)
    assert [line[0].tolist() for line in found.lines] == [pytest.approx(start) for start in starts]
    assert all(float(line[-1, 0]) > 0.99 for line in found.lines)


def test_a_callable_equals_the_registered_loss():
    def my_dft(logits, labels):
        log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
        return (-log_p.exp().detach() * log_p).mean()

    mine, theirs = (field(loss, q_star=Q_STAR) for loss in (my_dft, "dft"))
    assert (mine.title, mine.category) == ("my_dft", "")
    assert torch.allclose(mine.velocity, theirs.velocity, atol=1e-12)
    assert torch.allclose(mine.q, theirs.q, atol=1e-12)
    assert (mine.verdict, rests_at(mine), rests_at(mine, False)) == (
        theirs.verdict,
        rests_at(theirs),
        rests_at(theirs, False),
    )
    assert len(mine.lines) == len(theirs.lines)


def test_a_loss_that_nothing_moves():
    def frozen(logits, labels):
        return 0 * logits.sum(-1)

    found = field(frozen, 0)
    assert bool(found.at_rest.all())
    assert {len(line) for line in found.lines} == {1}
    assert (found.points, found.edges, found.verdict) == ((), (), "undetermined")


def test_the_default_is_the_first_token():
    assert field("sft").label == 0
    assert math.isclose(float(field("sft").q_star[0]), 1.0)


WRONG = {
    "label and q_star": ({"label": 0, "q_star": Q_STAR}, "a label or a q_star"),
    "a label too many": ({"label": 3}, "0, 1 or 2"),
    "four tokens": ({"q_star": [0.25] * 4}, r"shape \[3\]"),
    "no distribution": ({"q_star": [0.5, 0.3, 0.3]}, "must sum to 1"),
    "too coarse": ({"resolution": 2}, "resolution"),
    "starts on an edge": ({"starts": [[0.5, 0.5, 0.0]]}, "inside the simplex"),
    "starts of four tokens": ({"starts": [[0.25] * 4]}, r"shape \[L, 3\]"),
    "words for starts": ({"starts": "many"}, r"\[L, 3\] probabilities"),
    "unknown context": ({"student_logits": [0.0, 0.0, 0.0]}, "simplex_field: unknown context"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_is_refused(options, message):
    with pytest.raises(qt.QTargetError, match=message):
        field("sft", **options)


def test_missing_context_and_preference_losses_are_refused_by_name():
    with pytest.raises(qt.MissingContextError, match=r"simplex_field\(\.\.\., teacher_logits=\.\.\.\)"):
        field("kd")
    with pytest.raises(qt.QTargetError, match=r"simplex_field: .*compares whole sequences"):
        field("dpo")
