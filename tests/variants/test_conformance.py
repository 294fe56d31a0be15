"""Conformance of every registered variant, by differentiation: a new loss is tested by being registered."""

import math

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.verification import verify
from qtarget_inspect.core.state import State

NAMES = list(qt.variants())
PER_TOKEN = [name for name, variant in qt.variants().items() if variant.coupling is None]
COUPLED = [name for name, variant in qt.variants().items() if variant.coupling is not None]
DECLARED = [name for name, variant in qt.variants().items() if variant.pulls is not None]
CLAIMED = [name for name, variant in qt.variants().items() if variant.claim is not None]
PAIRED = [name for name, variant in qt.variants().items() if variant.category == "preference"]
ORDERED = ["unlikelihood-tokens"]
"""Losses that read off the order of the rows which tokens of a sequence came earlier."""
SEES_OFFSET = ["z-loss", "squared-logits", "logit-norm"]
"""Losses that are not shift invariant: the offset of the logits matters, and Q does not sum to 1."""
OF_PROBABILITIES = [name for name in NAMES if name not in SEES_OFFSET]
TOWARD_ONLY = [n for n in DECLARED if all(term.direction.kind == "toward" for term in qt.get(n).pulls)]


@pytest.fixture(scope="module")
def batch() -> qt.TokenBatch:
    return qt.probe_batch(128, 40, sequence_length=4)


def differentiate(name: str, batch: qt.TokenBatch, **options) -> qt.InducedTarget:
    return qt.invert(name, batch, **{"method": "torch.func", **options})


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference of two Q or g, in units of each row's largest entry, at least 1."""
    size = torch.maximum(one, other).abs().amax(-1, keepdim=True).clamp(min=1)
    return float(((one - other).abs() / size).max())


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_gradients_sum_to_zero_and_targets_to_one(name, batch):
    assert qt.get(name).conserves_mass in (True, None)
    target = differentiate(name, batch)
    size = target.q.abs().amax(-1).clamp(min=1)
    assert (target.g.sum(-1) / size).abs().max() < 1e-12
    assert ((target.mass - 1) / size).abs().max() < 1e-12


@pytest.mark.parametrize("name", SEES_OFFSET)
def test_losses_that_see_the_offset_lose_mass(name, batch):
    assert not qt.get(name).conserves_mass
    target = differentiate(name, batch)
    assert ((target.mass - 1).abs() > 1e-4).double().mean() > 0.5


@pytest.mark.parametrize("name", DECLARED)
def test_declared_pulls_are_what_differentiation_gives(name, batch):
    target, closed = differentiate(name, batch), qt.invert(name, batch, method="closed-form")
    size = max(1.0, float(target.q.abs().max()))
    assert (target.q - closed.q).abs().max() < 1e-13 * size
    assert (target.g - closed.g).abs().max() < 1e-13 * size


@pytest.mark.parametrize("name", TOWARD_ONLY)
def test_detached_loss_of_the_pulls_has_the_same_gradient(name, batch):
    rebuilt = qt.get(name).pulls.detached_loss()
    logits = batch.logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rebuilt(logits, batch.labels, **batch.context).sum(), logits)
    target = differentiate(name, batch)
    assert (gradient - target.g).abs().max() < 1e-12 * max(1.0, float(target.q.abs().max()))


@pytest.mark.parametrize("name", CLAIMED)
def test_claims_are_checked_where_they_say_something(name, batch):
    found = verify(qt.get(name), batch)
    assert any(check.informative > 0 for check in found.checks.values())
    assert found.holds == (name != "psft")
    if found.holds:
        assert found.check.max_error <= 1e-10


def without_ties(batch: qt.TokenBatch) -> qt.TokenBatch:
    """The tokens whose teacher is not the model itself: there total variation has a kink, and rounding decides."""
    return batch.select((batch.logits - batch.teacher_logits).abs().amax(-1) > 1e-6)


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_a_constant_added_to_the_logits_changes_nothing(name, batch):
    states = without_ties(batch) if name == "total-variation" else batch
    shifted = states.with_logits(states.logits + 3.0)
    assert apart(differentiate(name, states).q, differentiate(name, shifted).q) < 1e-11


@pytest.mark.parametrize("name", SEES_OFFSET)
def test_a_constant_added_to_the_logits_is_seen(name, batch):
    shifted = batch.with_logits(batch.logits + 3.0)
    changed = (differentiate(name, batch).q - differentiate(name, shifted).q).abs().amax(-1)
    assert (changed > 1e-5).double().mean() > 0.5


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ORDERED])
def test_token_order_changes_nothing(name, batch):
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(3))
    shuffled = differentiate(name, batch.select(order))
    assert apart(differentiate(name, batch).q[order], shuffled.q) < 1e-12


@pytest.mark.parametrize("name", ORDERED)
def test_the_order_of_sequences_changes_nothing_that_within_them_does(name, batch):
    by_sequence = torch.randperm(len(batch) // 4, generator=torch.Generator().manual_seed(3))
    order = (4 * by_sequence[:, None] + torch.arange(4)).flatten()
    whole = differentiate(name, batch).q
    assert apart(whole[order], differentiate(name, batch.select(order)).q) < 1e-12
    backwards = torch.arange(len(batch) - 1, -1, -1)
    assert (whole[backwards] - differentiate(name, batch.select(backwards)).q).abs().max() > 1e-2


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_nothing(name, chunk_size, batch):
    whole = differentiate(name, batch)
    for method in ("torch.func", "closed-form") if name in DECLARED else ("torch.func",):
        chunked = differentiate(name, batch, chunk_size=chunk_size, method=method)
        assert apart(whole.q, chunked.q) < 1e-12


@pytest.mark.parametrize("name", PER_TOKEN)
def test_tokens_together_are_tokens_alone(name, batch):
    few = batch.select(slice(0, 24))
    together, alone = differentiate(name, few), differentiate(name, few, method="vmap")
    assert apart(together.q, alone.q) < 1e-12
    assert together.coupled is None


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_sequences_together_are_sequences_alone(name, batch):
    """Two by two for preference losses, one by one for others."""
    together = differentiate(name, batch)
    assert together.coupled
    group = batch.sequence_ids // 2 if name in PAIRED else batch.sequence_ids
    for which in group.unique()[:4]:
        member = group == which
        alone = differentiate(name, batch.select(member))
        assert apart(together.q[member], alone.q) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_masked_positions_have_no_gradient_and_no_influence(name):
    rows, width, vocabulary = 4, 6, 30
    source = qt.probe_batch(rows * width, vocabulary, sequence_length=width)
    labels = source.labels.view(rows, width).clone()
    labels[0, 1:3] = labels[2, 5] = -100
    kept = (labels != -100).flatten()

    def grid(batch):
        context = {n: v.view(rows, width, *v.shape[1:]) for n, v in batch.context.items()}
        return qt.TokenBatch.from_causal_lm(batch.logits.view(rows, width, vocabulary), labels, shift=False, **context)

    noise = torch.where(kept[:, None], 0.0, torch.randn(rows * width, vocabulary, dtype=torch.float64))
    clean, disturbed = grid(source), grid(source.with_logits(source.logits + noise))
    assert torch.equal(differentiate(name, clean).q, differentiate(name, disturbed).q)
    spread = clean.to_grid(differentiate(name, clean).g, fill=0.0)
    assert spread[labels == -100].abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone_and_results_repeat(name, batch):
    before = {
        key: value.clone() for key, value in {"logits": batch.logits, "labels": batch.labels, **batch.context}.items()
    }
    first, second = differentiate(name, batch), differentiate(name, batch)
    qt.decompose(qt.invert(name, batch), gauge="natural")
    assert torch.equal(first.q, second.q)
    for key, value in before.items():
        assert torch.equal(getattr(batch, key), value), key


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_close_to_float64(name, batch):
    single = differentiate(name, batch.to(torch.float32))
    double = differentiate(name, batch.to(torch.float32).to(torch.float64))
    assert single.q.dtype == torch.float32
    assert apart(single.q.double(), double.q) < 2e-5


def hard_batch(extreme: float) -> qt.TokenBatch:
    """Logits of -extreme and of up to 1e4 in the same columns of all models, labels among them."""
    batch = qt.probe_batch(24, 30, sequence_length=4)
    column = torch.arange(30) % 5
    shift = torch.where(column == 0, -extreme, torch.where(column == 1, min(extreme, 1e4), 0.0)).to(torch.float64)
    return batch.with_logits(
        batch.logits + shift, **{key: value + shift for key, value in batch.context.items() if key.endswith("_logits")}
    )


REFUSED_AT_MINUS_INFINITY = ["simpo", "orpo", "squared-logits", "logit-norm"]
"""The first two compare mean log-probabilities of two sequences, and both hold an impossible label; the last two see
logits, not probabilities: one is infinite there, the other depends on how the logits get to -inf."""
METHODS = [(name, "torch.func") for name in NAMES] + [(name, "closed-form") for name in DECLARED]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("extreme", [1e4, float("inf")])
@pytest.mark.parametrize(("name", "method"), METHODS)
def test_extreme_logits_stay_finite(name, method, extreme, dtype):
    tokens = hard_batch(extreme).to(dtype)
    if name in REFUSED_AT_MINUS_INFINITY and extreme == float("inf"):
        with pytest.raises(qt.LossError, match=rf"{name}.* (NaN|not finite|no finite target) for tokens"):
            qt.invert(name, tokens, method=method)
        return
    target = qt.invert(name, tokens, method=method)
    assert torch.isfinite(target.q).all()
    assert torch.isfinite(target.g).all()


def psft_cases() -> dict[str, qt.TokenBatch]:
    """Ratios r = p_y / old_y of every size, from 0 to infinity, and 0 / 0."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(30, (64,), generator=generator)

    def random(scale: float) -> torch.Tensor:
        return scale * torch.randn(64, 30, generator=generator, dtype=torch.float64)

    signs = [torch.where(random(1.0) > 0, 1e4, -1e4) for _ in range(2)]
    excluded, impossible = random(1.0), random(1.0)
    excluded[:32].scatter_(-1, labels[:32, None], float("-inf"))
    impossible[16:48].scatter_(-1, labels[16:48, None], float("-inf"))
    return {
        "model and old policy of +-1e4": qt.TokenBatch(signs[0], labels, old_logits=signs[1]),
        "labels that the old policy excludes": qt.TokenBatch(random(1.0), labels, old_logits=excluded),
        "labels that either excludes": qt.TokenBatch(impossible, labels, old_logits=excluded),
        "widely spread": qt.TokenBatch(random(100.0), labels, old_logits=random(100.0)),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", list(psft_cases()))
@pytest.mark.parametrize("name", ["psft", "psft(epsilon=0, epsilon_high=0)"])
def test_ratios_of_every_size_stay_finite(name, case, dtype):
    batch = psft_cases()[case].to(dtype)
    found, closed = (qt.invert(name, batch, method=method) for method in ("torch.func", "closed-form"))
    for target in (found, closed):
        assert torch.isfinite(target.q).all()
        assert torch.isfinite(target.g).all()
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert (found.q - closed.q).abs().max() < tolerance
    log_p, log_old = (
        logits.double().log_softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)
        for logits in (batch.logits, batch.old_logits)
    )
    limit = 1.28 if name == "psft" else 1.0
    clipped = (log_p > log_old + math.log(limit) + 1e-3) | (log_p == float("-inf"))
    assert int(clipped.sum()) > 3
    assert found.g[clipped].abs().max() == 0


def test_disjoint_supports_of_model_and_teacher_are_an_error_that_names_the_tokens():
    logits, teacher = torch.zeros(4, 6), torch.zeros(4, 6)
    logits[[1, 3], :3], teacher[[1, 3], 3:] = float("-inf"), float("-inf")
    batch = qt.TokenBatch(logits, torch.tensor([0, 3, 2, 4]), teacher_logits=teacher)
    for method in ("torch.func", "closed-form"):
        with pytest.raises(qt.LossError, match=r"target-sft.*tokens 1, 3"):
            qt.invert("target-sft", batch, method=method)
        for eta in (0, 1):  # the ends of the path need one of the two only
            target = qt.invert(f"target-sft(eta={eta})", batch.select(torch.tensor([0, 2])), method=method)
            assert torch.isfinite(target.q).all()


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0, 1e4])
@pytest.mark.parametrize(("name", "tolerance"), [("dft", 1e-6), ("psft", 2e-6), ("iw-sft", 3e-6)])
def test_float32_keeps_its_digits_where_logits_are_offset(name, tolerance, offset):
    batch = qt.probe_batch(64, 40, sequence_length=4)
    shifted = {key: value + offset for key, value in batch.context.items() if key.endswith("_logits")}
    single = batch.with_logits(batch.logits + offset, **shifted).to(torch.float32)
    exact = qt.invert(name, single.to(torch.float64), method="closed-form").q  # of the same, rounded, logits
    size = exact.abs().amax(-1, keepdim=True).clamp(min=1)
    for method in ("closed-form", "torch.func"):
        found = qt.invert(name, single, method=method).q
        assert found.dtype == torch.float32
        assert ((found - exact).abs() / size).max() < tolerance


@pytest.mark.parametrize("name", [n for n in PER_TOKEN if not qt.get(n).stop_gradient])
def test_losses_without_a_stop_gradient_pass_gradcheck(name):
    batch = qt.probe_batch(6, 5)
    inside = batch.select(((State(batch).p_label - 0.1).abs() > 1e-3).nonzero().flatten())
    context = {key: getattr(inside, key) for key in qt.get(name).context}
    logits = inside.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: qt.get(name)(z, inside.labels, **context), (logits,))
