"""A GGUF file -> an HF model and its tokenizer, with the digit splitter that the conversion drops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.models.gguf_header import gguf_metadata
from qtarget_inspect.models.reading import read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DIGIT_SPLITTING = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Values of `tokenizer.ggml.pre` that mean: single digits first, then GPT-2's pattern."""


def convert_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a GGUF file into a float32 model and a tokenizer that can both be saved as an HF folder.

    Args:
        path: the file.

    Returns:
        Model and tokenizer.

    Raises:
        QTargetError: transformers cannot read this file.
    """
    import transformers

    metadata = gguf_metadata(path)
    options: dict[str, Any] = {"gguf_file": path.name}
    if hasattr(transformers, "GgufConfig"):  # later releases can leave the weights packed
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        with _header_read_once():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(path.parent), gguf_file=path.name, local_files_only=True
            )
            model = read_weights(path.parent, torch.float32, **options)
    except (ValueError, OSError, KeyError, NotImplementedError) as error:
        architecture = metadata.get("general.architecture", "unknown")
        raise QTargetError(
            f"{path.name} (architecture {architecture}) cannot be converted: {error}. "
            "Pass a folder of the HF model instead."
        ) from error
    if metadata.get("tokenizer.ggml.pre") in DIGIT_SPLITTING:
        split_digits(tokenizer)
    # The weights are plain float32 now; with these two left, saving would refuse.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model, tokenizer


@contextmanager
def _header_read_once() -> Iterator[None]:
    """Share one reader of the file inside the block.

    transformers reads the header for the tokenizer, the configuration and the weights anew, which takes
    3 s each time: 6 of 22 s for SmolLM2.
    """
    import gguf

    reader = gguf.GGUFReader
    gguf.GGUFReader = cache(reader)
    try:
        yield
    finally:
        gguf.GGUFReader = reader


def split_digits(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Put a splitter of single digits before a byte-level pre-tokenizer that has none.

    Without it "  12" falls into other tokens than the model was trained on.

    Args:
        tokenizer: a fast tokenizer, changed in place.

    Returns:
        Whether anything was changed.
    """
    from tokenizers.pre_tokenizers import Digits, Sequence

    backend = tokenizer.backend_tokenizer
    steps: dict[str, Any] = json.loads(backend.to_str()).get("pre_tokenizer") or {}
    if steps.get("type") != "ByteLevel":
        return False
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), backend.pre_tokenizer])
    return True
