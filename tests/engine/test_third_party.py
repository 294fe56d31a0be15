"""Every style of public loss code is inverted rightly, or answered by an error that says what to do."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import qtarget_inspect as qt

from . import naive
from . import third_party as styles


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a.double(), b, rtol=0, atol=tolerance)


CROSS_ENTROPIES = {
    "legacy autograd.Function": (styles.legacy_function, "autograd"),
    "gradient stored in the logits": (styles.gradient_in_the_buffer, "autograd"),
    "checkpointing": (styles.checkpointed, "autograd"),
    "re-entrant checkpointing": (styles.checkpointed_reentrant, "autograd"),
    "saved-tensor hooks": (styles.saved_tensor_hooks, "autograd"),
    "requires_grad looked at": (styles.looks_at_requires_grad, "torch.func"),
    "hooked logits": (styles.hooks_its_logits, None),
    "another gradient under torch.func": (styles.knows_torch_func, "autograd"),
    ".item()": (styles.item_branch, "torch.func"),
    "boolean mask": (styles.boolean_mask, "torch.func"),
    "masked write": (styles.masked_write, "torch.func"),
    "data-dependent loop": (styles.data_dependent_loop, None),
    "writes to labels": (styles.writes_to_labels, "torch.func"),
    "flat (input, target)": (styles.flat_input_target, "torch.func"),
    "(targets, predictions)": (styles.target_first, "torch.func"),
    "[B, T, V] only": (styles.batched_only, "torch.func"),
    "one token": (styles.one_token, "torch.func"),
    "HF outputs.logits": (styles.hf_attribute, "torch.func"),
    "HF outputs.get": (styles.hf_get, "torch.func"),
    "HF outputs[0]": (styles.hf_first, "torch.func"),
    "HF outputs['logits']": (styles.hf_key, "torch.func"),
    "HF mean": (styles.hf_mean, "torch.func"),
    "HF unshifted": (styles.hf_unshifted, "torch.func"),
    "HF rolled": (styles.hf_rolled, "torch.func"),
    "HF vector": (styles.hf_vector, "torch.func"),
    "slice shift": (styles.shift_by_slice, "torch.func"),
    "pad shift": (styles.shift_by_pad, "torch.func"),
    "roll shift": (styles.shift_by_roll, "torch.func"),
    "pad shift, own mean": (styles.weighted_by_p_after_shift, "torch.func"),
    "nn.CrossEntropyLoss": (nn.CrossEntropyLoss(), "torch.func"),
    "nn.CrossEntropyLoss sum": (nn.CrossEntropyLoss(reduction="sum"), "torch.func"),
    "nn.CrossEntropyLoss none": (nn.CrossEntropyLoss(reduction="none"), "torch.func"),
    "F.cross_entropy itself": (F.cross_entropy, "torch.func"),
    "partial": (functools.partial(F.cross_entropy, reduction="none"), "torch.func"),
    "lambda": (lambda z, y: F.cross_entropy(z, y), "torch.func"),
    "*args": (lambda *args: F.cross_entropy(*args), "torch.func"),
    "adapt, slice": (qt.adapt(styles.shift_by_slice, shift="slice"), "torch.func"),
    "adapt, pad": (qt.adapt(styles.shift_by_pad, shift="pad"), "torch.func"),
    "adapt, roll": (qt.adapt(styles.shift_by_roll, shift="roll"), "torch.func"),
    "adapt, none": (qt.adapt(F.cross_entropy, shift="none"), "torch.func"),
    "adapt, HF unshifted": (qt.adapt(styles.hf_unshifted, inputs="hf", shift="none"), "torch.func"),
    "adapt, HF shifted inside": (qt.adapt(styles.hf_unshifted, shift_labels=True), "torch.func"),
    "adapt, tuple": (qt.adapt(styles.returns_tuple, output=0), "torch.func"),
    "adapt, dict": (qt.adapt(styles.returns_dict, output="loss"), "torch.func"),
    "adapt, object": (qt.adapt(styles.returns_object, output="loss"), "torch.func"),
    "adapt, function of the result": (qt.adapt(styles.returns_object, output=lambda r: r.loss), "torch.func"),
    "adapt, log-probabilities": (qt.adapt(styles.from_log_probabilities, inputs="logprobs"), "torch.func"),
    "adapt, nn.NLLLoss": (qt.adapt(nn.NLLLoss(), inputs="logprobs"), "torch.func"),
    "adapt, hidden states": (qt.adapt(styles.hidden_states, inputs="hidden"), "torch.func"),
    "adapt, head first": (qt.adapt(styles.HeadFirst(), inputs="hidden"), "torch.func"),
    "adapt, list of chunks": (qt.adapt(styles.ChunkedCrossEntropy(), inputs="chunks"), "torch.func"),
    "adapt, one token": (qt.adapt(styles.one_token, layout="token"), "torch.func"),
}


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("style", CROSS_ENTROPIES)
def test_a_cross_entropy_in_any_style_is_sft(style, chunk_size, plain, q_sft):
    loss, method = CROSS_ENTROPIES[style]
    target = qt.invert(loss, plain, chunk_size=chunk_size)
    close(target.q, q_sft)
    close(target.g, naive.naive_gradient(naive.cross_entropy, plain))
    assert method in (None, target.method)
    assert target.coupled is None


@pytest.mark.parametrize(
    "loss",
    [styles.numpy_weight, styles.data_attribute, styles.writes_to_loss, styles.Module(), styles.CallableInstance(1.0)],
    ids=lambda loss: qt.adapt(loss).name,
)
def test_a_dft_in_any_style_is_dft(loss, plain, q_dft):
    close(qt.invert(loss, plain, chunk_size=7).q, q_dft)


def test_the_casting_causal_lm_loss_given_directly_is_aligned(plain, q_sft):
    target = qt.invert(styles.causal_lm_padded, plain)
    close(target.q, q_sft, 1e-6)
    assert "called with num_items_in_batch = 1" in target.notes
    assert target.reduction.text == "sum, nothing to undo"
    close(qt.invert(qt.adapt(styles.causal_lm_padded, num_items_in_batch=None), plain).q, q_sft, 1e-6)


@pytest.mark.parametrize("shift", ["slice", "pad", "roll"])
def test_a_shift_that_is_not_there_is_refused(shift, plain):
    with pytest.raises(qt.LossError, match=r"label trains another row.*shift='none'"):
        qt.invert(
            qt.adapt(lambda logits, labels: F.cross_entropy(logits[0], labels[0], ignore_index=-100), shift=shift),
            plain,
        )


def test_a_shift_that_is_denied_is_refused(plain):
    with pytest.raises(qt.LossError, match=r"label trains another row.*shift='slice'"):
        qt.invert(qt.adapt(styles.shift_by_pad, shift="none"), plain)


def test_a_refused_torch_func_is_named(plain):
    target = qt.invert(styles.legacy_function, plain)
    assert any("torch.func refused" in note for note in target.notes)
    with pytest.raises(qt.LossError, match=r"torch.func.*method='auto'"):
        qt.invert(styles.legacy_function, plain, method="torch.func")
    with pytest.raises(qt.LossError, match=r"another gradient under torch.func.*method='auto'"):
        qt.invert(styles.knows_torch_func, plain, method="torch.func")


def test_vmap_that_cannot_follow_says_so(plain):
    with pytest.raises(qt.LossError, match=r"vmap cannot follow data-dependent control flow.*method='auto'"):
        qt.invert(styles.boolean_mask, plain, method="vmap")


def test_writes_to_logits_leave_the_batch_alone(plain):
    before = plain.logits.clone()
    target = qt.invert(styles.writes_to_logits, plain, chunk_size=7)
    close(target.q, naive.naive_target(lambda z, y: naive.cross_entropy(z / styles.TEMPERATURE, y), plain))
    assert torch.equal(plain.logits, before)
    assert any("given copies" in note for note in target.notes)


def test_writes_to_the_teacher_leave_the_batch_alone(batch):
    before = batch.teacher_logits.clone()
    target = qt.invert(styles.writes_to_teacher, batch, chunk_size=7)
    close(target.q, naive.naive_target(naive.distilled, batch))
    assert torch.equal(batch.teacher_logits, before)


def test_writes_to_labels_leave_the_batch_alone(plain):
    before = plain.labels.clone()
    qt.invert(styles.writes_to_labels, plain)
    assert torch.equal(plain.labels, before)


def test_a_write_that_only_happens_later_is_refused(batch):
    def late(logits, labels, teacher_logits):
        if len(labels) > 6:
            teacher_logits[0] += 1.0
        return F.cross_entropy(logits, labels, reduction="none")

    kept = batch.teacher_logits.clone()
    with pytest.raises(qt.LossError, match=r"wrote into teacher_logits of your batch; clone it"):
        qt.invert(late, batch)  # chunks get copies
    with pytest.raises(qt.LossError, match=r"late raised .* mutate a captured Tensor"):
        qt.invert(late, batch, method="torch.func")
    assert torch.equal(batch.teacher_logits, kept)
    with pytest.raises(qt.LossError, match=r"wrote into teacher_logits of your batch; clone it"):
        qt.invert(late, batch, method="autograd")
    assert torch.equal(batch.teacher_logits, kept)


def test_a_modules_gradients_are_left_alone(plain):
    class Checkpointed(styles.Module):
        def forward(self, logits, labels):
            return styles.checkpointed_reentrant(logits, labels) * self.scale

    module = Checkpointed()
    module.scale.grad = torch.tensor(3.0, dtype=torch.float64)
    qt.invert(module, plain)
    assert module.scale.grad == 3


def test_random_vectors_are_one_draw(plain):
    torch.manual_seed(3)
    z = plain.logits.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(styles.drops_tokens(z, plain.labels).sum(), z)
    torch.manual_seed(3)
    target = qt.invert(styles.drops_tokens, plain, chunk_size=7)
    close(target.q, plain.logits.softmax(-1) - gradient)
    close(target.g, gradient)
    assert any("one draw" in note for note in target.notes)


def test_random_scalars_ask_to_be_declared(plain):
    with pytest.raises(qt.ReductionError, match=r"random numbers.*reduction='mean' \(divides by 30\)"):
        qt.invert(styles.drops_tokens_mean, plain)
    target = qt.invert(styles.drops_tokens_mean, plain, reduction="mean")
    on = target.g.abs().amax(-1) > 0
    close(target.g[on], naive.naive_gradient(naive.cross_entropy, plain)[on])
    assert not on.all()


@pytest.mark.parametrize("loss", [styles.numpy_random, styles.stateful_average()], ids=["numpy", "stateful"])
def test_calls_that_differ_are_noted(loss, plain):
    assert any("two calls differ" in note for note in qt.invert(loss, plain).notes)


def test_inverting_draws_no_random_number_of_the_user(plain):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    qt.invert(styles.flat_input_target, plain)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (styles.all_masked_zero, r"constant in the logits.*drops every token"),
        (styles.all_masked_nan, r"returned NaN"),
        (styles.all_masked_nan_gradient, r"returned NaN.*masked"),
        (styles.empty_after_mask, r"returned NaN"),
    ],
)
def test_all_masked_is_an_error_that_says_so(loss, message, plain):
    with pytest.raises(qt.LossError, match=message):
        qt.invert(loss, plain)


def test_distillation_with_labels_as_a_mask_is_aligned(batch):
    close(qt.invert(styles.hf_distillation_mask, batch, chunk_size=7).q, naive.naive_target(naive.distilled, batch))


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_outputs_labels_reference_and_a_number(batch, chunk_size):
    loss = qt.adapt(styles.with_reference, context={"ref_logits": "reference_logits"}, alpha=0.1)
    target = qt.invert(loss, batch, chunk_size=chunk_size)
    close(target.q, naive.naive_target(naive.anchored, batch))
    assert target.reduction.text == "mean over 30 tokens, undone"


def test_parameters_nobody_fills_are_named(batch):
    with pytest.raises(qt.LossError, match=r"ref_logits, alpha.*functools.partial.*context="):
        qt.invert(styles.with_reference, batch)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (styles.returns_tuple, r"returns 2 things.*output=0"),
        (styles.returns_dict, r"mapping with 'loss', 'accuracy'.*output='loss'"),
        (styles.returns_object, r"returns _Result, not a tensor"),
        (lambda z, y: F.cross_entropy(z, y).item(), r"returns float, not a tensor.*before .item\(\)"),
        (nn.CrossEntropyLoss, r"is a class; pass an instance"),
    ],
)
def test_results_that_are_no_loss_say_what_to_do(loss, message, plain):
    with pytest.raises(qt.LossError, match=message):
        qt.invert(loss, plain)


def test_hidden_states_have_a_limit():
    wide = qt.TokenBatch(torch.zeros(2, 8193), torch.tensor([0, 1]))
    with pytest.raises(qt.LossError, match=r"identity lm_head \[V, V\].*8193.*limit of 8192"):
        qt.invert(qt.adapt(styles.hidden_states, inputs="hidden"), wide)


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("name", ["teacher_logits", "teacher_scores"])
def test_a_partial_that_holds_the_teacher(batch, plain, name, chunk_size):
    function = styles.distilled_mean if name == "teacher_logits" else styles.distilled_odd_name
    expected = naive.naive_target(naive.distilled, batch)
    partial = functools.partial(function, **{name: batch.teacher_logits})
    for loss in (partial, qt.adapt(function, **{name: batch.teacher_logits})):
        target = qt.invert(loss, plain, chunk_size=chunk_size)
        close(target.q, expected)
        assert target.reduction.text == "mean over 30 tokens, undone"
        assert target.batch is plain


def test_a_partial_that_holds_something_else_of_the_batchs_size(plain, q_sft):
    def loss(logits, labels, bins):
        return F.cross_entropy(logits, labels) + 0 * bins.sum()

    close(qt.invert(functools.partial(loss, bins=torch.linspace(0, 1, 30)), plain).q, q_sft)


def test_a_closure_over_the_teacher_runs_whole(batch, plain):
    teacher = batch.teacher_logits.log_softmax(-1)

    def vector(logits, labels):
        return (teacher.exp() * (teacher - logits.log_softmax(-1))).sum(-1)

    target = qt.invert(vector, plain, chunk_size=7)
    close(target.q, naive.naive_target(naive.distilled, batch))
    assert "unknown" in target.coupled
    with pytest.raises(qt.ReductionError, match="reduction='mean'"):
        qt.invert(lambda z, y: vector(z, y).mean(), plain)
    close(qt.invert(lambda z, y: vector(z, y).mean(), plain, reduction="mean").q, target.q)


def test_a_one_token_loss_gets_its_tokens_context(batch):
    close(qt.invert(styles.one_token_with_context, batch).q, naive.naive_target(naive.weighted, batch))


def test_a_loss_without_labels(plain):
    target = qt.invert(styles.label_free, plain)
    close(target.q, naive.naive_target(lambda z, y: z.logsumexp(0) ** 2, plain))


def test_class_weights_have_the_vocabularys_size(plain):
    weight = torch.linspace(0.5, 2, plain.vocabulary, dtype=torch.float64)
    target = qt.invert(nn.CrossEntropyLoss(weight=weight, reduction="sum"), plain, chunk_size=7)
    close(target.q, naive.naive_target(lambda z, y: weight[y] * naive.cross_entropy(z, y), plain))


def test_a_top_k_larger_than_the_vocabulary_is_the_losss_own_error():
    def hard_coded(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") * logits.detach().topk(20).values.sum(-1)

    with pytest.raises(qt.LossError, match=r"hard_coded raised RuntimeError.*\[6, 8\]"):
        qt.invert(hard_coded, qt.probe_batch(16, 8))


def test_logits_and_teacher_made_in_inference_mode(batch):
    with torch.inference_mode():
        logits, teacher = batch.logits * 1, batch.teacher_logits * 1
        inside = qt.invert(styles.distilled_mean, qt.TokenBatch(logits, batch.labels, teacher_logits=teacher)).q
    outside = qt.invert(styles.distilled_mean, qt.TokenBatch(logits, batch.labels, teacher_logits=teacher)).q
    expected = naive.naive_target(naive.distilled, batch)
    close(inside, expected)
    close(outside, expected)
