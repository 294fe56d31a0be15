"""Gallery scripts as data: title, chapter and text from the first cell, code from the others."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from qtarget_inspect.core.errors import QTargetError

CELL = "# %%"
PATTERN = "[0-9][0-9]_*.py"
LONGEST = 40
"""Lines that a script may have."""

SHAPE = """\
# %% [markdown]
# # A title
#
# What to see, in two to four sentences.
#
# Misread: how the picture is misread.
#
# Chapter: Targets

# %%
code"""


@dataclass(frozen=True)
class Script:
    """One script of the gallery.

    Args:
        path: its file.
        title: a question or a statement.
        chapter: where it stands in the course.
        text: what to see in its figure, one string a paragraph, in Markdown.
        misread: how the figure is misread.
        code: the cells after the first.
    """

    path: Path
    title: str
    chapter: str
    text: tuple[str, ...]
    misread: str
    code: str

    @property
    def name(self) -> str:
        """The file's name without suffix: that of its rendered files too."""
        return self.path.stem

    @property
    def number(self) -> str:
        """Its two digits."""
        return self.name[:2]

    @property
    def summary(self) -> str:
        """The first sentence of the text."""
        return re.split(r"(?<=[.?!])\s+(?=[A-Z])", self.text[0], maxsplit=1)[0]

    @property
    def needs_model(self) -> bool:
        """Whether it imports `qtarget_inspect.models`, so that it wants the language model."""
        tree = ast.parse(self.code)
        return any(
            "models" in f"{getattr(node, 'module', '')}.{alias.name}".split(".")
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        )

    @property
    def fingerprint(self) -> str:
        """Sixteen letters that change with the code, not with the text above it nor with its layout."""
        return hashlib.sha256("".join(self.code.split()).encode()).hexdigest()[:16]


def find_scripts(folder: Path) -> list[Script]:
    """The scripts of a folder, in order.

    Args:
        folder: where they lie.

    Returns:
        One or more.

    Raises:
        QTargetError: there are none.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise QTargetError(f"{folder} holds no scripts named like 01_what_it_shows.py.")
    return [read_script(path) for path in paths]


def read_script(path: Path) -> Script:
    """Read one script.

    Args:
        path: its file, `NN_name.py`.

    Returns:
        The script.

    Raises:
        QTargetError: it has not the shape of a gallery script, or is too long.
    """
    source = path.read_text(encoding="utf-8")
    count = len(source.splitlines())
    if count > LONGEST:
        raise QTargetError(f"{path.name} has {count} lines; a gallery script has at most {LONGEST}.")
    header, cell, code = source.partition(f"\n{CELL}\n")
    lines = [line.removeprefix("#").strip() for line in header.splitlines()[1:]]
    blocks = [" ".join(block.split()) for block in "\n".join(lines).strip().split("\n\n")]
    title, *others = blocks
    labelled = {
        name: text.strip() for name, colon, text in (block.partition(":") for block in others) if name in _LABELS
    }
    text = tuple(block for block in others if block.partition(":")[0] not in _LABELS)
    if not source.startswith(f"{CELL} [markdown]\n# # ") or not cell or not text or set(labelled) != _LABELS:
        raise QTargetError(f"{path.name} does not have the shape of a gallery script:\n{SHAPE}")
    return Script(path, title.removeprefix("# "), labelled["Chapter"], text, labelled["Misread"], code.strip() + "\n")


_LABELS = {"Chapter", "Misread"}
