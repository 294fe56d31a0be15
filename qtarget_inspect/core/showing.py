"""Showing: a result with a headline, labelled lines and warnings, as plain text and as HTML for a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

WIDTH = 120
"""Columns of the plain text."""

NAME_WIDTH = 48
"""Columns of the name, before the headline."""


def in_text(name: str, headline: str, lines: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    """A result as aligned plain text, broken at words where it would be wider than a terminal.

    Args:
        name: what it is about.
        headline: what stands beside the name.
        lines: label and text of every line.
        warnings: sentences, each after a "!".

    Returns:
        The text.

    Examples:
        >>> print(in_text("dft", "unit gauge", [("gamma", "p_y")], ["look twice"]))
        dft                                             unit gauge
          gamma     p_y
          ! look twice
    """
    shown = [f"{name:<{NAME_WIDTH}}{headline}"]
    shown += [_filled(f"  {label:<10}", text) for label, text in lines]
    return "\n".join(shown + [_filled("  ! ", warning) for warning in warnings])


def in_html(name: str, headline: str, lines: Sequence[tuple[str, str]], warnings: Sequence[str], more: str = "") -> str:
    """A result as HTML, everything escaped but `more`.

    Args:
        name: what it is about.
        headline: what stands beside the name.
        lines: label and text of every line.
        warnings: sentences.
        more: HTML that follows.

    Returns:
        One `<div>`.
    """
    rows = "".join(
        f"<tr><td style='padding-right:1.5em;vertical-align:top'>{escape(label)}</td>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for label, text in lines
    )
    said = "".join(f"<div>&#9888; {escape(warning)}</div>" for warning in warnings)
    return f"<div><b>{escape(name)}</b> &nbsp; {escape(headline)}<table>{rows}</table>{said}{more}</div>"


def _filled(head: str, text: str) -> str:
    """A labelled line."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        break_long_words=False,
    )
