"""Every path to Q against the naive reference, and against each other."""

import functools

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt
from qtarget_inspect.engine.running import STUDIED_WHOLLY

from . import naive

SINGLE, DOUBLE = 2e-6, 1e-11
METHODS = ["closed-form", "torch.func", "autograd", "vmap"]
PER_TOKEN = {"sft": naive.cross_entropy, "dft": naive.dft, "asft(kl_weight=0.1)": naive.anchored, "kd": naive.distilled}


def close(a, b, tolerance=DOUBLE):
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance)


def mean_dft(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return -(log_p.exp().detach() * log_p).mean()


@pytest.mark.parametrize("chunk_size", [None, 1, 7, 30, 1000])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PER_TOKEN)
def test_every_path_is_the_naive_one(name, method, chunk_size, batch):
    target = qt.invert(name, batch, method=method, chunk_size=chunk_size)
    close(target.q, naive.naive_target(PER_TOKEN[name], batch))
    close(target.g, naive.naive_gradient(PER_TOKEN[name], batch))
    close(target.p, batch.logits.softmax(-1))
    close(target.mass, target.q.sum(-1))
    close(target.negative_mass, (-target.q).clamp(min=0).sum(-1))
    close(target.q_label, target.q.gather(1, batch.labels[:, None])[:, 0])
    close(target.p_label, target.p.gather(1, batch.labels[:, None])[:, 0])
    assert target.method == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PER_TOKEN)
def test_single_precision_is_close_to_double(name, method, batch):
    single = qt.invert(name, batch.to(torch.float32), method=method, chunk_size=7)
    assert single.q.dtype == torch.float32
    close(single.q, qt.invert(name, batch.to(torch.float32).to(torch.float64), method=method).q, SINGLE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast_once(half, method, batch):
    rounded = batch.to(half)
    target = qt.invert("asft(kl_weight=0.1)", rounded, method=method, chunk_size=7)
    assert target.q.dtype == torch.float32
    close(target.q, naive.naive_target(naive.anchored, rounded), SINGLE)
    in_double = qt.invert("asft(kl_weight=0.1)", rounded, method=method, dtype=torch.float64)
    close(in_double.q, naive.naive_target(naive.anchored, rounded))


@pytest.mark.parametrize("method", METHODS)
def test_out_is_what_comes_back(method, batch):
    out = torch.full_like(batch.logits, torch.nan)
    target = qt.invert("dft", batch, method=method, out=out, chunk_size=7)
    assert target.q is out
    close(out, naive.naive_target(naive.dft, batch))


@pytest.mark.parametrize("method", METHODS)
def test_a_wider_type_on_request(method, batch):
    single = batch.to(torch.float32)
    target = qt.invert("dft", single, method=method, dtype=torch.float64)
    assert target.q.dtype == torch.float64
    close(target.q, naive.naive_target(naive.dft, single))


def test_methods_chosen_by_themselves(batch):
    assert qt.invert("dft", batch).method == "closed-form"
    assert qt.invert(mean_dft, batch).method == "torch.func"
    assert qt.invert(mean_dft, batch, method="autograd").method == "autograd"
    assert qt.invert(mean_dft, batch, method="vmap").reduction.kind == "alone"


def test_permuting_tokens_permutes_the_target(batch):
    order = torch.randperm(30)
    close(qt.invert(mean_dft, batch.select(order), chunk_size=7).q, qt.invert(mean_dft, batch, chunk_size=7).q[order])


@pytest.mark.parametrize("method", METHODS)
def test_extreme_and_masked_logits_stay_finite(method):
    logits = torch.tensor([[1e4, 0.0, -1e4, 3.0], [float("-inf"), 0.0, 1.0, 2.0], [-1e4, -1e4, 1e4, 0.0]])
    batch = qt.TokenBatch(logits, torch.tensor([1, 2, 0]))
    q = qt.invert("sft", batch, method=method).q
    close(q, F.one_hot(batch.labels, 4), SINGLE)


def test_the_same_call_gives_the_same_answer(batch):
    first, second = (qt.invert(mean_dft, batch, chunk_size=7) for _ in range(2))
    assert torch.equal(first.q, second.q)
    assert torch.equal(first.g, second.g)


def test_nothing_of_the_batch_is_changed(batch):
    before = {
        name: value.clone() for name, value in {**batch.context, "logits": batch.logits, "labels": batch.labels}.items()
    }
    for method in METHODS:
        qt.invert("asft", batch, method=method)
    qt.invert(mean_dft, batch)
    for name, value in before.items():
        assert torch.equal(getattr(batch, name), value)


def test_p_and_g_are_made_when_asked_for(batch, monkeypatch):
    calls = []

    def counted(logits, labels):
        calls.append(len(labels))
        return mean_dft(logits, labels)

    target = qt.invert(counted, batch, chunk_size=30)
    assert not {"p", "g"} & set(vars(target))
    calls.clear()
    assert target.g is target.g
    assert calls == [30]  # one pass, nothing is studied again


def test_a_gradient_asked_for_later_knows_the_reduction(batch):
    def kept(logits, labels):
        value = F.cross_entropy(logits, labels, reduction="none")
        keep = value.detach() < 3
        return (value * keep).sum() / keep.sum()

    target = qt.invert(kept, batch, chunk_size=7)
    close(target.p - target.g, target.q)


def test_few_calls_are_spent_on_getting_to_know_a_loss():
    calls = []

    def counted(logits, labels):
        calls.append(logits.shape)
        return mean_dft(logits, labels)

    batch = qt.TokenBatch(torch.randn(512, 1000), torch.randint(1000, (512,)))
    qt.invert(counted, batch, chunk_size=128)
    big = [shape for shape in calls if shape.numel() > 6 * 1000]
    narrow = [shape for shape in calls if shape[1] < 1000]
    assert len([shape for shape in big if shape[1] == 1000]) == 5  # each chunk once, and rows from all of them together
    assert len(narrow) <= 5
    assert len(calls) - len(big) - len(narrow) <= 16
    assert sum(shape.numel() for shape in calls) < 1.2 * batch.logits.numel()


def test_a_large_batch_of_coupled_tokens_is_studied_in_part():
    calls = []

    def kept(logits, labels):
        calls.append(len(labels))
        value = F.cross_entropy(logits, labels, reduction="none")
        keep = value.detach() < 3
        return (value * keep).sum() / keep.sum()

    tokens = 2 * STUDIED_WHOLLY
    batch = qt.TokenBatch(torch.randn(tokens, 20, dtype=torch.float64), torch.randint(20, (tokens,)))
    target = qt.invert(kept, batch)
    assert len(calls) < 100
    assert target.reduction.text.startswith("mean over ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "dft", "asft(kl_weight=0.1)"])
def test_compiled_is_the_same(name, batch):
    loss = qt.get(name).bound_loss
    target = qt.invert(loss, batch, compile=True, chunk_size=7)
    close(target.q, naive.naive_target(PER_TOKEN[name], batch))
    assert target.method == "torch.func"


@pytest.mark.slow
def test_compiled_code_keeps_nothing_of_an_earlier_loss(batch):
    """Four losses from one factory, where torch.compile keeps two versions of one function; names of context change."""

    def loss_with(scale, name):
        if name is None:
            return lambda logits, labels: scale * F.cross_entropy(logits, labels, reduction="none")

        def loss(logits, labels, **context):
            return scale * F.cross_entropy(logits, labels, reduction="none") * context[name]

        return qt.adapt(loss, context={name: name})

    gradient = naive.naive_gradient(naive.cross_entropy, batch)
    for step, name in enumerate((None, "weights", "advantages", "weights")):
        with torch._dynamo.config.patch(recompile_limit=2):
            target = qt.invert(loss_with(1.0 + step, name), batch, compile=True, chunk_size=15)
        weight = getattr(batch, name)[:, None] if name else 1
        close(target.g, (1.0 + step) * weight * gradient)


@pytest.mark.slow
def test_code_that_branches_on_data_is_compiled_in_parts(batch):
    def branching(logits, labels):
        value = F.cross_entropy(logits, labels)
        return value * 2 if value.item() > 1e9 else value

    target = qt.invert(branching, batch, compile=True)
    close(target.q, naive.naive_target(naive.cross_entropy, batch))


def test_what_the_compiler_refuses_says_so(batch, monkeypatch):
    def refuse(function, **options):
        def run(*arguments):
            raise NotImplementedError("no code for this")

        return run

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(qt.LossError, match=r"mean_dft could not be compiled: .*no code for this.*Leave compile=False"):
        qt.invert(mean_dft, batch, compile=True)


def test_compile_where_there_is_nothing_to_compile(batch):
    assert torch.equal(qt.invert("dft", batch, compile=True).q, qt.invert("dft", batch).q)
    target = qt.invert(mean_dft, batch, compile=True, method="autograd")
    assert any("nothing to compile" in note for note in target.notes)


def test_a_partial_of_a_registered_loss(batch):
    loss = functools.partial(qt.losses.asft, kl_weight=0.1)
    close(qt.invert(loss, batch, chunk_size=7).q, naive.naive_target(naive.anchored, batch))
