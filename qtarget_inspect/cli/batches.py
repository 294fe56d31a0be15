"""From the options --model, --text and so on to the tokens that a loss is looked at on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qtarget_inspect.cli.console import working
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    from qtarget_inspect.core.batch import TokenBatch
    from qtarget_inspect.models import CausalLM

DEFAULT_MODEL = "smollm2"


def batch_from_options(
    *,
    model: str | None,
    text: str | None,
    text_file: Path | None,
    prompt: str | None,
    teacher: str | None,
    reference: str | None,
) -> tuple[TokenBatch | None, str]:
    """The tokens that the options name.

    Args:
        model: --model.
        text: --text.
        text_file: --text-file.
        prompt: --prompt.
        teacher: --teacher.
        reference: --reference.

    Returns:
        The batch and what it is, in words; no batch where no text is given, which stands for the built-in probe states.

    Raises:
        QTargetError: the options contradict each other, or the file cannot be read.
    """
    if text is not None and text_file is not None:
        raise QTargetError("--text and --text-file both give the text; pass one of them.")
    if text is None and text_file is None:
        named = {"--model": model, "--prompt": prompt, "--teacher": teacher, "--reference": reference}
        given = [option for option, value in named.items() if value is not None]
        if given:
            verb = "has" if len(given) == 1 else "have"
            raise QTargetError(
                f"{' and '.join(given)} {verb} nothing to read.\n"
                "Add --text or --text-file; without any of these a loss is looked at on the built-in probe states."
            )
        return None, "the built-in probe states"
    written = read_text(text_file) if text_file is not None else str(text)
    names = {"model": model or DEFAULT_MODEL, "teacher": teacher, "reference": reference}
    with working("reading the text with the model (a GGUF file is converted the first time, 10 to 20 s)"):
        return _read(written, prompt, names)


def read_text(path: Path) -> str:
    """A text from a file or, for "-", from stdin.

    Args:
        path: the file.

    Returns:
        The text without the line break at its end.

    Raises:
        QTargetError: it is no UTF-8 text.
    """
    try:
        return (sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")).removesuffix("\n")
    except UnicodeDecodeError as error:
        raise QTargetError(f"--text-file {path} is no UTF-8 text: {error.reason} at byte {error.start}.") from error


def _read(text: str, prompt: str | None, names: dict[str, str | None]) -> tuple[TokenBatch, str]:
    from qtarget_inspect.models import load_causal_lm, token_batch, token_batch_from_text

    loaded: dict[str, CausalLM] = {}
    for name in names.values():
        if name is not None and name not in loaded:
            loaded[name] = load_causal_lm(name)
    student, teacher, reference = (loaded.get(name) if name else None for name in names.values())
    assert student is not None
    if prompt is None:
        batch = token_batch_from_text(student, text, teacher=teacher, reference=reference)
        view = "with no prompt"
    else:
        chat = student.has_chat_template
        batch = token_batch(student, prompt, text, chat=chat, teacher=teacher, reference=reference)
        view = "after the prompt in its chat template" if chat else "after the plain prompt"
    words = f"the text, read {view} by {student.description}"
    for role, other in (("teacher", teacher), ("reference", reference)):
        words += f"; {role}: {other.description}" if other is not None else ""
    return batch, words
