"""`qtarget-inspect bench`: how fast this machine inverts a loss, beside one softmax and beside the naive line."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from qtarget_inspect.cli.console import WIDTH, heading, print_table, say, working
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    from qtarget_inspect.benchmark.results import Results
    from qtarget_inspect.benchmark.setting import Setting

SUFFIXES = (".json", ".md")

QUICK_PARTS = ("plain", "generic", "closed-form", "top-k")
QUICK_SHAPE = "64x49152"
QUICK_ROUNDS = 5

EXAMPLES = """\b
Examples:
  qtarget-inspect bench --quick
  qtarget-inspect bench --shape 512x49152 --dtype bfloat16
  qtarget-inspect bench --only closed-form --rounds 31 --threads 1
  qtarget-inspect bench --real --out results.json
"""


def bench(
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKENSxVOCABULARY",
            help="Shape of the logits, as often as you like. By default 512x49152, 128x151936 and 4096x32000, as far "
            "as they fit into memory.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="[float32|bfloat16]", help="Type of the logits; Q is float32 in both.")
    ] = "float32",
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Rounds; 15 by default.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads of torch; by default as it is set.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="[cpu|cuda]", help="By default a GPU where torch sees one.")
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="SmolLM2's logits on worked problems too, 512x49152; needs the demo's extra.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="Only this part, as often as you like: plain, generic, compiled, closed-form, scalars, readings, "
            "top-k, identify, page-faults, compile-time. The floor is always there.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Half a minute: 64x49152, 5 rounds, nothing compiled. Its medians are rough."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all results there: .json every sample, .md the tables.")
    ] = None,
) -> None:
    """How fast targets are on this machine.

    Everything is timed in turn, round after round, and shown as a ratio to the floor, one softmax of the same
    logits into a tensor that is there already, and to the naive line p - vmap(grad(loss))(logits, labels). Peak
    memory is what a call takes over its inputs and its result.

    Times include giving back what was taken fresh. Without --quick a shape takes a minute or two.
    """
    _check_out(out)
    settings, parts, rounds = _plan(shape, dtype, rounds, device, real, only, quick)

    from qtarget_inspect.benchmark.running import fitting, run_benchmark

    settings = fitting(settings, notify=_notice)
    with working("timing"):
        results = run_benchmark(
            settings, rounds=rounds, only=parts, threads=threads, whole=() if quick else None, notify=_progress
        )
    show_results(results)
    if out is not None:
        _write(results, out)


def show_results(results: Results) -> None:
    """Print every table of a benchmark, the goals last.

    Args:
        results: the benchmark.
    """
    from qtarget_inspect.benchmark.report import verdict_counts
    from qtarget_inspect.benchmark.tables import goals_table, page_faults_table, seconds_table, timings_table

    for section in results.sections:
        if section.kind == "shape":
            heading(section.setting.text)
            print_table(timings_table(section), optional=("system", "peak MiB, torch", "ms"))
        elif section.kind != "kept memory" and section.timings:
            heading(section.kind)
            print_table(seconds_table(section))
        for notice in section.notices:
            say(fill(f"{notice}.", WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    faults = page_faults_table(results)
    if faults is not None:
        heading("page faults")
        print_table(faults)
    goals = goals_table(results)
    if len(goals):
        heading("goals (they are set for 512 x 49152 float32 on two cores)")
        print_table(goals)
    say("\n" + verdict_counts(results))
    say(fill(f"Medians [quartiles] of {results.rounds} rounds. {results.machine.text}.", WIDTH, break_on_hyphens=False))


def _plan(
    shape: list[str] | None,
    dtype: str,
    rounds: int | None,
    device: str | None,
    real: bool,
    only: list[str] | None,
    quick: bool,
) -> tuple[list[Setting], list[str], int]:
    """Settings, parts and rounds, checked before anything is computed."""
    import torch

    from qtarget_inspect.benchmark.running import check_parts
    from qtarget_inspect.benchmark.setting import DTYPES, REAL_VOCABULARY, SHAPES, Setting, parse_shape

    if dtype not in DTYPES:
        raise QTargetError(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    if device not in (None, "cpu", "cuda"):
        raise QTargetError(f"--device must be one of cpu, cuda, not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise QTargetError("--device cuda: torch sees no GPU here. Leave it out, or install a torch built for CUDA.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    parts = only or (list(QUICK_PARTS) if quick else check_parts(None))
    check_parts(parts)
    texts = shape or ([QUICK_SHAPE] if quick else [f"{rows}x{vocabulary}" for rows, vocabulary in SHAPES])
    shapes = [parse_shape(text) for text in texts]
    settings = [Setting(*sizes, dtype=dtype, device=device) for sizes in shapes]
    if real:
        rows = next((rows for rows, vocabulary in shapes if vocabulary == REAL_VOCABULARY), SHAPES[0][0])
        settings.append(Setting(rows, REAL_VOCABULARY, dtype, "smollm2", device))
    return settings, parts, rounds if rounds is not None else (QUICK_ROUNDS if quick else 15)


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir():
        raise QTargetError(f"--out {out} is a folder; name a file in it.")
    if not out.parent.is_dir():
        raise QTargetError(f"--out {out}: there is no folder {out.parent}.")
    if out.suffix.lower() not in SUFFIXES:
        raise QTargetError(f"--out {out}: end the name in {' or '.join(SUFFIXES)}.")


def _write(results: Results, out: Path) -> None:
    from qtarget_inspect.benchmark.report import markdown_report

    text = results.to_json() if out.suffix.lower() == ".json" else markdown_report(results)
    out.write_text(text, encoding="utf-8")
    say(f"Results written to {out}")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        _notice(text)


def _notice(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
