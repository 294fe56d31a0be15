"""Token texts keep spaces, newlines and parts of characters."""

from __future__ import annotations

import pytest

from qtarget_inspect.core.token_texts import token_texts


def test_byte_level_tokens_join_to_the_text(make_tokenizer):
    tokenizer = make_tokenizer()
    text = "  Two\n\n\tapples, é? </s>"
    texts = token_texts(tokenizer, tokenizer(text).input_ids)
    assert "</s>" in texts
    shown = [part for part in texts if "\\x" not in part]
    assert "".join(shown) == text.replace("é", "")


def test_part_of_a_character_is_shown_by_its_bytes(make_tokenizer):
    tokenizer = make_tokenizer()
    texts = token_texts(tokenizer, tokenizer("é", add_special_tokens=False).input_ids)
    assert texts == ["\\xc3", "\\xa9"]


def test_a_real_replacement_character_is_left_alone(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["\ufffd"])
    assert token_texts(tokenizer, tokenizer("\ufffd").input_ids) == ["\ufffd"]


@pytest.fixture
def metaspace():
    """A tokenizer in the manner of Llama 2: a decoder that drops a leading space, and fallback to bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", *[f"<0x{byte:02X}>" for byte in range(256)], "▁", "a", "b", "▁a", "▁b"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "a"), ("▁", "b")], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_leading_spaces_survive_a_decoder_that_strips_them(metaspace):
    ids = metaspace("a b", add_special_tokens=False).input_ids
    assert metaspace.decode(ids[:1]) == "a"
    assert token_texts(metaspace, ids) == [" a", " b"]


def test_byte_fallback_tokens_stand_for_themselves(metaspace):
    assert token_texts(metaspace, metaspace.convert_tokens_to_ids(["<0xC3>", "b"])) == ["<0xC3>", "b"]
