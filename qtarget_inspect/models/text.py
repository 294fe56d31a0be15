"""Text and a model -> TokenBatch: the logits at an answer's tokens, under one view or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.core.token_texts import token_texts
from qtarget_inspect.models.causal_lm import CausalLM
from qtarget_inspect.models.views import View, chat_view, plain_ids, plain_view, start_ids


def token_batch(
    student: CausalLM | View,
    prompt: str,
    answer: str,
    *,
    chat: bool = True,
    system: str | None = None,
    teacher: CausalLM | View | None = None,
    reference: CausalLM | View | None = None,
    old: CausalLM | View | None = None,
    end_of_turn: bool = False,
    truncate_vocabulary: bool = False,
) -> TokenBatch:
    """The answer's tokens with the logits that predict them.

    The answer is tokenised once, by the student's tokenizer; every view predicts the same ids. Logits are
    computed at the answer only, never for the prompt.

    Args:
        student: the model, asked as `chat` and `system` say; or a view, which says that itself.
        prompt: what the model is asked.
        answer: the text whose tokens are the labels.
        chat: whether the prompt goes through the chat template.
        system: a system message; None leaves the template's own default.
        teacher: gives `teacher_logits`; a model is asked as the student is.
        reference: gives `reference_logits`, likewise.
        old: gives `old_logits`, likewise.
        end_of_turn: whether the token that ends the turn (EOS) is a label too, as in SFT.
        truncate_vocabulary: cut all logits to the smallest vocabulary, where embeddings are padded to
            different sizes; the softmax is then the renormalised distribution.

    Returns:
        N = number of the answer's tokens; all in one sequence; on the student's device.

    Raises:
        QTargetError: a view is described twice, or a model lacks the chat template or EOS token asked for.
        BatchError: the answer is empty, it is too long for the model, or vocabularies differ.
    """
    if isinstance(student, View) and (not chat or system is not None):
        raise QTargetError("chat and system say how a model is asked; a View says that itself. Pass one of them.")
    lm = student.lm if isinstance(student, View) else student

    def asked(who: CausalLM | View) -> View:
        if isinstance(who, View):
            return who
        if isinstance(student, View):  # the student's prompt, read by another model
            return View(who, student.prompt_ids, student.description)
        return chat_view(who, system=system) if chat else plain_view(who)

    answer_ids = plain_ids(lm, answer)
    if not answer_ids:
        raise BatchError("the answer is empty: there is no token to analyse.")
    if end_of_turn:
        eos = lm.tokenizer.eos_token_id
        if eos is None:
            raise QTargetError(f"end_of_turn: the tokenizer of {lm.name} has no EOS token.")
        answer_ids = [*answer_ids, eos]

    def context(who: CausalLM | View) -> tuple[CausalLM, list[int]]:
        view = asked(who)
        return view.lm, list(view.prompt_ids(prompt, answer))

    others = {"teacher_logits": teacher, "reference_logits": reference, "old_logits": old}
    return _batch(
        context(student),
        {name: context(who) for name, who in others.items() if who is not None},
        answer_ids,
        truncate_vocabulary,
    )


def token_batch_from_text(
    lm: CausalLM,
    text: str,
    *,
    teacher: CausalLM | None = None,
    reference: CausalLM | None = None,
    old: CausalLM | None = None,
    truncate_vocabulary: bool = False,
) -> TokenBatch:
    """Every token of a plain text that something predicts.

    Where the tokenizer puts BOS first, that is all tokens of the text. Where it does not (SmolLM2), nothing
    predicts the first token, and the labels are all after it.

    Args:
        lm: the model.
        text: the text, read with no prompt and no chat template.
        teacher: another model, for `teacher_logits`.
        reference: another model, for `reference_logits`.
        old: another model, for `old_logits`.
        truncate_vocabulary: as in `token_batch`.

    Returns:
        The batch; all tokens in one sequence.

    Raises:
        BatchError: the text has no predicted token or is longer than the model reads, or vocabularies differ.
    """
    ids = [*start_ids(lm), *plain_ids(lm, text)]
    if len(ids) < 2:
        raise BatchError(
            f"the text {text!r} has {len(ids)} token{'s' * (len(ids) != 1)}, and nothing predicts the first: "
            "pass a longer text."
        )
    others = {"teacher_logits": teacher, "reference_logits": reference, "old_logits": old}
    return _batch(
        (lm, ids[:1]),
        {name: (other, ids[:1]) for name, other in others.items() if other is not None},
        ids[1:],
        truncate_vocabulary,
    )


def answer_logits(lm: CausalLM, context: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Logits that predict each token of an answer.

    The logits for answer token i stand at the position before it, so the last answer token is not read.

    Args:
        lm: the model.
        context: token ids before the answer, at least one.
        answer: N token ids, at least one.

    Returns:
        [N, V] logits, in the model's type, with no graph behind them.

    Raises:
        BatchError: the context is empty, the sequence too long for the model, or an id outside its vocabulary.
    """
    if not context:
        raise BatchError("nothing stands before the answer to predict its first token: pass a prompt.")
    ids = [*context, *answer[:-1]]
    longest = getattr(lm.model.config, "max_position_embeddings", None)
    if longest is not None and len(ids) > longest:
        raise BatchError(
            f"prompt and answer have {len(context)} + {len(answer)} tokens; {lm.name} reads {longest}. "
            "Shorten one of them."
        )
    if max(*ids, *answer) >= lm.vocabulary:
        raise BatchError(
            f"the text has token {max(*ids, *answer)}, but {lm.name} has V = {lm.vocabulary}: its tokenizer "
            "and its weights do not fit."
        )
    count = len(answer)
    with torch.no_grad():  # not inference_mode: a loss has to differentiate these logits later
        logits: Tensor = lm.model(
            input_ids=torch.tensor([ids], device=lm.device), use_cache=False, logits_to_keep=count
        ).logits[0]
    # A model that ignores logits_to_keep returns all T rows; keep the answer's, and free the rest.
    return logits if logits.shape[0] == count else logits[-count:].clone()


def _batch(
    student: tuple[CausalLM, list[int]],
    others: dict[str, tuple[CausalLM, list[int]]],
    answer_ids: list[int],
    truncate_vocabulary: bool,
) -> TokenBatch:
    """One answer under the student's context and under those of the other roles."""
    lm, context = student
    for role, (other, _) in others.items():
        _check_same_tokens(lm, other, role)
        if other.vocabulary != lm.vocabulary and not truncate_vocabulary:
            raise BatchError(
                f"vocabulary mismatch: {role} come from {other.name} with V = {other.vocabulary}, the "
                f"logits from {lm.name} with V = {lm.vocabulary}. Their tokenizers agree, so the embeddings "
                "are padded differently: pass truncate_vocabulary=True to cut both to the smaller and renormalise."
            )
    width = min(model.vocabulary for model, _ in [student, *others.values()])
    context_logits: dict[str, Any] = {
        role: answer_logits(other, other_context, answer_ids)[:, :width].to(lm.device)
        for role, (other, other_context) in others.items()
    }
    labels = torch.tensor(answer_ids, device=lm.device)
    return TokenBatch(
        answer_logits(lm, context, answer_ids)[:, :width],
        labels,
        **context_logits,
        sequence_ids=torch.zeros_like(labels),
        tokens=token_texts(lm.tokenizer, answer_ids),
    )


def _check_same_tokens(student: CausalLM, other: CausalLM, role: str) -> None:
    """Two models can be compared only if every id that both know means the same token."""
    if other.tokenizer is student.tokenizer:
        return
    mine, theirs = (model.tokenizer.get_vocab() for model in (student, other))
    for token, number in mine.items():
        if theirs.get(token, number) != number:
            raise BatchError(
                f"vocabulary mismatch: {role} come from {other.name}, whose tokenizer gives {token!r} the "
                f"id {theirs[token]}; in {student.name} it is {number}. Logits of different tokenizers "
                "cannot be compared."
            )
