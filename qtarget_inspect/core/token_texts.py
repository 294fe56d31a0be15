"""Token ids -> one readable text each, with leading spaces, newlines and parts of characters kept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REPLACEMENT = "\ufffd"


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> list[str]:
    r"""The text of each token by itself.

    Some decoders drop a leading space at the start of a text, so each token is decoded behind another one. A
    token that holds only part of a character is shown by its bytes, e.g. "\xf0\x9f".

    Args:
        tokenizer: the tokenizer the ids belong to.
        ids: token ids.

    Returns:
        One text a token.
    """
    anchor = tokenizer("a", add_special_tokens=False).input_ids[-1:]
    before = _decode(tokenizer, anchor)
    texts: dict[int, str] = {}
    ids = [int(token) for token in ids]
    for token in set(ids):
        text = _decode(tokenizer, [*anchor, token])
        text = text[len(before) :] if text.startswith(before) else _decode(tokenizer, [token])
        texts[token] = _bytes_shown(tokenizer, token, text) if _REPLACEMENT in text else text
    return [texts[token] for token in ids]


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _bytes_shown(tokenizer: PreTrainedTokenizerBase, token: int, text: str) -> str:
    """Spell out the bytes of a token that is no whole text; a token named like <0xF0> stands for itself."""
    piece = tokenizer.convert_ids_to_tokens(token)
    if piece is None or (piece.startswith("<0x") and piece.endswith(">")):
        return piece or text
    table = _byte_of_letter()
    if not all(letter in table for letter in piece):
        return text
    return bytes(table[letter] for letter in piece).decode("utf-8", errors="backslashreplace")


@cache
def _byte_of_letter() -> dict[str, int]:
    """The alphabet of byte-level BPE: printable Latin-1 stands for itself, other bytes for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
