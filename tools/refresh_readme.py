"""Run the commands that the README and the docs show, and put their output into the pages.

    python tools/refresh_readme.py            # all of them
    python tools/refresh_readme.py tables     # one, by its name

A page shows an output between two markers, its first line being the command:

    <!-- output: tables -->
    ...
    <!-- end -->

A code block after `<!-- file: my_losses.py -->` is a file that commands of that page may name. `make test` checks that
what needs no language model is current.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/real-models.md", "docs/the-command-line.md")
WIDTH = 110
"""Columns of the terminal that outputs are shown for."""

BLOCK = re.compile(r"<!-- output: (?P<name>[\w-]+) -->\n(?P<shown>.*?)<!-- end -->", re.DOTALL)
FILE = re.compile(r"<!-- file: (?P<name>[\w.-]+) -->\n```\w*\n(?P<text>.*?)```\n", re.DOTALL)
ROUNDING = re.compile(r"-?\d(\.\d+)?e-(09|[1-9]\d)")
ESCAPE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@dataclass(frozen=True)
class Output:
    """A command whose output a page shows.

    Args:
        command: as it is shown.
        run: what is run for it, where that differs.
        terminal: whether it writes to a terminal of `WIDTH` columns rather than into a pipe.
        model: whether it needs the language model and the rest of the demo's extra.
        shorten: text -> the part that is shown, with "[...]" where something is left out.
    """

    command: str
    run: str = ""
    terminal: bool = False
    model: bool = False
    shorten: Callable[[str], str] = str


def demo_in_short(text: str) -> str:
    """What the model reads, some of its tokens, two telling ones, and one of the foreign losses."""
    parts = re.split(r"^(?=\d\. )", text, flags=re.MULTILINE)[1:]
    paragraphs = [part.rstrip().split("\n\n") for part in parts]
    about, note, tokens, rescue, filtered, *_ = paragraphs[1]
    _, trl, *_ = paragraphs[2]
    lines = tokens.splitlines()
    kept = [*lines[:3], "[...]", *lines[17:23], "[...]"]
    table = [*paragraphs[0][0].splitlines()[:2], "[... the table above]"]
    after = ["[... three more telling tokens]", "\n".join(parts[2].splitlines()[:2]), trl, "[... LabelSmoother]"]
    return "\n\n".join(["\n".join(table), about, note, "\n".join(kept), rescue, filtered, *after])


OUTPUTS = {
    "inspect": Output("qtarget-inspect inspect my_losses.py:focal"),
    "compare": Output("qtarget-inspect compare sft dft my_losses.py:focal", terminal=True),
    "tables": Output("qtarget-inspect tables --kind paper", terminal=True),
    "demo": Output("make demo", "qtarget-inspect demo --out out", model=True, shorten=demo_in_short),
    "variants": Output("qtarget-inspect variants", terminal=True),
    "bad-input": Output('qtarget-inspect inspect "asft(kl=0.1)"'),
    "text": Output(
        'qtarget-inspect inspect dft --prompt "What is 6 * 7?" --text "6 * 7 = 42. The answer is 42."', model=True
    ),
    "text-compare": Output(
        'qtarget-inspect compare sft dft eaft --prompt "What is 6 * 7?" --text "6 * 7 = 42. The answer is 42."',
        terminal=True,
        model=True,
    ),
    "views": Output("python views.py", model=True),
}


def files_of(page: str) -> dict[str, str]:
    """Name -> text of the files that a page shows."""
    return {found["name"]: found["text"] for found in FILE.finditer((ROOT / page).read_text(encoding="utf-8"))}


def shown_outputs(page: str) -> Iterator[tuple[str, str]]:
    """Yield (name, what is shown) for each output of a page."""
    for found in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        yield found["name"], found["shown"]


def fresh_output(name: str, files: dict[str, str]) -> str:
    """Run a command, and return the block that shows it."""
    output = OUTPUTS[name]
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        printed = run(output.run or output.command, Path(folder), terminal=output.terminal)
    lines = [line.rstrip() for line in output.shorten(printed).strip("\n").splitlines()]
    return "\n".join(["```console", f"$ {output.command}", *lines, "```", ""])


def run(command: str, folder: Path, *, terminal: bool) -> str:
    """Return what a command prints, on stdout and stderr, with this checkout's package."""
    program, *arguments = shlex.split(command)
    module = ["-m", "qtarget_inspect"] if program == "qtarget-inspect" else []
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": str(WIDTH),
        "LINES": "50",
        "TERM": "xterm",
        "NO_COLOR": "1",
    }
    environment.pop("FORCE_COLOR", None)
    full = [sys.executable, *module, *arguments]
    if not terminal:
        done = subprocess.run(
            full, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return done.stdout.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(full, cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        printed = b"".join(iter(lambda: _read(ours), b""))
        process.wait()
    os.close(ours)
    return ESCAPE.sub("", printed.decode()).replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux' way to say that the other side has closed
        return b""


def comparable(text: str) -> str:
    """Return a text without what may differ from machine to machine: rounding errors, and the room they take."""
    return re.sub(r"[ ─]+", " ", ROUNDING.sub("~0", text))


def main() -> None:
    """Refresh the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"which outputs: {', '.join(OUTPUTS)}; all by default")
    wanted = parser.parse_args().names or list(OUTPUTS)
    for page in PAGES:
        path = ROOT / page
        text, files = path.read_text(encoding="utf-8"), files_of(page)
        for name, shown in list(shown_outputs(page)):
            if name not in wanted:
                continue
            fresh = fresh_output(name, files)
            print(f"{page}: {name}: {'as it was' if comparable(fresh) == comparable(shown) else 'changed'}", flush=True)
            text = text.replace(f"<!-- output: {name} -->\n{shown}", f"<!-- output: {name} -->\n{fresh}")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
