"""`qtarget-inspect variants`: the registered losses, in groups."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import TYPE_CHECKING

from qtarget_inspect.cli import options
from qtarget_inspect.cli.console import heading, on_terminal, print_table, say
from qtarget_inspect.cli.outputs import chosen_format, put_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

EXAMPLES = """\b
Examples:
  qtarget-inspect variants
  qtarget-inspect variants --format json
"""

ROOM_FOR_REFERENCES = 120
"""Columns of a window from which on the references are shown."""


def variants(format: options.Format = None, out: options.Out = None) -> None:
    """List the registered losses: name, parameters, the context they need.

    First the sixteen rows of the paper's table, then the losses beyond the paper that come with this package, by
    category, then what other packages have registered. In a pipe or a file it is one table, with a column `source`.
    """
    wanted = chosen_format(format, out)
    frame = _registered()
    if wanted is not None:
        put_table(frame, wanted, out)
        return
    if not on_terminal():
        print_table(frame)
        return
    narrow = get_terminal_size().columns < ROOM_FOR_REFERENCES
    for title, group in _groups(frame):
        heading(title)
        print_table(group.drop(columns="reference") if narrow else group)
    say('\nParameters are set in parentheses, e.g. "asft(kl_weight=0.1)".')
    if narrow:
        say("References are shown in a wider window, in a pipe, and by --format.")


def _registered() -> pd.DataFrame:
    """All registered losses, a row each, in the order of the registry."""
    import pandas as pd

    import qtarget_inspect as qt

    return pd.DataFrame(
        {
            "name": variant.name,
            "source": variant.source,
            "category": variant.category,
            "parameters": ", ".join(f"{key}={value!r}" for key, value in variant.parameters.items()) or "-",
            "needs": ", ".join(variant.context) or "-",
            "loss": variant.formula or "-",
            "reference": variant.reference or "-",
        }
        for variant in qt.variants().values()
    )


def _groups(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each group: the paper's, those beyond it by category, all others."""
    from qtarget_inspect.variants.sources import BEYOND, PACKAGE_SOURCES, PAPER

    yield "The paper's table", frame[frame["source"] == PAPER].drop(columns=["source", "category"])
    beyond = frame[frame["source"] == BEYOND]
    for category, rows in beyond.groupby("category", sort=False):
        yield f"Beyond the paper: {category}", rows.drop(columns=["source", "category"])
    others = frame[~frame["source"].isin(PACKAGE_SOURCES)]
    if len(others):
        yield "Registered by others", others
