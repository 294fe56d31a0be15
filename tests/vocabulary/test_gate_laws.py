"""Laws beyond the paper: values against plain formulas, formulas that say what is computed, and their edges."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions, gate_laws, policy_laws, preference_laws, weighted_directions


@pytest.fixture(scope="module")
def state() -> State:
    return State(qt.probe_batch(64, 30))


def label_probs(state: State) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p_y, ref_y, old_y by plain softmax."""
    batch = state.batch
    rows = (batch.logits, batch.reference_logits, batch.old_logits)
    return tuple(z.softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1) for z in rows)


def test_values_are_what_the_formulas_say(state):
    p, ref, old = label_probs(state)
    rows, advantage = state.batch.logits.softmax(-1), state.batch.advantages
    reference = state.batch.reference_logits.softmax(-1)
    support = (reference * (reference < ref[:, None])).sum(-1) + ref
    ratio = p / old
    top = rows.sort(-1, descending=True).values[:, :20]
    top = top / top.sum(-1, keepdim=True)
    for law, expected in [
        (gate_laws.focal_trust(0.5), (1 - p) ** 0.5 - 0.5 * p * (1 - p) ** -0.5 * p.log()),
        (gate_laws.focal_trust(1), 1 - p - p * p.log()),
        (gate_laws.focal_trust(0), torch.ones_like(p)),
        (gate_laws.label_prob_at_least(0.1), (p >= 0.1).double()),
        (gate_laws.label_prob_at_most(0.1), (p <= 0.1).double()),
        (gate_laws.saturated_label_prob(0.2), p / (0.2 + 0.8 * p)),
        (gate_laws.saturated_label_prob(0.2, 0.4), (p / (0.2 + 0.8 * p)).clamp(min=0.4)),
        (gate_laws.saturated_label_prob(1.0), p),
        (gate_laws.saturated_label_prob(0.0), torch.ones_like(p)),
        (gate_laws.label_prob_to_concentration(), p ** (rows**2).sum(-1)),
        (gate_laws.label_support_at_least(0.5), (support >= 0.5).double()),
        (gate_laws.clipped_ratio(0.2, 1.8), (p / ref).clamp(0.2, 1.8)),
        (gate_laws.top_k_entropy(20), -(top * top.log()).sum(-1)),
        (gate_laws.log_partition(), state.batch.logits.logsumexp(-1)),
        (policy_laws.advantage(), advantage),
        (policy_laws.ratio_of("reference_logits"), ref / p),
        (
            policy_laws.clipped_advantage(0.8, 1.2),
            advantage * ratio * torch.where(advantage > 0, ratio <= 1.2, ratio >= 0.8),
        ),
        (policy_laws.clipped_advantage(0.0, 1.2), advantage * ratio * ((advantage < 0) | (ratio <= 1.2))),
        (
            weighted_directions.sigmoid_mass(2.0, 0.1),
            (
                (2 * state.batch.logits).softmax(-1)
                * torch.sigmoid(0.1 * (state.batch.logits - state.batch.logits.gather(-1, state.labels[:, None])))
            ).sum(-1),
        ),
    ]:
        assert torch.allclose(law(state), expected, rtol=1e-7, atol=1e-12), law.text


@pytest.mark.parametrize(
    ("law", "text"),
    [
        (gate_laws.focal_trust(2), "(1-p_y)^2 - 2 p_y (1-p_y) log p_y"),
        (gate_laws.focal_trust(1), "(1-p_y) - p_y log p_y"),
        (gate_laws.focal_trust(0.5), "(1-p_y)^0.5 - 0.5 p_y (1-p_y)^-0.5 log p_y"),
        (2 * gate_laws.focal_trust(1), "2 ((1-p_y) - p_y log p_y)"),
        (gate_laws.label_prob_at_least(0.25), "1[p_y >= 0.25]"),
        (gate_laws.saturated_label_prob(0.1), "p_y / (0.1 + 0.9 p_y)"),
        (gate_laws.saturated_label_prob(0.1, 0.2), "max(p_y / (0.1 + 0.9 p_y), 0.2)"),
        (gate_laws.top_k_entropy(20) / 3.0, "H_20 / 3"),
        (gate_laws.clipped_ratio(0.2, 1.8), "clip(p_y/ref_y, 0.2, 1.8)"),
        (0.04 * (policy_laws.ratio_of("reference_logits") - 1), "0.04 (ref_y / p_y - 1)"),
        (policy_laws.clipped_advantage(0.8, 1.2), "A r (clipped to [0.8, 1.2])"),
        (preference_laws.dpo_pull(0.1), "+-0.1 sigmoid(-0.1 D)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_formulas_are_written_with_the_right_parentheses(law, text):
    assert law.text == text


def test_context_is_named():
    assert policy_laws.clipped_advantage(0.8, 1.2).requires == ("old_logits", "advantages")
    assert preference_laws.dpo_pull(0.1).requires == ("reference_logits", "advantages", "sequence_ids")
    assert preference_laws.simpo_pull(2.0, 1.0).requires == ("advantages", "sequence_ids")
    assert gate_laws.label_support_at_least(0.5).requires == ("reference_logits",)


@pytest.mark.parametrize("focusing", [0.5, 1.0, 2.0])
def test_focal_trust_is_finite_at_certain_and_at_impossible_labels(focusing):
    logits = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0], [0.0, -800.0]], dtype=torch.float64)
    state = State(qt.TokenBatch(logits, torch.zeros(3, dtype=torch.long)))
    assert gate_laws.focal_trust(focusing)(state).tolist() == [0.0, 1.0, pytest.approx(0.0, abs=1e-150)]


def test_ratios_of_two_impossible_labels_count_as_one():
    logits = torch.tensor([[-torch.inf, 0.0]], dtype=torch.float64)
    state = State(qt.TokenBatch(logits, torch.tensor([0]), reference_logits=logits.clone()))
    assert policy_laws.ratio_of("reference_logits")(state).tolist() == [1.0]
    assert gate_laws.clipped_ratio(0.2, 1.8)(state).tolist() == [1.0]


def test_the_weighted_power_leans_to_tokens_likelier_than_the_label(state):
    plain = directions.power(2.0).values(state)
    leaning = weighted_directions.weighted_power(2.0, 0.5)
    rows = leaning.values(state)
    assert (rows.sum(-1) - 1).abs().max() < 1e-12
    best = state.p.argmax(-1, keepdim=True)
    behind = best.squeeze(-1) != state.labels
    odds = [(b.gather(-1, state.labels[:, None]) / b.gather(-1, best)).squeeze(-1) for b in (rows, plain)]
    assert (odds[0] < odds[1])[behind].all()
    assert int(behind.sum()) > 10
    flat = weighted_directions.weighted_power(2.0, 0.0)
    assert (flat.values(state) - plain).abs().max() < 1e-14
    assert leaning == weighted_directions.weighted_power(2, 0.5)
    assert leaning.name == "p^2 sigmoid(0.5)"
    with pytest.raises(qt.QTargetError, match="the scale must be a finite number"):
        weighted_directions.weighted_power(1.0, float("nan"))


def test_a_sign_has_no_side_where_the_two_models_agree():
    batch = qt.probe_batch(64, 30)
    same = State(batch.with_logits(batch.logits, teacher_logits=batch.logits.clone()))
    assert directions.sign_tilt().values(same).abs().max() == 0
