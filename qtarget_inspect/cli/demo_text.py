"""The demo's tables as text of at most 110 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from qtarget_inspect.cli.console import WIDTH

if TYPE_CHECKING:
    import pandas as pd

    from qtarget_inspect.tables.telling import TellingToken

NO_CHANGE = 5e-4
"""Changes of Q below this are not worth a name in the text; the CSV file has them all."""


def described(about: Mapping[str, str]) -> str:
    """Names and what they are, folded at the width.

    Args:
        about: name -> words.

    Returns:
        The lines.
    """
    indent = 2 + max(map(len, about)) + 2
    lines = []
    for name, words in about.items():
        first, *others = wrap(words, WIDTH - indent) or [""]
        lines.append(f"  {name}".ljust(indent) + first)
        lines += [" " * indent + line for line in others]
    return "\n".join(lines)


def every_token(records: pd.DataFrame) -> str:
    """A line a token: its text, p_y, the teacher's p_y, and per loss gamma and Q on the label.

    Args:
        records: what `token_records` gave.

    Returns:
        The lines.
    """
    losses = records.drop_duplicates("loss")[["method", "gauge"]].to_dict("records")
    widest = max(5, *records["token"].map(len))
    left = 4 + widest + 14
    lines = [
        " " * left + "".join(f"  {loss['method']:<11}" for loss in losses),
        " " * left + "".join(f"  {loss['gauge']:<11}" for loss in losses),
        f" #  {'token':<{widest}}    p_y  teacher" + "  gamma   Q_y" * len(losses),
    ]
    for position, group in records.groupby("position", sort=True):
        rows = group.to_dict("records")
        models = f"{number(rows[0]['p_label'])}    {number(rows[0]['teacher_p_label'])}"
        line = f"{position:>2}  {rows[0]['token']:<{widest}}  {models}"
        lines.append(line + "".join(f"  {number(row['gamma'])} {number(row['q_label'])}" for row in rows))
    return "\n".join(line.rstrip() for line in lines)


def one_token(records: pd.DataFrame, token: TellingToken) -> str:
    """A line a loss for one token: gamma, Q on the label, the tokens that gain most, the one that loses most.

    Args:
        records: what `token_records` gave.
        token: which token, and why it is shown.

    Returns:
        The lines, headed by what the token is.
    """
    rows = records[records["position"] == token.index + 1].to_dict("records")
    first = rows[0]
    lines = [
        f'{token.name}: token {first["position"]}, "{first["token"]}": {token.why}',
        f"  p_y {number(first['p_label'])}, teacher {number(first['teacher_p_label'])}, "
        f"reference {number(first['reference_p_label'])}",
    ]
    gains = [_gains(row) for row in rows]
    width = max(len("gain most"), *map(len, gains))
    lines.append(f"  {'loss':<11} {'gauge':<10}  gamma    Q_y  {'gain most (Q - p)':<{width}}  loses most")
    for row, gain in zip(rows, gains, strict=True):
        numbers = f"{number(row['gamma'])}  {number(row['q_label'])}"
        loses = _change(row["loss_token"], row["loss_change"]) if row["loss_change"] < -NO_CHANGE else "none"
        lines.append(f"  {row['method']:<11} {row['gauge']:<10}  {numbers}  {gain:<{width}}  {loses}")
    return "\n".join(lines)


def number(value: float) -> str:
    """A probability or weight in exactly five columns.

    Args:
        value: the number.

    Returns:
        Three decimals, or an exponent where these would say nothing.

    Examples:
        >>> [number(v) for v in (1.0, 0.25, 0.00004, 0.0, -0.0123)]
        ['1.000', '0.250', '4e-05', '0.000', '-.012']
    """
    if math.isnan(value):
        return "    -"
    if 0 < abs(value) < 5e-4:
        return f"{value:5.0e}"[:5] if value > 0 else "-0.00"
    text = f"{value:5.3f}"
    return text if len(text) == 5 else text.replace("-0.", "-.")


def _gains(row: dict[str, Any]) -> str:
    places = [key.removesuffix("_token") for key in row if key.startswith("gain_") and key.endswith("_token")]
    found = [(row[f"{place}_token"], row[place]) for place in places if row[place] > NO_CHANGE]
    if not found:
        return "none by 0.0005 or more"
    text = "  ".join(_change(token, change) for token, change in found)
    return text if len(found) > 1 else f"{text}  (no other)"


def _change(token: str, change: float) -> str:
    return f'"{token}" {change:+.3f}'
