"""The app: its commands, its version, and `main`, where the console script starts."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated

import typer

from qtarget_inspect.cli import (
    bench_command,
    compare_command,
    demo_command,
    explorer_command,
    gallery_command,
    inspect_command,
    tables_command,
    variants_command,
)
from qtarget_inspect.cli.guard import GuardedGroup

app = typer.Typer(
    name="qtarget-inspect",
    cls=GuardedGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
EXAMPLES = """\b
Examples:
  qtarget-inspect tables
  qtarget-inspect inspect "asft(kl_weight=0.1)"
  qtarget-inspect inspect my_losses.py:focal --text "2 + 2 = 4"
  qtarget-inspect compare sft dft my_losses.py:focal
"""

COMMANDS: tuple[tuple[str, ModuleType, str], ...] = (
    ("variants", variants_command, "List the registered losses."),
    ("tables", tables_command, "The paper's unification tables, recomputed and checked."),
    ("inspect", inspect_command, "What one loss teaches."),
    ("compare", compare_command, "Several losses on the same tokens."),
    ("explorer", explorer_command, "A page for a lecture: losses, sliders, targets."),
    ("demo", demo_command, "Real losses on a real language model."),
    ("gallery", gallery_command, "A course in pictures, drawn anew."),
    ("bench", bench_command, "How fast targets are on this machine."),
)
for name, module, summary in COMMANDS:
    app.command(name, short_help=summary, epilog=module.EXAMPLES)(getattr(module, name))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"qtarget-inspect {version('qtarget-inspect')}")
        except PackageNotFoundError:
            typer.echo("qtarget-inspect, not installed as a package")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What target distribution does a fine-tuning loss teach?

    Any differentiable token-level loss drives the model to an induced target Q = p - dL/dz. It is read as
    Q = gamma onehot(y) + (1 - gamma) residual: how far the label is trusted, and where the other mass goes.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and exit: 0 where all went well, 2 on bad input."""
    app()
