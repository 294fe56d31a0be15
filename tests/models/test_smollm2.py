"""The real SmolLM2: it knows English, its views differ as they should, and its kept copy is the same model."""

from __future__ import annotations

import random

import pytest
import torch

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.models import (
    load_causal_lm,
    one_example_view,
    plain_view,
    privileged_view,
    token_batch,
    token_batch_from_text,
    worked_problems,
)

pytestmark = pytest.mark.model

PARAGRAPH = (
    "The Nile is a major river in northeastern Africa that flows north into the Mediterranean Sea. It is among the "
    "longest rivers in the world, and for thousands of years the people who lived along its banks depended on its "
    "yearly flood, which left rich soil on their fields."
)


def nll(logits, labels):
    """Mean nats a token."""
    return torch.nn.functional.cross_entropy(logits.float(), labels).item()


def test_english_is_likely_and_shuffled_words_are_not(smollm2):
    words = PARAGRAPH.split()
    random.Random(0).shuffle(words)
    english, shuffled = (token_batch_from_text(smollm2, text) for text in (PARAGRAPH, " ".join(words)))
    assert torch.tensor(nll(english.logits, english.labels)).exp() < 20
    assert torch.tensor(nll(shuffled.logits, shuffled.labels)).exp() > 150
    assert "".join(english.tokens) == PARAGRAPH.removeprefix("The")


def test_what_it_is_and_how_it_splits_digits(smollm2):
    assert smollm2.description == "SmolLM2-135M-Instruct, dequantised Q4_1 GGUF, float32"
    assert smollm2.vocabulary == 49152
    assert smollm2.has_chat_template
    batch = token_batch_from_text(smollm2, "2 + 2 = 4,  12")
    assert batch.tokens == (" +", " ", "2", " =", " ", "4", ",", "  ", "1", "2")
    assert smollm2.tokenizer("<|im_start|>user\n").input_ids[0] == smollm2.tokenizer.bos_token_id


def test_views_of_worked_solutions(smollm2):
    """Nats a token: privileged far below the student, the example below it, no template above it."""
    items = worked_problems(25)
    problems, example = items[:5], items[24]  # how much an example helps depends on it: 0 to 0.1 nats
    batch = TokenBatch.concatenate(
        token_batch(
            smollm2,
            problem.question,
            problem.solution,
            teacher=one_example_view(smollm2, example.question, example.solution),
            reference=plain_view(smollm2),
            old=privileged_view(smollm2),
        )
        for problem in problems
    )
    student = nll(batch.logits, batch.labels)
    teacher = nll(batch.teacher_logits, batch.labels)
    reference = nll(batch.reference_logits, batch.labels)
    privileged = nll(batch.old_logits, batch.labels)
    assert privileged < 0.4 < teacher < student < reference < 1.9
    assert "".join(batch.tokens) == "".join(problem.solution for problem in problems)


def test_the_kept_copy_is_the_same_model(smollm2, smollm2_cache):
    again = load_causal_lm("smollm2", cache=smollm2_cache)
    mine, theirs = smollm2.model.state_dict(), again.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert again.description == smollm2.description
