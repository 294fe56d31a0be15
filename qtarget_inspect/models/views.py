"""Views: a model together with what it reads before the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.models.causal_lm import CausalLM

PromptIds = Callable[[str, str], Sequence[int]]
"""(prompt, answer) -> the token ids before the answer. Only a privileged view looks at the answer."""


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """A model and a way to put a question to it: the same answer tokens get other logits under another view.

    Args:
        lm: the model.
        prompt_ids: (prompt, answer) -> token ids before the answer.
        description: what the view shows the model, for tables and captions.
    """

    lm: CausalLM
    prompt_ids: PromptIds
    description: str

    def __repr__(self) -> str:
        """What it shows, to which model."""
        return f"View({self.description}; {self.lm.name})"


def chat_view(lm: CausalLM, *, system: str | None = None) -> View:
    """The prompt as a user's message in the model's chat template.

    Args:
        lm: the model.
        system: a system message; None leaves the template's own default.

    Returns:
        The view.

    Raises:
        QTargetError: the tokenizer has no chat template.
    """
    if not lm.has_chat_template:
        raise QTargetError(_no_template(lm))
    return View(lm, lambda prompt, _answer: _chat_ids(lm, [_user(prompt)], system), "chat template")


def plain_view(lm: CausalLM, *, separator: str = "\n") -> View:
    """Prompt, separator, answer, with no chat template.

    For an instruct model this is a stand-in for the base model it was tuned from.

    Args:
        lm: the model.
        separator: what stands between prompt and answer.

    Returns:
        The view.
    """
    return View(
        lm,
        lambda prompt, _answer: [*start_ids(lm), *plain_ids(lm, prompt + separator)],
        "no chat template (a stand-in for base)",
    )


def one_example_view(lm: CausalLM, question: str, solution: str, *, system: str | None = None) -> View:
    """One other worked example in context, then the prompt: a teacher that knows the format, not the answer.

    How much it teaches depends on the example: for SmolLM2 on worked problems 0 to 0.1 nats a token.

    Args:
        lm: the model.
        question: the example's question.
        solution: its worked solution.
        system: a system message; None leaves the template's own default.

    Returns:
        The view.

    Raises:
        QTargetError: the tokenizer has no chat template.
    """
    if not lm.has_chat_template:
        raise QTargetError(_no_template(lm))
    example = [_user(question), {"role": "assistant", "content": solution}]
    return View(
        lm,
        lambda prompt, _answer: _chat_ids(lm, [*example, _user(prompt)], system),
        "one other worked example in context",
    )


def privileged_view(lm: CausalLM, solution: str | None = None, *, system: str | None = None) -> View:
    """The worked solution itself in context ("privileged context"): a confident teacher that partly copies.

    Its probabilities say more about copying than about solving; say so where its numbers are shown.

    Args:
        lm: the model.
        solution: the solution to show; None shows the answer whose tokens are asked for.
        system: a system message; None leaves the template's own default.

    Returns:
        The view.

    Raises:
        QTargetError: the tokenizer has no chat template.
    """
    if not lm.has_chat_template:
        raise QTargetError(_no_template(lm))

    def prompt_ids(prompt: str, answer: str) -> list[int]:
        shown = answer if solution is None else solution
        message = f"{prompt}\n\nHere is a worked solution:\n{shown}\n\nNow write out the solution."
        return _chat_ids(lm, [_user(message)], system)

    return View(lm, prompt_ids, "the worked solution in context (privileged; partly copies)")


def start_ids(lm: CausalLM) -> list[int]:
    """What the tokenizer puts before any text by itself: [BOS], or nothing.

    Args:
        lm: the model.

    Returns:
        The ids.
    """
    bos = lm.tokenizer.bos_token_id
    return [bos] if bos is not None and list(lm.tokenizer("a").input_ids)[:1] == [bos] else []


def plain_ids(lm: CausalLM, text: str) -> list[int]:
    """Token ids of a text and nothing else.

    Args:
        lm: the model.
        text: the text.

    Returns:
        The ids.
    """
    return list(lm.tokenizer(text, add_special_tokens=False).input_ids)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _no_template(lm: CausalLM) -> str:
    return f"{lm.name} has no chat template. Pass chat=False, or use plain_view(lm)."


def _chat_ids(lm: CausalLM, messages: list[dict[str, str]], system: str | None) -> list[int]:
    """Ids of a chat up to where the assistant's answer starts; the template writes BOS itself."""
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    try:
        text: Any = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise what they like, e.g. for a role they do not know
        roles = ", ".join(message["role"] for message in messages)
        raise QTargetError(f"the chat template of {lm.name} refuses ({roles}): {error}") from error
    return plain_ids(lm, text)
