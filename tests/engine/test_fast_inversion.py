"""Every fast path of inversion against the plain one and against the naive float64 reference."""

import pytest
import torch
import torch.nn.functional as F
from wide_batches import wide_batch

import qtarget_inspect as qt
from qtarget_inspect.core import chunks
from qtarget_inspect.engine import compiled

DECLARED = [name for name, variant in qt.variants().items() if variant.pulls is not None]


def apart(q, judge):
    """Largest difference in units of each row's largest entry, at least 1."""
    return float(((q.double() - judge.double()).abs().amax(-1) / judge.double().abs().amax(-1).clamp(min=1)).max())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 5 * 4 * 3000 * 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DECLARED)
def test_closed_forms_agree_with_the_plain_ones_and_with_differentiation(name, dtype):
    batch = wide_batch(dtype)
    judge = qt.invert(name, wide_batch(torch.float64), method="torch.func").q
    fast = qt.invert(name, batch, method="closed-form")
    with qt.fast_paths(False):
        plain = qt.invert(name, batch, method="closed-form")
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert apart(plain.q, judge) < tolerance
    assert apart(fast.q, judge) < tolerance
    assert apart(fast.mass[:, None], plain.mass[:, None]) < tolerance
    assert apart(fast.g, plain.g) < tolerance


@pytest.mark.parametrize("name", ["dft", "asft", "target-sft", "gem", "iw-sft", "eaft", "kd"])
def test_closed_forms_take_half_precision_as_what_it_says(name):
    batch = wide_batch(torch.bfloat16)
    judge = qt.invert(name, batch.to(torch.float64)).q
    fast = qt.invert(name, batch)
    assert fast.q.dtype == torch.float32
    assert apart(fast.q, judge) < 2e-5


@pytest.mark.parametrize("name", ["dft", "sft", "kd", "target-sft"])
def test_a_closed_form_computes_one_softmax_a_model(name, monkeypatch):
    counted = []
    softmax, method = torch.softmax, torch.Tensor.softmax
    monkeypatch.setattr(torch, "softmax", lambda *a, **k: counted.append(len(a[0])) or softmax(*a, **k))
    monkeypatch.setattr(torch.Tensor, "softmax", lambda s, *a, **k: counted.append(len(s)) or method(s, *a, **k))
    batch = wide_batch()
    qt.invert(name, batch)
    assert sum(counted) == len(batch) * {"dft": 1, "sft": 0, "kd": 1, "target-sft": 2}[name]


def test_a_law_that_looks_at_other_tokens_is_computed_on_the_whole_batch():
    from qtarget_inspect.vocabulary import directions
    from qtarget_inspect.vocabulary.formula import Law
    from qtarget_inspect.vocabulary.pulls import Pulls

    relative = Law("p_y / mean p_y", "", lambda s: s.p_label / s.p_label.mean())

    def loss(logits, labels):
        log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
        p = log_p.detach().exp()
        return -p / p.mean() * log_p

    variant = qt.Variant(
        name="relative-dft",
        title="relative DFT",
        loss=loss,
        category="label trust",
        make_pulls=lambda: Pulls.of((directions.label(), relative)),
        coupling="a detached weight that is normalised over the batch",
    )
    batch = wide_batch(torch.float64)
    assert not variant.pulls.row_local
    assert apart(qt.invert(variant, batch).q, qt.invert(variant, batch, method="torch.func").q) < 1e-12


@pytest.mark.parametrize("name", DECLARED)
def test_the_package_says_of_each_law_whether_it_is_local(name):
    variant = qt.get(name)
    assert variant.pulls.row_local == (variant.coupling is None)


def dft(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p.exp().detach() * log_p


def mean_cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def with_entropy(logits, labels):
    log_p = logits.log_softmax(-1)
    return F.nll_loss(log_p, labels, reduction="none") + 0.1 * (log_p.exp() * log_p).sum(-1)


def p_loss(logits, labels):
    return -logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)


def smoothed(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")


def distilled(logits, labels, teacher_logits):
    teacher = teacher_logits.log_softmax(-1)
    return F.kl_div(logits.log_softmax(-1), teacher, log_target=True, reduction="none").sum(-1)


def by_logsumexp(logits, labels):
    return logits.logsumexp(-1) - logits.gather(-1, labels[:, None]).squeeze(-1)


def margin(logits, labels):
    """Has a use for the largest logit itself, and for the softmax of other logits."""
    own = logits.gather(-1, labels[:, None]).squeeze(-1)
    return logits.amax(-1) - own + 0.5 * (logits / 2).softmax(-1).square().sum(-1)


def of_one_hot(logits, labels):
    target = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return ((logits.softmax(-1) - target) ** 2).sum(-1)


def indexed(logits, labels):
    return -logits.log_softmax(-1)[torch.arange(len(labels)), labels]


CALLABLES = [
    dft, mean_cross_entropy, with_entropy, p_loss, smoothed, distilled, by_logsumexp, margin, of_one_hot, indexed,
]  # fmt: skip


@pytest.mark.parametrize("loss", CALLABLES, ids=lambda loss: loss.__name__)
def test_chunks_by_plain_autograd_are_those_of_torch_func(loss):
    batch = wide_batch()
    judge = qt.invert(loss, wide_batch(torch.float64), method="torch.func").q
    fast = qt.invert(loss, batch)
    with qt.fast_paths(False):
        plain = qt.invert(loss, batch)
    assert fast.method == plain.method == "torch.func"
    assert fast.reduction == plain.reduction
    assert apart(fast.q, judge) < 2e-5
    assert apart(plain.q, judge) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("loss", CALLABLES, ids=lambda loss: loss.__name__)
def test_compiled_chunks_are_those_of_torch_func(loss):
    batch = wide_batch()
    judge = qt.invert(loss, wide_batch(torch.float64), method="torch.func")
    first = qt.invert(loss, batch, compile=True)
    again = qt.invert(loss, batch, compile=True)
    assert any(note.startswith("compiled in ") and note.endswith(" s") for note in first.notes)
    assert any("in an earlier call" in note for note in again.notes)
    for target in (first, again):
        assert target.method == "torch.func"
        assert target.coupled is None
        assert apart(target.q, judge.q) < 2e-5
        assert apart(target.g, judge.g) < 2e-5
    assert torch.equal(first.q, again.q)


@pytest.mark.slow
def test_compiled_chunks_with_impossible_labels_and_masked_entries():
    batch = wide_batch()
    logits = batch.logits.clone()
    logits[:, 7] = -torch.inf
    logits[3, batch.labels[3]] = -torch.inf
    batch = batch.with_logits(logits)

    def bounded(logits, labels):
        return -logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)

    judge = qt.invert(bounded, batch.to(torch.float64)).q
    assert apart(qt.invert(bounded, batch, compile=True).q, judge) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("later", ["mean", "none"])
def test_a_compiled_loss_is_studied_again_where_its_reduction_has_changed(later):
    settings = {"reduction": "sum"}

    def changeable(logits, labels):
        return F.cross_entropy(logits, labels, **settings)

    batch = wide_batch()
    judge = qt.invert(mean_cross_entropy, batch).q
    assert apart(qt.invert(changeable, batch, compile=True).q, judge) < 2e-5
    settings["reduction"] = later
    again = qt.invert(changeable, batch, compile=True)
    assert apart(again.q, judge) < 2e-5
    assert again.reduction.kind == later
    assert again.coupled is None


@pytest.mark.slow
def test_tokens_that_hang_together_in_a_later_batch_are_found():
    def relative(logits, labels):
        losses = F.cross_entropy(logits, labels, reduction="none")
        weight = torch.where(labels == 7, 0.1, 1.0)
        return losses * weight / weight.mean()

    batch = wide_batch()
    first = qt.invert(relative, batch, compile=True)
    assert first.coupled is None
    labels = batch.labels.clone()
    labels[10] = 7
    later = qt.TokenBatch(batch.logits, labels)
    first = qt.invert(relative, qt.TokenBatch(batch.logits, batch.labels), compile=True)
    found = qt.invert(relative, later, compile=True)
    with qt.fast_paths(False):
        plain = qt.invert(relative, later)
    assert plain.coupled is not None
    assert found.coupled == plain.coupled
    assert apart(found.q, plain.q) < 2e-5


@pytest.mark.slow
def test_a_loss_that_writes_into_its_logits_is_compiled_on_a_copy():
    def writing(logits, labels):
        logits.detach().sub_(1.0)
        return F.cross_entropy(logits, labels, reduction="none")

    batch = wide_batch()
    kept = batch.logits.clone()
    judge = qt.invert(mean_cross_entropy, batch).q
    assert apart(qt.invert(writing, batch, compile=True).q, judge) < 2e-5
    assert torch.equal(batch.logits, kept)


@pytest.mark.slow
def test_a_padding_id_in_a_later_batch_is_found():
    def padded(logits, labels):
        return F.cross_entropy(logits, labels, ignore_index=2000)

    batch = wide_batch()
    assert qt.invert(padded, batch, compile=True).coupled is None
    labels = batch.labels.clone()
    labels[9:13] = 2000
    later = qt.TokenBatch(batch.logits, labels)
    qt.invert(padded, qt.TokenBatch(batch.logits, batch.labels), compile=True)
    with qt.fast_paths(False):
        plain = qt.invert(padded, later)
    found = qt.invert(padded, later, compile=True)
    assert found.reduction.text == plain.reduction.text
    assert apart(found.q, plain.q) < 2e-5


@pytest.mark.slow
def test_compiled_logarithms_keep_their_digits_beside_a_label_that_is_far_off():
    def entropic(logits, labels):
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1) - 1e-3 * log_p.gather(-1, labels[:, None]).squeeze(-1)

    batch = wide_batch()
    logits = batch.logits.clone()
    logits[torch.arange(len(batch)), batch.labels] -= torch.linspace(0, 1000, len(batch))
    batch = qt.TokenBatch(logits, batch.labels)
    judge = qt.invert(entropic, batch.to(torch.float64)).q
    assert apart(qt.invert(entropic, batch, compile=True).q, judge) < 5e-6


@pytest.mark.parametrize("place", [4, 5, 9, 10, 15])
def test_neighbours_that_hang_together_across_the_end_of_a_chunk_are_found(place):
    def repeats(logits, labels):
        losses = F.cross_entropy(logits, labels, reduction="none")
        same = torch.zeros_like(losses)
        same[1:] = (labels[1:] == labels[:-1]).to(losses.dtype)
        return losses * (1 - 0.5 * same)

    batch = wide_batch(torch.float64)
    labels = torch.arange(24) * 3
    labels[place] = labels[place - 1]
    batch = qt.TokenBatch(batch.logits, labels)
    judge = qt.invert(repeats, batch, chunk_size=24).q
    assert apart(qt.invert(repeats, batch, chunk_size=5).q, judge) < 1e-12


@pytest.mark.slow
def test_a_compiled_loss_that_comes_to_write_is_studied_again():
    settings = {"writes": False}

    def late(logits, labels, teacher_logits):
        if settings["writes"]:
            logits = logits.mul_(1.0)
            teacher_logits.add_(1.0)
        return F.cross_entropy(logits, labels, reduction="none")

    batch = wide_batch()
    judge, kept = qt.invert(mean_cross_entropy, batch).q, (batch.logits.clone(), batch.teacher_logits.clone())
    assert apart(qt.invert(late, batch, compile=True).q, judge) < 2e-5
    settings["writes"] = True
    assert apart(qt.invert(late, batch, compile=True).q, judge) < 2e-5
    assert torch.equal(batch.logits, kept[0])
    assert torch.equal(batch.teacher_logits, kept[1])


@pytest.mark.slow
def test_few_compiled_losses_are_kept(monkeypatch):
    compiled._kept.clear()
    monkeypatch.setattr(compiled, "MOST_KEPT", 1)
    batch = wide_batch()
    for loss in (dft, p_loss, dft):
        target = qt.invert(loss, batch, compile=True)
        assert not any("in an earlier call" in note for note in target.notes)
    assert len(compiled._kept) == 1


def test_the_switch_turns_compilation_off():
    with qt.fast_paths(False):
        target = qt.invert(dft, wide_batch(), compile=True)
    assert not any("compiled in" in note for note in target.notes)
    assert any("nothing to compile" in note for note in target.notes)
