"""Report: a whole benchmark as Markdown."""

from __future__ import annotations

import pandas as pd

from qtarget_inspect.benchmark.results import Results
from qtarget_inspect.benchmark.tables import goals_table, page_faults_table, seconds_table, timings_table
from qtarget_inspect.benchmark.verdicts import NOT_ASKED, verdicts


def markdown_report(results: Results) -> str:
    """Goals first, then every table behind them.

    Args:
        results: a benchmark.

    Returns:
        Markdown, headings of the third level.
    """
    parts = [
        results.machine.text + f". {results.rounds} rounds; medians [quartiles].",
        "### Goals",
        verdict_counts(results),
        *_goals(goals_table(results)),
    ]
    faults = page_faults_table(results)
    if faults is not None:
        parts += ["### Page faults", _markdown(faults)]
    for section in results.sections:
        if section.kind == "shape":
            parts += [f"### {section.setting.text}", _markdown(timings_table(section))]
        elif section.kind != "kept memory" and section.timings:
            title = section.kind if section.kind == "identify" else f"{section.kind}, {section.setting.text}"
            parts += [f"### {title.capitalize()}", _markdown(seconds_table(section))]
        parts += ["\n".join(f"* {notice}" for notice in section.notices)] if section.notices else []
    return "\n\n".join(parts) + "\n"


def verdict_counts(results: Results) -> str:
    """How many goals are met, in a sentence.

    Args:
        results: a benchmark.

    Returns:
        "41 met, 3 NOT met, 5 not measured."
    """
    found = [verdict.met for verdict in verdicts(results) if verdict.reason != NOT_ASKED]
    return f"{found.count(True)} met, {found.count(False)} NOT met, {found.count(None)} not measured."


def _goals(table: pd.DataFrame) -> list[str]:
    """The goals on the setting that stands first, narrow enough to be read at a glance, then on all others."""
    lines, others = table.iloc[:, :3], table.drop(columns=table.columns[2])
    others = others[(others.iloc[:, 2:] != "-").any(axis=1)]
    found = [_markdown(lines)]
    if others.shape[1] > 2:
        found += ["### The same on other shapes and types", _markdown(others)]
    return found


def _markdown(frame: pd.DataFrame) -> str:
    cells = frame.map(lambda text: str(text).replace("|", r"\|"))
    return cells.to_markdown(index=False, disable_numparse=True)
