"""Where a table goes: the terminal, a pipe or a file, in the format asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtarget_inspect.cli.console import say
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    import pandas as pd

FORMAT_OF_SUFFIX = {
    ".txt": "text",
    ".md": "markdown",
    ".tex": "latex",
    ".html": "html",
    ".csv": "csv",
    ".json": "json",
}


def chosen_format(format: str | None, out: Path | None) -> str | None:
    """The format to write in, checked before anything is computed.

    Args:
        format: what was asked for, or None.
        out: the file to write, or None.

    Returns:
        A format of `write_table`; None for reading on the spot.

    Raises:
        QTargetError: the format is unknown, or the file's name says none.
    """
    known = list(FORMAT_OF_SUFFIX.values())
    if format is not None and format not in known:
        raise QTargetError(f"--format must be one of {', '.join(known)}, not {format!r}.")
    if out is None:
        return format
    if out.is_dir():
        raise QTargetError(f"--out {out} is a folder; name a file in it.")
    if not out.parent.is_dir():
        raise QTargetError(f"--out {out}: there is no folder {out.parent}.")
    if format is None and out.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise QTargetError(
            f"--out {out}: the name does not say the format.\n"
            f"Add --format, or end the name in {', '.join(FORMAT_OF_SUFFIX)}."
        )
    return format or FORMAT_OF_SUFFIX[out.suffix.lower()]


def put_table(frame: pd.DataFrame, format: str, out: Path | None) -> None:
    """Write a table to a file, or print it as it is.

    Args:
        frame: the table.
        format: a format of `write_table`.
        out: the file; None prints.
    """
    from qtarget_inspect.tables.writers import write_table

    text = write_table(frame, format)  # type: ignore[arg-type]
    if out is None:
        say(text.rstrip("\n"))
    else:
        out.write_text(text, encoding="utf-8")
        say(f"{len(frame)} rows written to {out}")
