"""`qtarget-inspect tables`: the paper's unification tables, every row recomputed from its loss and checked."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from qtarget_inspect.cli import options
from qtarget_inspect.cli.console import WIDTH, print_table, say, working
from qtarget_inspect.cli.outputs import chosen_format, put_table
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    import pandas as pd

DTYPES = ("float64", "float32")

EXAMPLES = """\b
Examples:
  qtarget-inspect tables
  qtarget-inspect tables --kind residual --format latex
  qtarget-inspect tables --out table.md
"""


def tables(
    kind: Annotated[
        str,
        typer.Option(
            metavar="[paper|label-trust|residual|all]",
            help="Which methods: the paper's sixteen, those "
            "that set the label trust, those that set the residual, or all that are registered.",
        ),
    ] = "paper",
    format: options.Format = None,
    out: options.Out = None,
    dtype: Annotated[str, typer.Option(metavar="[float64|float32]", help="Type to compute in.")] = "float64",
) -> None:
    """The unification table of arXiv 2606.11189, each claim checked against the loss itself.

    Every loss is differentiated on built-in states, and the paper's claim is held against the target that comes
    out. A row that does not hold says what inversion finds instead.
    """
    wanted = chosen_format(format, out)
    _check_dtype(dtype)

    import torch

    import qtarget_inspect as qt

    with working("differentiating every loss of the table"):
        frame = qt.unification_table(kind, dtype=getattr(torch, dtype))  # type: ignore[arg-type]
    if wanted is not None:
        put_table(frame, wanted, out)
    else:
        show_unification_table(frame)


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise QTargetError(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")


def show_unification_table(frame: pd.DataFrame, *, hidden: Sequence[str] = (), widest: int | None = None) -> None:
    """Print the table with its checks, what is to be said about rows that fail, and the verdict.

    Args:
        frame: what `unification_table` returned.
        hidden: columns to leave out.
        widest: letters at which cells are folded in a pipe; by default they are not.
    """
    from qtarget_inspect.tables.unification import verdict
    from qtarget_inspect.tables.writers import display_table

    shown = display_table(frame).drop(columns=list(hidden), errors="ignore")
    print_table(shown, optional=("gamma range", "category"), widest=widest)
    say()
    failed = frame[frame["holds"] == False]  # noqa: E712  # None is neither
    for row in failed.to_dict("records"):
        say(fill(f"{row['method']}: {row['note']}.", WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    if len(failed):
        say()
    say(verdict(frame))
