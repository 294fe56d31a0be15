"""audit_loss: every check finds a violator and passes a well-behaved loss; every registered loss can be audited."""

import functools
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt
from qtarget_inspect.analysis.loss_audit import CHECKS

IGNORED = -100


def sums(outputs, labels, num_items_in_batch=None):
    """Well-behaved: sums over valid tokens, divides by the number it is told, upcasts, counts at least one token."""
    logits, labels = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    items = num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum().clamp(min=1)
    return total / items


def vector(logits, labels):
    """Well-behaved: one value a token, masked tokens 0, half precision upcast."""
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    return F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)


def mean(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=IGNORED)


def means_of_sequences(logits, labels, sequence_ids):
    loss = vector(logits, labels)
    _, index, counts = sequence_ids.unique(return_inverse=True, return_counts=True)
    return (loss / counts[index]).sum() / len(counts)


def label_p(logits, labels):
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def level(name, loss, batch=None):
    finding = qt.audit_loss(loss, batch)[name]
    assert finding.name == name
    return finding


def ok(name, loss, *parts):
    finding = level(name, loss)
    assert finding.level == "ok", finding.text
    for part in parts:
        assert part in finding.text
    return finding


def found(name, grade, loss, *parts):
    finding = level(name, loss)
    assert (finding.level, finding.checked) == (grade, True), finding.text
    for part in parts:
        assert part in finding.text
    return finding


def unchecked(name, loss, *parts):
    finding = level(name, loss)
    assert (finding.level, finding.checked) == ("note", False), finding.text
    for part in ("not checked: ", *parts):
        assert part in finding.text


# --- the whole


@pytest.mark.parametrize("loss", [sums, vector])
def test_well_behaved_losses_have_no_warning(loss):
    audit = qt.audit_loss(loss)
    assert audit.warnings == ()
    assert [finding.name for finding in audit.findings] == list(CHECKS)
    assert all(finding.checked for finding in audit.findings)


def test_a_mean_has_its_known_two():
    audit = qt.audit_loss(mean)
    assert [finding.name for finding in audit.warnings] == ["accumulation", "all masked"]
    assert audit.loss == "mean"
    assert audit.text.startswith("mean: 2 warnings, ")
    assert "\n  ! accumulation        micro-batches of 4 and 2 tokens" in audit.text
    assert max(map(len, audit.text.splitlines())) <= 120
    assert repr(audit) == audit.text


def test_the_table_has_a_row_a_check():
    audit = qt.audit_loss("dft")
    table = audit.table()
    assert list(table.columns) == ["check", "level", "checked", "text", "values"]
    assert table["check"].tolist() == list(CHECKS)
    assert table.loc[table["check"] == "reduction", "values"].item() == {"kind": "none", "divisor": 1.0}
    assert (table["level"] == "note").sum() == len(audit.notes)
    with pytest.raises(KeyError, match=r"no check is named 'speed'.*shift"):
        audit["speed"]


def test_the_summary_is_one_line():
    assert qt.audit_loss("dft").summary == "per token; no coupling; a stop-gradient; shift invariant"
    assert qt.audit_loss(mean).summary == (
        "reduction mean; no coupling; no stop-gradient seen; shift invariant; warnings: accumulation, all masked"
    )
    assert qt.audit_loss("iw-sft").summary.startswith("per token; a detached weight that depends on other tokens")
    noisy = qt.audit_loss(lambda logits, labels: vector(logits, labels) * torch.rand(labels.shape))
    assert noisy.summary.startswith("per token; coupling not checked; ")
    z_loss = qt.audit_loss(lambda logits, labels: logits.logsumexp(-1).square()).summary
    assert z_loss == "per token; no coupling; no stop-gradient seen; not shift invariant"


def test_html_shows_every_finding_escaped():
    html = qt.audit_loss(lambda logits, labels: vector(logits, labels))._repr_html_()
    assert "<lambda>" not in html
    assert all(name in html for name in CHECKS)


@pytest.mark.parametrize("name", list(qt.variants()))
def test_registered_losses_can_be_audited(name):
    start = time.perf_counter()
    audit = qt.audit_loss(name)
    assert time.perf_counter() - start < 10  # a tenth of a second on a free core
    assert len(audit.findings) == len(CHECKS)
    variant = qt.get(name)
    if variant.source == "paper":
        assert audit.warnings == (), audit.text
        assert (audit["coupling"].level == "note") == (variant.coupling is not None)
        if audit["stop-gradient"].level == "note":
            assert variant.stop_gradient


def test_a_module_can_be_audited():
    audit = qt.audit_loss(torch.nn.CrossEntropyLoss(reduction="sum"))
    assert audit.loss == "CrossEntropyLoss"
    assert audit.warnings == ()


def test_a_batch_of_ones_own():
    batch = qt.TokenBatch(torch.randn(5, 7), torch.tensor([0, 1, 2, 3, 4]))
    audit = qt.audit_loss(vector, batch)
    assert "your batch of 5 tokens, V = 7" in audit.text
    assert audit.warnings == ()
    assert batch.logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss", "batch", "message"),
    [
        (lambda z, y: z.detach().sum(), None, "constant in the logits"),
        (lambda z, y: 1 / 0, None, "ZeroDivisionError"),
        ("asft", qt.TokenBatch(torch.zeros(2, 4), torch.tensor([0, 1])), "asft.* needs reference_logits"),
        (vector, "text", "audit_loss: batch must be a TokenBatch, not str"),
        ("nope", None, "no variant is named 'nope'"),
    ],
)
def test_what_cannot_be_called_is_an_error(loss, batch, message):
    with pytest.raises(qt.QTargetError, match=message):
        qt.audit_loss(loss, batch)


def test_the_users_random_numbers_and_batch_are_left_alone():
    batch = qt.probe_batch(32, 40)
    before = {name: value.clone() for name, value in {"logits": batch.logits, **batch.context}.items()}

    def writes(logits, labels, teacher_logits):
        teacher_logits.zero_()
        logits.mul_(2)
        return F.cross_entropy(logits, labels, reduction="none") * (torch.rand(labels.shape) < 0.5)

    state = torch.get_rng_state()
    qt.audit_loss(writes, batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, getattr(batch, name)) for name, value in before.items())


# --- conventions


def test_shift():
    ok("shift", vector, "no shift inside")
    found("shift", "note", sums, "shifts inside", "last position is not trained")
    assert found("shift", "note", "kd", "labels turn no gradient").values["shift"] == "none"

    def rolled(logits, labels):
        return F.cross_entropy(logits.flatten(0, -2), labels.roll(-1, -1).flatten(), ignore_index=IGNORED)

    assert found("shift", "warning", rolled, "trained on the first label").values["shift"] == "roll"
    ok("shift", lambda z, y: -z.log_softmax(-1)[y], "one token")


def test_a_label_that_trains_another_row_is_refused():
    shifted = qt.adapt(lambda logits, labels: F.cross_entropy(logits[0, :-1], labels[0, 1:]), shift="none")
    with pytest.raises(qt.LossError, match="label trains another row"):
        qt.audit_loss(shifted)


def test_in_place_writes():
    ok("in-place writes", vector, "none into logits, labels or context")

    def to_labels(logits, labels):
        labels += 0  # the same values
        return vector(logits, labels)

    def to_logits(logits, labels):
        logits.div_(2.0)
        return vector(logits, labels)

    def to_data(logits, labels):
        logits.data.sub_(1.0)
        return vector(logits, labels)

    def to_teacher(logits, labels, teacher_logits):
        teacher_logits.sub_(teacher_logits.logsumexp(-1, keepdim=True))
        return -(teacher_logits.exp() * logits.log_softmax(-1)).sum(-1)

    def to_its_loss(logits, labels):
        loss = vector(logits, labels)
        loss *= 2.0
        return loss

    for loss, what in (
        (to_labels, "labels"),
        (to_logits, "logits"),
        (to_data, "logits"),
        (to_teacher, "teacher_logits"),
    ):
        finding = found("in-place writes", "warning", loss, f"writes into its {what}: clone")
        assert finding.values["written"] == (what,)
    assert ok("in-place writes", to_its_loss, "tensors of its own (mul_)").values["own"] == ("mul_",)

    def to_outputs(outputs, labels):
        outputs.logits.mul_(0.5)
        return sums(outputs, labels)

    found("in-place writes", "warning", to_outputs, "writes into its logits")


def test_determinism():
    ok("determinism", vector, "to the last bit")
    calls = {"count": 0}

    def counting(logits, labels):
        calls["count"] += 1
        return vector(logits, labels) * calls["count"]

    generator = np.random.default_rng(0)
    found("determinism", "warning", counting, "keeps a state")
    found("determinism", "warning", lambda z, y: vector(z, y) * float(generator.random()), "torch's seed")
    dropping = found("determinism", "note", lambda z, y: vector(z, y) * (torch.rand(y.shape) < 0.5), "random numbers")
    assert dropping.values["same_seed"] == 0 < dropping.values["other_seed"]
    for name in ("stop-gradient", "order of tokens", "shift invariance", "half precision", "one token"):
        unchecked(name, counting, "two calls")


def test_order_of_tokens():
    ok("order of tokens", vector, "does not matter")
    ok("order of tokens", "iw-sft", "does not matter")  # sequences move with their tokens

    def fading(logits, labels):
        return vector(logits, labels) / torch.arange(1, len(labels) + 1)

    assert found("order of tokens", "note", fading, "depends on its place").values["change"] > 0.1


def test_internal_cast():
    ok("internal cast", vector)
    casts = found("internal cast", "note", lambda z, y: F.cross_entropy(z.float(), y, reduction="none"), "float32")
    assert casts.values["dtype"] == "float32"


# --- reductions


def test_reduction():
    assert ok("reduction", vector).values["kind"] == "none"
    assert ok("reduction", sums).values["kind"] == "sum"
    assert found("reduction", "note", mean, "mean over 48 tokens").values["divisor"] == 48
    assert found("reduction", "note", functools.partial(sums, num_items_in_batch=4), "= 4").values["divisor"] == 4
    by_sequence = found(
        "reduction", "note", means_of_sequences, "mean over 8 sequences of the mean over each one's tokens"
    )
    assert by_sequence.values["divisor_min"] == 8 < by_sequence.values["divisor_max"] == 96
    found("coupling", "note", means_of_sequences, "length of its sequence")
    found("reduction", "warning", lambda z, y: (vector(z, y) * torch.rand(y.shape)).mean(), "cannot be told", "Declare")


def test_num_items_in_batch():
    ok("num_items_in_batch", vector, "is no parameter")
    finding = found(
        "num_items_in_batch", "note", sums, "with 8 the gradient is 1/8", "without it the gradient of 6 tokens"
    )
    assert finding.values["share_8"] == pytest.approx(1 / 8)
    assert finding.values["share_None"] == pytest.approx(1 / 6)

    def ignoring(outputs, labels, num_items_in_batch=None):
        return sums(outputs, labels, None)

    def needing(outputs, labels, num_items_in_batch):
        return sums(outputs, labels, 1) / num_items_in_batch

    def rooted(outputs, labels, num_items_in_batch=None):
        return sums(outputs, labels, 1) / (num_items_in_batch or 1) ** 0.5

    found("num_items_in_batch", "warning", ignoring, "ignores it")
    found("num_items_in_batch", "warning", needing, "raises without it (TypeError)")
    found("num_items_in_batch", "warning", rooted, "neither divides", "8: 0.3536")
    found("num_items_in_batch", "note", functools.partial(sums, num_items_in_batch=4), "fixed at 4")


def test_accumulation():
    ok("accumulation", vector, "one value a token")
    ok("accumulation", sums, "summed: every token counts 1 times")
    ok("accumulation", lambda z, y: vector(z, y).sum(), "averaged: every token counts 0.5 times")
    finding = found("accumulation", "warning", mean, "0.75 to 1.5 times")
    assert (finding.values["share_min"], finding.values["share_max"]) == pytest.approx((0.75, 1.5))

    def ignoring(outputs, labels, num_items_in_batch=None):
        return sums(outputs, labels, None)

    found("accumulation", "warning", ignoring, "summed", "1.5 to 3 times")


def test_accumulation_leaves_sequences_whole():
    def trajectories(logits, labels, reference_logits, sequence_ids):
        return qt.losses.iw_sft(logits, labels, reference_logits, sequence_ids).sum()

    finding = ok("accumulation", trajectories, "every token counts 0.5 times")
    assert finding.values["tokens"] == (5, 1)


def test_one_token():
    ok("one token", vector, "1 times")
    assert ok("one token", mean, "6 times").values["ratio"] == pytest.approx(6)

    def squeezing(logits, labels):
        return (vector(logits, labels) * torch.tensor([1.0])).squeeze()[:, None].sum()

    def standardised(logits, labels):
        loss = vector(logits, labels)
        return loss * (1 + (loss / loss.detach().std()).detach())

    found("one token", "warning", squeezing, "raises on a single token")
    found("one token", "warning", standardised, "not finite")
    relative = lambda z, y: vector(z, y) * (vector(z, y) - vector(z, y).mean()).detach()  # noqa: E731
    found("one token", "warning", relative, "no gradient")


def test_coupling():
    ok("coupling", vector, "none seen on 48 tokens")
    found("coupling", "note", "iw-sft", "a detached weight")

    def relative(logits, labels):
        loss = vector(logits, labels)
        return loss * loss.mean()

    found("coupling", "warning", relative, "gradient leaks between tokens", "detach")
    found("coupling", "warning", lambda z, y: relative(z, y).mean(), "gradient leaks")
    unchecked("coupling", lambda z, y: vector(z, y) * (torch.rand(y.shape) < 0.5), "two calls")


# --- masks


def test_ignore_index():
    assert ok("ignore_index", vector, "drops its token").values["others"] == pytest.approx(1)
    assert ok("ignore_index", mean, "1.2 times").values["others"] == pytest.approx(6 / 5)
    found("ignore_index", "note", lambda z, y: -label_p(z, y).log(), "refused (RuntimeError")
    found("ignore_index", "note", "kd", "labels have no effect")
    centred = lambda z, y: vector(z - z.mean(0, keepdim=True), y)  # noqa: E731
    found("ignore_index", "note", centred, "from the others' losses")
    found("ignore_index", "warning", lambda z, y: -z.log_softmax(-1)[y], "trained like any other")
    found("ignore_index", "warning", lambda z, y: vector(z, y.clamp(min=0)), "trained like any other")


def test_all_masked():
    ok("all masked", vector, "gives 0 and no gradient")
    ok("all masked", sums, "gives 0 and no gradient")
    found("all masked", "warning", mean, "value that is not finite (its gradient is)")

    def by_hand(logits, labels):
        keep = (labels != IGNORED).to(logits.dtype)
        return (vector(logits, labels.clamp(min=0)) * keep).sum() / keep.sum()

    def early(logits, labels):
        return mean(logits, labels) if (labels != IGNORED).any() else torch.tensor(0.0)

    found("all masked", "warning", by_hand, "gradient that is not finite")
    found("all masked", "note", early, "constant 0", "backward() on it raises")
    found("all masked", "warning", lambda z, y: vector(z, y.clamp(min=0)), "still has a gradient")
    found("all masked", "note", lambda z, y: -label_p(z, y).log(), "refused")


# --- values and numbers


def test_stop_gradient():
    for loss in ("sft", "p-loss", "beyond-log", "label-smoothing", sums):
        assert ok("stop-gradient", loss).values["disagreement"] < 1e-6
    for loss in ("dft", "eaft", "gem", "target-sft", "iw-sft"):
        assert found("stop-gradient", "note", loss, "something is detached").values["disagreement"] > 1e-2
    ok("stop-gradient", lambda z, y: F.cross_entropy(z.float(), y, reduction="none"))
    ok("stop-gradient", lambda z, y: vector(z, y).float())  # the value has float32's digits only
    casting_dft = lambda z, y: -label_p(z.float(), y).detach() * label_p(z.float(), y).log()  # noqa: E731
    found("stop-gradient", "note", casting_dft)


def test_shift_invariance():
    finding = ok("shift invariance", vector, "Q sums to 1")
    assert finding.values["mass_max"] == pytest.approx(1)

    def z_loss(logits, labels):
        return mean(logits, labels) + 0.1 * logits.logsumexp(-1).square().mean()

    def half_detached(logits, labels):
        return logits.logsumexp(-1).detach() - logits.gather(-1, labels[:, None]).squeeze(-1)

    def value_only(logits, labels):
        return vector(logits, labels) + logits.mean(-1).detach()

    found("shift invariance", "note", z_loss, "does not sum to 0", "changes the gradient")
    lost = found("shift invariance", "note", half_detached, "leaves the gradient as it is")
    assert lost.values["mass_min"] == pytest.approx(2)
    found("shift invariance", "note", value_only, "changes the value")


def test_half_precision():
    upcast = ok("half precision", vector, "no more than the rounding")
    assert upcast.values["bf16"] < 4e-3
    plain = found("half precision", "note", lambda z, y: F.cross_entropy(z, y, reduction="none"), "upcast them first")
    assert plain.values["bf16_beyond_rounding"] > 1e-4
    weight = torch.ones(128, 128, dtype=torch.float64)

    def double_only(logits, labels):
        return vector(logits, labels) + 0 * (logits @ weight).sum(-1)

    def overflowing(logits, labels):
        return vector(logits, labels) + ((logits - logits + 1) * 6e4).pow(2).mean(-1) * 1e-9

    found("half precision", "warning", double_only, "bf16 logits raise RuntimeError", "fp16 logits raise")
    found("half precision", "warning", overflowing, "fp16 logits give a value or gradient that is not finite")


def test_extreme_logits():
    ok("extreme logits", vector, "stay finite with masked entries (-inf)")
    underflow = found("extreme logits", "warning", lambda z, y: -label_p(z, y).log(), "p_y = 0 (label at -1e4)")
    assert "p_y = 1" not in underflow.text
    entropy = lambda z, y: vector(z, y) + 0.1 * (z.softmax(-1) * z.log_softmax(-1)).sum(-1)  # noqa: E731
    found("extreme logits", "warning", entropy, "masked entries (-inf): value NaN")
    found("extreme logits", "note", "label-smoothing", "infinite value, finite gradient")
    hidden = qt.adapt(lambda hidden, weight, labels: vector(hidden @ weight.T, labels), inputs="hidden")
    ok("extreme logits", hidden, "cannot be tried on a loss of hidden states")


def test_what_holds_rows_says_what_could_not_be_tried():
    batch = qt.probe_batch(48, 128)
    mask = torch.arange(48) % 2 == 0
    audit = qt.audit_loss(lambda z, y: vector(z, y) * mask, batch)
    for name in ("one token", "order of tokens"):
        assert audit[name].text.startswith("not checked: the loss takes the whole batch only")
    assert audit["stop-gradient"].level == "ok"


def test_nan_on_some_tokens_is_a_finding():
    def fragile(logits, labels):
        return vector(logits, labels) + 0 * (label_p(logits.float(), labels) - 1).pow(-1)

    audit = qt.audit_loss(fragile)
    assert audit["reduction"].level == "warning"
    assert "fragile returned NaN for token" in audit["reduction"].text
    assert audit["determinism"].level == "ok"
