"""Labels of probability 0 or 1, masked vocabularies: a limit is taken where there is one, else the loss is refused."""

import math

import pytest
import torch

import qtarget_inspect as qt

INFINITY = float("inf")
NAMES = list(qt.variants())
MODELS = ("logits", "reference_logits", "teacher_logits", "old_logits")
TILTED_BY_ANOTHER = {"reverse-kl": "teacher_logits", "asft-reverse-kl": "reference_logits"}
SEE_MASKED_LOGITS = ["squared-logits", "logit-norm"]


def probes() -> qt.TokenBatch:
    return qt.probe_batch(32, 12, sequence_length=4)


def with_rows(batch: qt.TokenBatch, **rows: torch.Tensor) -> qt.TokenBatch:
    return batch.with_logits(rows.pop("logits", batch.logits), **rows)


def without_label(batch: qt.TokenBatch, *models: str) -> qt.TokenBatch:
    """The same tokens, each with a label that these models exclude."""
    index = batch.labels[:, None]
    return with_rows(batch, **{name: getattr(batch, name).scatter(-1, index, -INFINITY) for name in models})


def only_label(batch: qt.TokenBatch, rows: torch.Tensor, *models: str) -> qt.TokenBatch:
    """The same tokens, but these models exclude all but the label on some of them; `rows` [N] bool."""
    others = torch.nn.functional.one_hot(batch.labels, batch.vocabulary) == 0
    masked = others & rows[:, None]
    return with_rows(batch, **{name: getattr(batch, name).masked_fill(masked, -INFINITY) for name in models})


def accepted(name: str, batch: qt.TokenBatch) -> bool:
    """Whether inversion gives a target. Both ways agree on it and, where they give one, on Q, which is finite."""
    given, refusals = [], []
    for method in ("torch.func", "closed-form") if qt.get(name).pulls is not None else ("torch.func",):
        try:
            given.append(qt.invert(name, batch, method=method))
        except qt.LossError as error:
            refusals.append(str(error))
    assert not (given and refusals)
    assert all("for token" in refusal for refusal in refusals)
    for target in given:
        assert torch.isfinite(target.q).all()
        assert torch.isfinite(target.g).all()
        assert (target.q - given[0].q).abs().max() < 1e-12 * max(1.0, float(target.q.abs().max()))
    return bool(given)


def accepted_each(name: str, batch: qt.TokenBatch) -> list[bool]:
    """For each token whether inversion of it alone gives a target."""
    return [accepted(name, batch.select(slice(row, row + 1))) for row in range(len(batch))]


PER_TOKEN = [name for name, variant in qt.variants().items() if variant.coupling is None]


@pytest.mark.parametrize("name", PER_TOKEN)
def test_a_label_that_the_model_alone_excludes(name):
    """Infinite losses with a finite slope, -log p_y among them, are fine; u = ref_y / p_y has no finite slope."""
    tokens = without_label(probes(), "logits").select(slice(0, 8))
    infinite = name in SEE_MASKED_LOGITS or name in ("k3", "grpo")
    assert accepted_each(name, tokens) == [not infinite] * 8


@pytest.mark.parametrize("name", PER_TOKEN)
def test_a_label_that_all_models_exclude(name):
    """Ratios of two impossible labels count as 1, or as 0 where the loss is a ratio."""
    tokens = without_label(probes(), *MODELS).select(slice(0, 8))
    assert accepted_each(name, tokens) == [name not in SEE_MASKED_LOGITS] * 8


@pytest.mark.parametrize("name", PER_TOKEN)
def test_a_label_that_only_the_other_models_exclude(name):
    """Then p_y / old_y is infinite: no clip holds it where the advantage is negative."""
    tokens = without_label(probes(), *MODELS[1:]).select(slice(0, 8))
    if name in TILTED_BY_ANOTHER:
        expected = [False] * 8  # KL(p || b) with b_y = 0
    elif name in ("ppo", "grpo"):
        expected = (tokens.advantages >= 0).tolist()
        assert len(set(expected)) == 2
    else:
        expected = [True] * 8
    assert accepted_each(name, tokens) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_is_the_only_token_left(name):
    """p_y = 1, and there is no other token that the gradient could move mass to."""
    certain = only_label(probes(), torch.ones(32, dtype=torch.bool), *MODELS)
    if name in (*SEE_MASKED_LOGITS, "unlikelihood", "orpo"):
        assert not accepted(name, certain)
        return
    assert accepted(name, certain)
    moved = qt.invert(name, certain, method="torch.func").g.abs()
    others = torch.nn.functional.one_hot(certain.labels, 12) == 0
    assert (moved[others].max() == 0) == (name != "label-smoothing")  # its uniform gives mass to masked tokens too
    if name not in ("label-smoothing", "z-loss"):
        assert moved.max() < 1e-12


@pytest.mark.parametrize("name", ["k3", "grpo"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_k3_penalty_is_infinite_and_says_for_which_tokens(name, dtype):
    batch = probes()
    excluded = without_label(batch, "logits").logits
    rows = torch.tensor([3, 17])
    logits = batch.logits.clone()
    logits[rows] = excluded[rows]
    context = {key: getattr(batch.to(dtype), key) for key in qt.get(name).context}
    values = qt.get(name)(logits.to(dtype), batch.labels, **context)
    assert values.isinf().nonzero().flatten().tolist() == rows.tolist()
    for method in ("torch.func", "closed-form"):
        with pytest.raises(qt.LossError, match=rf"{name}.*for tokens 3, 17 of the batch"):
            qt.invert(name, batch.with_logits(logits).to(dtype), method=method)


def test_without_the_penalty_grpo_is_ppo_also_where_the_penalty_would_be_infinite():
    batch = without_label(probes(), "logits")
    for method in ("torch.func", "closed-form"):
        found = qt.invert("grpo(kl_weight=0)", batch, method=method)
        assert torch.equal(found.q, qt.invert("ppo", batch, method=method).q)


@pytest.mark.parametrize("method", ["torch.func", "closed-form"])
@pytest.mark.parametrize("name", ["dpo", "simpo", "orpo"])
def test_a_pair_is_decided_where_one_sequence_is_impossible_and_undecided_where_both_are(name, method):
    batch = probes().select(slice(0, 8))
    impossible = without_label(batch, "logits")
    chosen = batch.sequence_ids == (0 if batch.advantages[:4].mean() > batch.advantages[4:].mean() else 1)
    for won in (chosen, ~chosen):
        mixed = batch.with_logits(torch.where(won[:, None], batch.logits, impossible.logits))
        target = qt.invert(name, mixed, method=method)
        assert torch.isfinite(target.q).all()
        moves = bool((target.g.abs() > 1e-12).any())
        assert moves == (bool((won != chosen).any()) or name == "orpo")  # a pair that is won is left alone
    with pytest.raises(qt.LossError, match=r"for tokens 0, 1, 2, 3, 4 and 3 more"):
        qt.invert(name, impossible, method=method)


def pair_of_tokens(chosen: float, rejected: float, dtype: torch.dtype = torch.float64) -> qt.TokenBatch:
    """Two sequences of one token each, V = 2; their labels lead by these logits."""
    logits = torch.tensor([[chosen, 0.0], [rejected, 0.0]], dtype=dtype)
    advantages = torch.tensor([1.0, -1.0], dtype=dtype)
    return qt.TokenBatch(
        logits, torch.tensor([0, 0]), advantages=advantages, sequence_ids=torch.tensor([0, 1], dtype=torch.long)
    )


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("method", ["torch.func", "closed-form"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lead", [8.0, 20.0, 40.0, 80.0])
def test_orpo_keeps_its_digits_where_probabilities_round_to_one(lead, dtype, method):
    """With V = 2 and leads a, b the odds are e^a, e^b, and everything is a function of a and b."""
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    for a, b in ((lead, 0.0), (0.0, lead), (lead, lead), (lead, 2.0)):
        won, lost = 1 / (1 + math.exp(a)), 1 / (1 + math.exp(b))  # 1 - P of chosen and rejected
        miss = 0.1 / (1 + math.exp(a - b))  # w sigmoid(-O)
        pull_won = won + miss  # (1 + miss / (1 - P)) (1 - P): the label's entry of -g
        expected = torch.tensor([[-pull_won, pull_won], [miss, -miss]], dtype=torch.float64)
        target = qt.invert("orpo", pair_of_tokens(a, b, dtype), method=method)
        assert (target.g.double() - expected).abs().max() < tolerance
        p = torch.tensor([[1 - won, won], [1 - lost, lost]], dtype=torch.float64)
        assert (target.q.double() - (p - expected)).abs().max() < tolerance


@pytest.mark.parametrize("method", ["torch.func", "closed-form"])
def test_orpo_leaves_a_pair_alone_that_is_won_for_certain_and_refuses_one_that_is_lost(method):
    pair = pair_of_tokens(0.0, 0.5)
    first, second = (only_label(pair, torch.tensor(rows), "logits") for rows in ([True, False], [False, True]))
    assert qt.invert("orpo", first, method=method).g.abs().max() == 0
    for lost in (second, only_label(pair, torch.tensor([True, True]), "logits")):
        with pytest.raises(qt.LossError, match=r"orpo.*(not finite|NaN|no finite target) for token"):
            qt.invert("orpo", lost, method=method)
    trust = qt.decompose(qt.invert("orpo", first, method="closed-form"), gauge="unit").gamma
    assert torch.allclose(trust, torch.tensor([1 + 0.1 * math.exp(0.5), 0.0], dtype=torch.float64))  # 1 + w odds


def test_a_certain_pair_is_the_limit_of_nearly_certain_ones():
    near = qt.decompose(qt.invert("orpo", pair_of_tokens(60.0, 0.5), method="closed-form"), gauge="unit").gamma
    assert torch.allclose(near, torch.tensor([1 + 0.1 * math.exp(0.5), 0.0], dtype=torch.float64))
