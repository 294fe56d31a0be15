"""The guard around every command: one clear line and exit code 2 on bad input, quiet where the reader has left."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from qtarget_inspect.core.errors import QTargetError

BAD_INPUT = 2
PROGRAM = "qtarget-inspect"


class GuardedGroup(TyperGroup):
    """A group of commands that answers bad input with a line that begins "error:", never with a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and exit with what became of it.

        Args:
            args: the arguments; by default those of the process.
            prog_name: name of the program.
            complete_var: as typer passes it.
            standalone_mode: whether to exit; otherwise errors are raised.
            windows_expand_args: as typer passes it.
            **extra: as typer passes them.

        Returns:
            What the command returns, where it does not exit.
        """
        command = super().main
        name = prog_name or PROGRAM

        def run() -> Any:
            return command(args, name, complete_var, False, windows_expand_args, **extra)

        return sys.exit(guarded(run)) if standalone_mode else run()


def guarded(command: Callable[[], Any]) -> int:
    """Run a command and say what went wrong in words.

    Args:
        command: what to run.

    Returns:
        The exit code: 0, 2 on bad input, 1 where the reader of a pipe has left.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # texts of tokens hold what an ASCII console cannot show
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = command()
        sys.stdout.flush()
    except QTargetError as error:
        report(str(error))
    except typer.Abort:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
        return 1
    except OSError as error:
        report(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if not hasattr(error, "format_message"):  # no usage error but a fault of ours: its traceback is wanted
            raise
        report_usage(error)
    else:
        return code if isinstance(code, int) else 0
    return BAD_INPUT


def report(message: str) -> None:
    """Print an error on stderr: its first line after "error:", the others below it.

    Args:
        message: the error's text.
    """
    print("error: " + message.replace("\n", "\n       "), file=sys.stderr)


def report_usage(error: Any) -> None:
    """Print an error in the arguments, and where the help is.

    Args:
        error: what typer raised.
    """
    message = " ".join(error.format_message().split())
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    report(message + (f"\nSee {context.command_path} --help." if context is not None else ""))


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
