"""Draw docs/images/overview.png, the picture at the top of the README: one real token under three losses.

    python tools/draw_overview.py

The same worked solution as in `make demo`, read by the same model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from qtarget_inspect.cli.demo_records import read_losses
from qtarget_inspect.core.token_texts import token_texts
from qtarget_inspect.models.worked_solution import WorkedSolution, worked_solution
from qtarget_inspect.plots import figure_style, plot_target, save_figure
from qtarget_inspect.tables.target_table import target_table

TOKEN = 18
"""Which token of the solution, counted from 1: "he" in "So he drank"."""

TEACHES = {
    "sft": "trusts the label,\nwhatever the model thinks",
    "dft": "trusts the label as far\nas the model does",
    "target-sft": "… and moves the rest\nhalfway to a teacher",
}


def records(solution: WorkedSolution) -> pd.DataFrame:
    """p and Q of the token under the losses, as `plot_target` takes them."""
    readings = read_losses(tuple(TEACHES), solution.batch)
    return target_table(list(readings.values()), TOKEN - 1, texts=partial(token_texts, solution.lm.tokenizer))


def draw(targets: pd.DataFrame, tokens: list[str], model: str) -> Figure:
    """Draw the sentence, and below it a panel a loss, with what moves and the residual at the bars."""
    with figure_style(9.5):
        figure = Figure(figsize=(9, 3.1))
        axes = figure.subplots(1, 3, sharex=True)
        figure.subplots_adjust(left=0.085, right=0.985, top=0.64, bottom=0.15, wspace=0.32)
        for ax, (loss, group) in zip(axes, targets.groupby("loss", sort=False), strict=True):
            plot_target(group, key=False, ax=ax)
            ax.set_title(f"{group['method'].iloc[0]}: $\\gamma$ = {group['gamma'].iloc[0]:.2g}", weight="bold", pad=30)
            teaches = TEACHES[loss.partition("(")[0]]
            ax.text(0.5, 1.04, teaches, transform=ax.transAxes, ha="center", va="bottom", size=8.5)
            ax.set_xlim(0, 1.19)
        before, token = "".join(tokens[TOKEN - 9 : TOKEN - 1]).replace("\n", " "), tokens[TOKEN - 1].strip()
        figure.text(
            0.5,
            0.935,
            f"… {before}  [ {token} ]      where the model puts p (grey), and where a loss pulls it: Q = p − dL/dz",
            ha="center",
            va="center",
            size=10,
        )
        figure.text(0.985, 0.012, model, ha="right", va="bottom", size=7, color="#555555")
    return figure


def main() -> None:
    """Draw and save."""
    solution = worked_solution()
    folder = Path(__file__).resolve().parents[1] / "docs" / "images"
    folder.mkdir(exist_ok=True)
    marks = "unit gauge; bold: the label; tick: the residual; · is a space"
    caption = f"{solution.lm.description}; a worked solution of reasoning-gym; {marks}"
    figure = draw(records(solution), list(solution.batch.tokens or ()), caption)
    for path in save_figure(figure, folder / "overview", formats=("png",)):
        print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
