"""Setting: on what a benchmark runs: shape, type, where the logits come from, and on which device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import compute_dtype

Source = Literal["random", "smollm2"]

DTYPES = ("float32", "bfloat16")

SHAPES = ((512, 49152), (128, 151936), (4096, 32000))
"""Tokens and vocabulary: SmolLM2's, Qwen's on a few tokens, Llama's on many."""

REAL_VOCABULARY = 49152

_LOGITS = 4  # the student's, a reference's, a teacher's, the old policy's
_FRESH = 5  # arrays of Q's size that the naive line holds at once, in float32


@dataclass(frozen=True)
class Setting:
    """What one part of a benchmark runs on.

    Args:
        rows: N tokens.
        vocabulary: V.
        dtype: "float32" or "bfloat16", the type of the logits; Q is float32 in both.
        source: "random" logits, or those of "smollm2" on worked problems.
        device: "cpu" or "cuda".

    Raises:
        QTargetError: a number is below 1, or a name is unknown.

    Examples:
        >>> Setting(512, 49152).text
        '512 x 49152 float32'
        >>> round(Setting(512, 49152).bytes_needed / 2**20)
        960
    """

    rows: int
    vocabulary: int
    dtype: str = "float32"
    source: Source = "random"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check every field."""
        if self.rows < 1 or self.vocabulary < 2:
            raise QTargetError(
                f"a benchmark needs 1 token and 2 vocabulary entries at least, not {self.rows} x {self.vocabulary}."
            )
        if self.dtype not in DTYPES:
            raise QTargetError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}.")
        if self.source not in get_args(Source):
            raise QTargetError(f"source must be one of {', '.join(get_args(Source))}, not {self.source!r}.")
        if self.device not in ("cpu", "cuda"):
            raise QTargetError(f"device must be cpu or cuda, not {self.device!r}.")
        if self.source == "smollm2" and self.vocabulary != REAL_VOCABULARY:
            raise QTargetError(f"SmolLM2 has V = {REAL_VOCABULARY}: real logits of {self.vocabulary} there are none.")

    @property
    def text(self) -> str:
        """Shape, type and, where they are real, whose logits."""
        real = "" if self.source == "random" else ", SmolLM2 logits"
        return f"{self.rows} x {self.vocabulary} {self.dtype}{real}"

    @property
    def logits_dtype(self) -> torch.dtype:
        """Type of the logits."""
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    @property
    def result_dtype(self) -> torch.dtype:
        """Type of Q."""
        return compute_dtype(self.logits_dtype)

    @property
    def result_bytes(self) -> int:
        """Bytes of one Q [N, V]."""
        return self.rows * self.vocabulary * self.result_dtype.itemsize

    @property
    def bytes_needed(self) -> int:
        """Bytes that a run needs at most: four logits tensors, a result, and what the naive line makes."""
        entries = self.rows * self.vocabulary
        return entries * _LOGITS * self.logits_dtype.itemsize + (1 + _FRESH) * self.result_bytes


def parse_shape(text: str) -> tuple[int, int]:
    """Tokens and vocabulary from a text.

    Args:
        text: "512x49152" or "512 x 49152".

    Returns:
        (N, V).

    Raises:
        QTargetError: it is no such text.

    Examples:
        >>> parse_shape("512x49152")
        (512, 49152)
    """
    found = re.fullmatch(r"\s*(\d+)\s*[x×]\s*(\d+)\s*", text)
    if not found:
        raise QTargetError(f"a shape is TOKENSxVOCABULARY, e.g. 512x49152, not {text!r}.")
    return int(found[1]), int(found[2])
