"""Texts of tokens for tables and pictures: on one line, with spaces and line breaks visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.hidden_states import HiddenStates
from qtarget_inspect.core.token_texts import token_texts

Decode = Callable[[Sequence[int]], Sequence[str]]
"""Token ids -> one text each."""


def shown(text: str) -> str:
    r"""A token's text with its spaces and line breaks visible.

    Args:
        text: the text.

    Returns:
        The text on one line.

    Examples:
        >>> shown(" she\n")
        '·she⏎'
    """
    visible = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in visible)


def shown_labels(batch: TokenBatch | HiddenStates) -> list[str]:
    """The label of every token as text, "token 17" where the batch holds no texts.

    Args:
        batch: the tokens.

    Returns:
        N texts.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> shown_labels(qt.TokenBatch(torch.zeros(1, 4), torch.tensor([2])))
        ['token 2']
    """
    if batch.tokens is not None:
        return [shown(text) for text in batch.tokens]
    return [f"token {label}" for label in batch.labels.tolist()]


def shown_entries(entries: Sequence[int], texts: Any = None) -> list[str]:
    """Entries of the vocabulary as text, "token 17" where nothing tells their texts.

    Args:
        entries: token ids.
        texts: a function of ids to texts, a tokenizer, or None.

    Returns:
        A text an entry.

    Raises:
        QTargetError: `texts` is neither, or does not give a text an entry.

    Examples:
        >>> shown_entries([3, 1]), shown_entries([3, 1], lambda ids: [" abcd"[i] for i in ids])
        (['token 3', 'token 1'], ['c', 'a'])
    """
    if texts is None:
        return [f"token {entry}" for entry in entries]
    found = list(_decoder(texts)(entries))
    if len(found) != len(entries) or not all(isinstance(text, str) for text in found):
        raise QTargetError(
            f"texts must give one text for each of {len(entries)} token ids, but gave {found!r:.60}. Pass e.g. "
            "tokenizer, or lambda ids: [vocabulary[i] for i in ids]."
        )
    return [shown(text) for text in found]


def _decoder(texts: Any) -> Decode:
    """A tokenizer is callable too, with texts in and ids out: told by its method that goes the other way."""
    if hasattr(texts, "convert_ids_to_tokens"):
        return lambda ids: token_texts(texts, ids)
    if callable(texts):
        return texts
    raise QTargetError(
        f"texts must be a function of token ids to texts, or a tokenizer, not {type(texts).__name__}. Pass e.g. "
        "lambda ids: [vocabulary[i] for i in ids]."
    )
