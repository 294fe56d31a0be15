"""Writers: a table as text, Markdown, LaTeX, HTML, CSV or JSON, by pandas' own writers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import pandas as pd

from qtarget_inspect.core.errors import QTargetError

Format = Literal["text", "markdown", "latex", "html", "csv", "json"]

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    "‖": r"\ensuremath{\|}",
}


def write_table(frame: pd.DataFrame, format: Format = "text") -> str:
    """Write a table.

    CSV and JSON hold every column at full precision; the others hold what people read, rounded. LaTeX needs only
    amsmath and booktabs.

    Args:
        frame: what `unification_table` or `compare` returned, or any DataFrame.
        format: "text" (aligned columns), "markdown", "latex", "html", "csv" or "json".

    Returns:
        The table as text.

    Raises:
        QTargetError: the format is none of these.

    Examples:
        >>> import qtarget_inspect as qt
        >>> print(write_table(qt.unification_table("label-trust"), "csv").splitlines()[0][:40])
        method,category,loss,claimed_gamma,claim
    """
    writers: dict[str, Callable[[pd.DataFrame], str]] = {
        "text": _text,
        "markdown": _markdown,
        "latex": _latex,
        "html": _html,
        "csv": lambda table: table.to_csv(index=False),
        "json": _json,
    }
    if format not in writers:
        raise QTargetError(f"format must be one of {', '.join(get_args(Format))}, not {format!r}.")
    return writers[format](frame)


ROUNDING = 1e-15
"""Means smaller than this are shown as 0; the table itself holds them as they are."""


def display_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that people read, as text: numbers rounded, truths as yes and NO.

    Args:
        frame: any table; a unification table gets its own short columns.

    Returns:
        A DataFrame of strings.

    Examples:
        >>> import qtarget_inspect as qt
        >>> list(display_table(qt.unification_table("label-trust")).columns)[:5]
        ['method', 'category', 'gamma', 'residual', 'gauge']
    """
    records = frame.to_dict("records")
    if "claimed_gamma" in frame.columns:
        found = {**frame.attrs.get("unclaimed", {}), **frame.attrs.get("found", {})}
        return pd.DataFrame([_unification_row(row, found.get(row["method"], {})) for row in records])
    if "gamma_low" in frame.columns:
        return pd.DataFrame([_comparison_row(row) for row in records])
    return frame.map(show)


def show(value: Any) -> str:
    """One cell as people read it.

    Args:
        value: any value of a table.

    Returns:
        Text: numbers with up to four digits, truths as yes and NO, nothing as "-".

    Examples:
        >>> [show(v) for v in (0.123456, 2.2e-16, True, False, None, 3)]
        ['0.1235', '2e-16', 'yes', 'NO', '-', '3']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    return str(value)


def _unification_row(row: dict[str, Any], found: dict[str, str]) -> dict[str, str]:
    """Claims stand alone where they hold, with what inversion finds where they fail; where none is made, that alone."""

    def claimed(name: str) -> str:
        claim = row[f"claimed_{name}"]
        if name not in found or found[name] == claim:
            return claim
        return found[name] if claim == "-" else f"claimed: {claim}; found: {found[name]}"

    return {
        "method": row["method"],
        "category": row["category"],
        "gamma": claimed("gamma"),
        "residual": claimed("residual"),
        "gauge": show(row["gauge"]),
        "holds": show(row["holds"]),
        "max error": show(row["max_error"]),
        "gamma range": _span(row["gamma_min"], row["gamma_max"]),
        "Q a distribution": _is_distribution(row),
    }


def _comparison_row(row: dict[str, Any]) -> dict[str, str]:
    """Means with their intervals; a mean over part of the tokens says over which share."""

    def interval(name: str, share: str | None = None) -> str:
        mean, low, high = (_without_rounding(row[name + end]) for end in ("", "_low", "_high"))
        if math.isnan(mean):
            return "undefined"
        text = f"{mean:.3g}" if low == high or math.isnan(low) else f"{mean:.3g} [{low:.3g}, {high:.3g}]"
        if share is not None and row[share] < 1:
            text += f" on {100 * row[share]:.0f} %"
        return text

    return {
        "loss": row["loss"],
        "gauge": row["gauge"],
        "gamma": interval("gamma", "gamma_defined"),
        "5 % to 95 %": _span(row["gamma_q05"], row["gamma_q95"]),
        "TV(Q, p)": interval("total_variation"),
        "KL(Q‖p)": interval("kl_to_model", "kl_defined"),
        "H(residual)": interval("residual_entropy", "residual_defined"),
        "negative mass": interval("negative_mass"),
        "signed": "-" if math.isnan(row["signed"]) else f"{100 * row['signed']:.0f} %",
    }


def _without_rounding(value: float) -> float:
    """0 for what rounding leaves of it, -2e-18 say: a mean of zeros that were worked out."""
    return 0.0 if abs(value) < ROUNDING else value


def _span(low: Any, high: Any) -> str:
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "-"
    return show(float(low)) if high - low < 1e-9 else f"{show(float(low))} to {show(float(high))}"


def _is_distribution(row: dict[str, Any]) -> str:
    if row["signed"] is None or (isinstance(row["signed"], float) and math.isnan(row["signed"])):
        return "-"
    if row["signed"]:
        return f"no (down to {row['min_q']:.2g})"
    return "yes" if row["mass_error"] < 1e-4 else f"no (mass off by {row['mass_error']:.1g})"


def _notes(frame: pd.DataFrame) -> list[str]:
    if "note" not in frame.columns:
        return []
    return [f"{row['method']}: {row['note']}" for row in frame.to_dict("records") if row["note"]]


def _text(frame: pd.DataFrame) -> str:
    table = display_table(frame)
    widths = [max(len(str(name)), *(len(text) for text in table[name]), 1) for name in table.columns]
    lines = ["  ".join(str(name).ljust(width) for name, width in zip(table.columns, widths, strict=True)).rstrip()]
    lines += [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines) + "\n"


def _markdown(frame: pd.DataFrame) -> str:
    table = display_table(frame).map(lambda text: text.replace("|", r"\|"))
    body = table.to_markdown(index=False, disable_numparse=True)
    notes = "\n".join(f"* {note}" for note in _notes(frame))
    return f"{body}\n" + (f"\n{notes}\n" if notes else "")


def _html(frame: pd.DataFrame) -> str:
    table = display_table(frame)
    styled = (
        table.style
        .format(escape="html")
        .hide(axis="index")
        .set_table_attributes('class="qtarget-table"')
        .set_table_styles([
            {"selector": "", "props": "border-collapse: collapse; font-size: 0.9em"},
            {
                "selector": "th",
                "props": "text-align: left; border-bottom: 1px solid currentColor; padding: 2px 10px 2px 0",
            },
            {"selector": "td", "props": "text-align: left; padding: 2px 10px 2px 0"},
        ])
    )
    if "holds" in table.columns:
        styled = styled.map(lambda text: "font-weight: bold" if text == "NO" else "", subset=["holds"])
    notes = "".join(f"<li>{_escape_html(note)}</li>" for note in _notes(frame))
    return styled.to_html() + (f"<ul>{notes}</ul>\n" if notes else "")


def _escape_html(text: str) -> str:
    from html import escape

    return escape(text)


def _json(frame: pd.DataFrame) -> str:
    records = [{key: _json_value(value) for key, value in row.items()} for row in frame.to_dict("records")]
    about = {key: value for key, value in frame.attrs.items() if key != "latex"}
    return json.dumps({**about, "rows": records}, indent=2, ensure_ascii=False) + "\n"


def _json_value(value: Any) -> Any:
    """The value as JSON has it: numpy's numbers as Python's, NaN as null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _latex(frame: pd.DataFrame) -> str:
    """A booktabs tabular; the unification table has its formulas and footnotes in LaTeX."""
    table = display_table(frame).map(escape_latex)
    table.columns = [escape_latex(str(name)) for name in table.columns]
    notes: list[str] = []
    if "claimed_gamma" in frame.columns:
        table, notes = _latex_unification(frame, table)
    body = table.style.hide(axis="index").to_latex(hrules=True, column_format="l" * len(table.columns))
    return body + "".join(f"\n\\par\\smallskip\\noindent{{\\footnotesize {note}}}\n" for note in notes)


def _latex_unification(frame: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Formulas instead of plain text; what inversion finds where a claim fails goes into a footnote."""
    formulas, found, unclaimed = (frame.attrs.get(name, {}) for name in ("latex", "found", "unclaimed"))
    loss, notes = [], []
    for index, method in zip(table.index, frame["method"], strict=True):
        formula = formulas.get(method, {})
        loss.append(_mathematics(formula.get("loss", "-")))
        for column in ("gamma", "residual"):
            if f"claimed_{column}" in formula and method not in unclaimed:
                mark = r"$^\dagger$" if method in found else ""
                table.loc[index, column] = _mathematics(formula[f"claimed_{column}"]) + mark
        if method in found:
            words = {name: escape_latex(text) for name, text in found[method].items()}
            notes.append(
                rf"$^\dagger$ {escape_latex(method)}: the claim does not hold; "
                rf"inversion finds $\gamma$ = {words['gamma']}, "
                f"residual = {words['residual']} (unit gauge)."
            )
    table.insert(1, "loss", loss)
    table = table.drop(columns=["category", "gamma range"])
    return table.rename(columns={"gamma": r"$\gamma$", "Q a distribution": "$Q$ a distribution"}), notes


def _mathematics(formula: str) -> str:
    words = {"-", "model", "uniform", "reference", "teacher"}
    return escape_latex(formula) if formula in words else f"${formula}$"


def escape_latex(text: str) -> str:
    r"""Text with LaTeX's special characters made harmless.

    Args:
        text: plain text.

    Returns:
        LaTeX that prints the same.

    Examples:
        >>> print(escape_latex("p_y^0.5 & 10 %"))
        p\_y\textasciicircum{}0.5 \& 10 \%
    """
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)
