"""Alignment, identity of the answer across views, and every refusal, on a tiny random model."""

from __future__ import annotations

import pytest
import torch

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.models import (
    View,
    chat_view,
    one_example_view,
    plain_view,
    privileged_view,
    token_batch,
    token_batch_from_text,
)

PROMPT, ANSWER = "What is 2 + 2?", " Two plus\n two is 4."


def full_logits(lm, ids):
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0]


def ids_of(lm, text):
    return lm.tokenizer(text, add_special_tokens=False).input_ids


def test_logits_stand_one_position_before_their_token(lm):
    batch = token_batch(lm, PROMPT, ANSWER, chat=False)
    context, answer = ids_of(lm, PROMPT + "\n"), ids_of(lm, ANSWER)
    everything = full_logits(lm, context + answer)
    assert batch.labels.tolist() == answer
    for i in range(len(answer)):
        torch.testing.assert_close(batch.logits[i], everything[len(context) + i - 1], rtol=1e-5, atol=1e-5)
    # and the neighbours are different ones, so that the comparison means something
    assert (batch.logits - everything[len(context) :]).abs().max() > 0.1


def test_chat_prompt_is_the_template_up_to_the_answer(lm):
    batch = token_batch(lm, PROMPT, ANSWER, system="Be short.")
    text = f"<|system|>Be short.</s><|user|>{PROMPT}</s><|assistant|>"
    context, answer = ids_of(lm, text), ids_of(lm, ANSWER)
    expected = full_logits(lm, context + answer)[len(context) - 1 : -1]
    torch.testing.assert_close(batch.logits, expected, rtol=1e-5, atol=1e-5)


def test_views_predict_the_same_tokens_from_other_contexts(lm, make_lm):
    other = make_lm(seed=1, name="other")
    batch = token_batch(
        lm,
        PROMPT,
        ANSWER,
        teacher=one_example_view(lm, "1 + 1?", "It is 2."),
        reference=plain_view(lm),
        old=other,
    )
    answer = ids_of(lm, ANSWER)
    contexts = {
        "logits": (lm, f"<|user|>{PROMPT}</s><|assistant|>"),
        "teacher_logits": (
            lm,
            f"<|user|>1 + 1?</s><|assistant|>It is 2.</s><|user|>{PROMPT}</s><|assistant|>",
        ),
        "reference_logits": (lm, PROMPT + "\n"),
        "old_logits": (other, f"<|user|>{PROMPT}</s><|assistant|>"),
    }
    for role, (model, text) in contexts.items():
        context = ids_of(lm, text)
        expected = full_logits(model, context + answer)[len(context) - 1 : -1]
        torch.testing.assert_close(getattr(batch, role), expected, rtol=1e-5, atol=1e-5)
    assert batch.labels.tolist() == answer
    assert batch.sequence_ids.tolist() == [0] * len(answer)


def test_privileged_view_shows_the_answer_unless_given_another_solution(lm):
    for view, shown in [(privileged_view(lm), ANSWER), (privileged_view(lm, "It is 5."), "It is 5.")]:
        assert shown in lm.tokenizer.decode(view.prompt_ids(PROMPT, ANSWER))
        assert "copies" in view.description


def test_student_may_be_a_view_and_other_models_get_its_prompt(lm, make_lm):
    view = one_example_view(lm, "1 + 1?", "It is 2.")
    batch = token_batch(view, PROMPT, ANSWER, reference=chat_view(lm), teacher=make_lm(name="twin"))
    torch.testing.assert_close(batch.teacher_logits, batch.logits)
    torch.testing.assert_close(batch.reference_logits, token_batch(lm, PROMPT, ANSWER).logits)
    with pytest.raises(QTargetError, match="a View says that itself"):
        token_batch(view, PROMPT, ANSWER, system="Be short.")


def test_end_of_turn_adds_eos_as_a_label(lm):
    batch = token_batch(lm, PROMPT, ANSWER, end_of_turn=True)
    assert batch.tokens[-1] == "</s>"
    assert batch.tokens[:-1] == token_batch(lm, PROMPT, ANSWER).tokens


def test_tokens_are_the_texts_of_the_labels(lm):
    batch = token_batch(lm, PROMPT, ANSWER)
    assert "".join(batch.tokens) == ANSWER


def test_text_without_bos_starts_at_its_second_token(lm):
    batch = token_batch_from_text(lm, ANSWER)
    ids = ids_of(lm, ANSWER)
    assert batch.labels.tolist() == ids[1:]
    torch.testing.assert_close(batch.logits, full_logits(lm, ids)[:-1], rtol=1e-5, atol=1e-5)


def test_text_with_bos_has_all_its_tokens(make_lm, make_tokenizer):
    lm = make_lm(tokenizer=make_tokenizer(bos=True))
    batch = token_batch_from_text(lm, ANSWER, reference=make_lm(seed=1, tokenizer=lm.tokenizer))
    ids = ids_of(lm, ANSWER)
    assert batch.labels.tolist() == ids
    assert "".join(batch.tokens) == ANSWER
    torch.testing.assert_close(
        batch.logits, full_logits(lm, [lm.tokenizer.bos_token_id, *ids])[:-1], rtol=1e-5, atol=1e-5
    )
    # a prompt without template has BOS once, and a template writes its own
    assert plain_view(lm).prompt_ids(PROMPT, "")[0] == lm.tokenizer.bos_token_id
    assert lm.tokenizer.bos_token_id not in chat_view(lm).prompt_ids(PROMPT, "")


def test_prompt_logits_are_never_made(lm):
    """The head sees the answer's positions only, however long the prompt is."""
    seen = []
    hook = lm.model.lm_head.register_forward_hook(lambda _m, args, _out: seen.append(args[0].shape[1]))
    try:
        batch = token_batch(lm, PROMPT * 3, ANSWER, reference=plain_view(lm))
    finally:
        hook.remove()
    assert seen == [len(batch), len(batch)]


def test_a_model_that_ignores_logits_to_keep_gives_the_same(lm, monkeypatch):
    expected = token_batch(lm, PROMPT, ANSWER).logits
    forward = lm.model.forward
    monkeypatch.setattr(lm.model, "forward", lambda input_ids, use_cache, logits_to_keep: forward(input_ids=input_ids))
    torch.testing.assert_close(token_batch(lm, PROMPT, ANSWER).logits, expected, rtol=1e-5, atol=1e-5)


def test_logits_can_be_differentiated(lm):
    logits = token_batch(lm, PROMPT, ANSWER).logits.requires_grad_()
    logits.logsumexp(-1).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_batches_of_several_problems_join(lm):
    parts = [token_batch(lm, PROMPT, answer, reference=plain_view(lm)) for answer in ("It is 4.", "Four")]
    joined = TokenBatch.concatenate(parts)
    assert "".join(joined.tokens) == "It is 4.Four"
    assert joined.sequence_ids.tolist() == [0] * len(parts[0]) + [1] * len(parts[1])


def test_padded_embeddings_are_an_error_or_cut_on_request(lm, make_lm):
    wide = make_lm(padding=4, name="wide")
    with pytest.raises(BatchError, match=r"teacher_logits come from wide with V = \d+.*truncate_vocabulary=True"):
        token_batch(lm, PROMPT, ANSWER, teacher=wide)
    batch = token_batch(lm, PROMPT, ANSWER, teacher=wide, truncate_vocabulary=True)
    assert batch.teacher_logits.shape == batch.logits.shape == (len(batch), lm.vocabulary)


def test_models_of_other_tokenizers_are_refused(lm, make_lm, make_tokenizer):
    other = make_lm(tokenizer=make_tokenizer(swapped=True), name="foreign")
    with pytest.raises(BatchError, match="reference_logits come from foreign, whose tokenizer gives"):
        token_batch_from_text(lm, ANSWER, reference=other)


def test_missing_chat_template_names_the_way_out(make_lm, make_tokenizer):
    base = make_lm(tokenizer=make_tokenizer(template=None), name="base")
    for ask in (
        lambda: token_batch(base, PROMPT, ANSWER),
        lambda: one_example_view(base, "q", "a"),
        lambda: privileged_view(base),
    ):
        with pytest.raises(QTargetError, match=r"base has no chat template\. Pass chat=False"):
            ask()
    assert len(token_batch(base, PROMPT, ANSWER, chat=False)) > 0


def test_a_template_that_refuses_is_explained(lm, make_lm, make_tokenizer):
    strict = make_lm(tokenizer=make_tokenizer(template="{{ raise_exception('no system role') }}"))
    with pytest.raises(QTargetError, match=r"refuses \(system, user\).*no system role"):
        token_batch(strict, PROMPT, ANSWER, system="Be short.")


@pytest.mark.parametrize("text", ["", "a"])
def test_text_too_short_to_predict_anything(lm, text):
    with pytest.raises(BatchError, match="nothing predicts the first"):
        token_batch_from_text(lm, text)


def test_empty_answer_and_empty_context(lm):
    with pytest.raises(BatchError, match="the answer is empty"):
        token_batch(lm, PROMPT, "")
    nothing = View(lm, lambda _prompt, _answer: [], "nothing")
    with pytest.raises(BatchError, match="nothing stands before the answer"):
        token_batch(nothing, PROMPT, ANSWER)


def test_too_long_for_the_model(lm):
    with pytest.raises(BatchError, match=r"prompt and answer have \d+ \+ \d+ tokens; tiny reads 128"):
        token_batch(lm, PROMPT * 20, ANSWER)


def test_tokenizer_larger_than_the_model(make_lm):
    with pytest.raises(BatchError, match="its tokenizer and its weights do not fit"):
        token_batch_from_text(make_lm(padding=-40), "Three apples and nothing.")
