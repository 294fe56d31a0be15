"""The scalar metadata of a GGUF file (quantisation, pre-tokenizer, names), without loading it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from qtarget_inspect.core.errors import QTargetError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def gguf_metadata(path: str | Path) -> dict[str, str | int | float | bool]:
    """Read the key-value header of a GGUF file (little-endian, version 2 or 3); arrays are skipped.

    Args:
        path: the file.

    Returns:
        Scalars and strings by key, e.g. {"general.architecture": "llama", "tokenizer.ggml.pre": "smollm"}.

    Raises:
        QTargetError: the file is no GGUF file, or its header is cut short.
    """
    with Path(path).open("rb") as file:
        if file.read(4) != b"GGUF":
            raise QTargetError(f"{path} is not a GGUF file: it does not start with the letters GGUF.")
        try:
            version, _tensors, pairs = struct.unpack("<IQQ", file.read(20))
            if version not in (2, 3):
                raise QTargetError(f"{path}: GGUF version {version} cannot be read, only 2 and 3.")
            found = {}
            for _ in range(pairs):
                key, kind = _string(file), _scalar(file, "I")
                value = _value(file, int(kind))
                if value is not None:
                    found[key] = value
        except (struct.error, KeyError, UnicodeDecodeError) as error:
            raise QTargetError(f"{path}: the GGUF header is damaged; get the file again.") from error
    return found


def quantisation(metadata: dict[str, str | int | float | bool]) -> str:
    """Name of the weight format, e.g. "Q4_1".

    Args:
        metadata: what `gguf_metadata` gave.

    Returns:
        The name, or "unnamed format" where the file does not say.
    """
    import gguf

    try:
        name = str(gguf.LlamaFileType(metadata["general.file_type"]).name)
    except (KeyError, ValueError):
        return "unnamed format"
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _scalar(file: BinaryIO, code: str) -> int | float | bool:
    value: int | float | bool = struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]
    return value


def _string(file: BinaryIO) -> str:
    length = int(_scalar(file, "Q"))
    text = file.read(length)
    if len(text) < length:
        raise struct.error("string cut short")
    return text.decode()


def _value(file: BinaryIO, kind: int) -> str | int | float | bool | None:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _scalar(file, _SCALARS[kind])
    of, count = int(_scalar(file, "I")), int(_scalar(file, "Q"))
    if of in _SCALARS:
        file.seek(struct.calcsize("<" + _SCALARS[of]) * count, 1)
    else:
        for _ in range(count):
            if of == _STRING:
                file.seek(int(_scalar(file, "Q")), 1)
            else:
                _value(file, of)
    return None
