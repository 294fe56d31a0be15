"""`qtarget-inspect explorer`: one HTML page for a lecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtarget_inspect.cli.console import say, working
from qtarget_inspect.core.errors import QTargetError

EXAMPLES = """\b
Examples:
  qtarget-inspect explorer
  qtarget-inspect explorer --out lecture.html --loss my_losses.py:focal
  qtarget-inspect explorer --loss "asft(kl_weight=0.1)" --loss target-sft
"""


def explorer(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the page.")] = Path("explorer.html"),
    loss: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOSS",
            help="A loss to begin with, up to four times: a registered name, with parameters where they are not the "
            'defaults, "asft(kl_weight=0.1)"; or FILE.py:NAME, which is worked out at every position of the sliders. '
            "Loading a file runs it.",
        ),
    ] = None,
) -> None:
    """A page that shows what losses teach while sliders move: one HTML file that needs no network.

    Open it in a browser. p, Q, residual, gamma, the gradient, the flow on three tokens and the row of the table change
    at once; the address holds the state, so a link shows others the same.
    """
    _check_place(out)

    from qtarget_inspect.explorer.page import write_explorer

    with working("writing the page"):
        path = write_explorer(out, loss or ())
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opens in a browser from where it lies, without a network")


def _check_place(out: Path) -> None:
    """Before anything is computed: whether the page can be written there."""
    if out.is_dir():
        raise QTargetError(f"--out {out} is a folder; name a file in it.")
    if not out.parent.is_dir():
        raise QTargetError(f"--out {out}: there is no folder {out.parent}.")
