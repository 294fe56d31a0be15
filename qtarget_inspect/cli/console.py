"""What is printed where: rich on a terminal, plain aligned text in a pipe, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text


WIDTH = 110
"""Columns that running text is filled to."""

FOLDED = 22
"""A cell on a terminal is folded to this many letters before a column is left out."""


def on_terminal() -> bool:
    """Whether stdout is a terminal, so that colour and the width of the window matter."""
    return sys.stdout.isatty()


def say(text: str = "") -> None:
    """Print text as it is, at once.

    Args:
        text: one or more lines.
    """
    print(text, flush=True)


def heading(text: str) -> None:
    """Print a heading: bold on a terminal, underlined in a pipe.

    Args:
        text: one line.
    """
    if on_terminal():
        from rich.console import Console

        Console(highlight=False).print(f"\n{text}", style="bold", markup=False)
    else:
        say(f"\n{text}\n{'-' * len(text)}")


def print_table(frame: pd.DataFrame, *, optional: Sequence[str] = (), widest: int | None = None) -> None:
    """Print a table: folded to the window on a terminal, whole in a pipe.

    Args:
        frame: cells as text.
        optional: columns that a narrow window does without, the most dispensable first.
        widest: letters at which cells are folded in a pipe; by default each row is one line.
    """
    if on_terminal():
        _rich_table(frame, optional)
    else:
        say(aligned(frame, widest=widest))


def aligned(frame: pd.DataFrame, *, widest: int | None = None) -> str:
    """A table as plain text in aligned columns.

    Args:
        frame: cells as text.
        widest: letters at which a cell is folded onto another line; by default none is.

    Returns:
        The lines, with no trailing spaces.

    Examples:
        >>> import pandas as pd
        >>> print(aligned(pd.DataFrame({"name": ["sft", "beyond-log"], "needs": ["-", "-"]})))
        name        needs
        sft         -
        beyond-log  -
    """
    rows = [[str(name) for name in frame.columns], *frame.astype(str).values.tolist()]
    folded = [[wrap(cell, widest, break_on_hyphens=False) if widest else [cell] for cell in row] for row in rows]
    lines = [line for row in folded for line in zip_longest(*row, fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on stderr what takes its time, while it does; silent where stderr is no terminal.

    Args:
        what: "loading the model".
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def _rich_table(frame: pd.DataFrame, optional: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    left_out = [name for name in optional if name in frame.columns]
    while left_out and _comfortable_width(frame.drop(columns=left_out[:-1])) <= console.width:
        left_out.pop()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    kept = frame.drop(columns=left_out).astype(str)
    widths = _widths(kept, console.width)
    for number, name in enumerate(kept.columns):
        table.add_column(name, overflow="fold", width=widths[number] if widths else None)
    for row in kept.values.tolist():
        table.add_row(*(_tinted(cell) for cell in row))
    console.print(table)
    if left_out:
        console.print(f"not shown in a window of this width: {', '.join(left_out)}", style="dim", markup=False)


def _widths(frame: pd.DataFrame, window: int) -> list[int] | None:
    """Letters of each column: its longest word, the rest to the first, then to the narrowest; None where none fits."""
    # rich would take room from columns that need it and cut off what does not fit; here the widest words are broken
    cells = [[str(name), *frame[name]] for name in frame.columns]
    widths = [max(len(word) for cell in column for word in cell.split() or [""]) for column in cells]
    whole = [max(map(len, column)) for column in cells]
    room = window - 2 * (len(widths) - 1)  # two spaces stand between columns
    if room < len(widths):
        return None
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    while sum(widths) < min(room, sum(whole)):
        folded = [number for number, width in enumerate(widths) if width < whole[number]]
        widths[min(folded, key=lambda number: (number > 0, widths[number]))] += 1
    return widths


def _comfortable_width(frame: pd.DataFrame) -> int:
    """Width at which no cell has to be folded below `FOLDED` letters."""
    widths = [max(map(len, [str(name), *frame[name].astype(str)])) for name in frame.columns]
    return sum(min(width, FOLDED) + 2 for width in widths)


def _tinted(cell: str) -> Text:
    from rich.text import Text

    style = {"yes": "green", "NO": "bold red"}.get(cell, "yellow" if cell.startswith("no (") else "")
    return Text(cell, style=style)
