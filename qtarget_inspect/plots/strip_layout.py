"""Layout of a strip of tokens: how large letters can be, where lines break, and how high all of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from qtarget_inspect.plots.style import MONO, plain, readable

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 24
"""Letters of a token, or of a method's name, after which it is cut."""

NARROWEST = 4
ABOVE = 2
"""Rows above the losses: the token, and p_y."""

BETWEEN = 1.4
"""Rows between two lines; the marks of the lower one stand in them."""

LETTER = 0.602
"""Width of a letter of DejaVu Sans Mono, in font sizes."""

ROW = 1.5
"""Height of a row, in font sizes."""

KEY_LINE = 1.5
"""Height of a line of the key, in rows."""

MARGIN = 0.9
"""Rows above the first line, for its marks."""

BAR = 17
"""Letters across the colour bar."""


@dataclass(frozen=True)
class Key:
    """What the key below a strip says.

    Args:
        marks: names of the telling tokens that occur.
        words: what the colour bar shows, the longest wording first.
        shown: whether there is a key at all.
    """

    marks: tuple[str, ...]
    words: tuple[str, ...]
    shown: bool

    def text(self, width: float) -> str:
        """The words that fit into so many letters."""
        return next((words for words in self.words if self._bar(words) <= width), self.words[-1])

    def lines(self, width: float) -> int:
        """1 where marks and colour bar fit side by side into so many letters, else 2."""
        marks = sum(0.95 * len(name) + 4 for name in self.marks)
        return 1 if not self.marks or marks + self._bar(self.words[0]) <= width else 2

    def rows(self, width: float) -> float:
        """How high it is, in rows."""
        return self.shown * (KEY_LINE * self.lines(width) + 1.2)

    @staticmethod
    def _bar(words: str) -> float:
        return 0.95 * len(words.replace("$\\gamma$", "g")) + BAR + 4


@dataclass(frozen=True)
class Frame:
    """How a strip lies in its box: x in letters from the left edge of the tokens, y in rows from the first line down.

    Args:
        size: of the font, in points.
        names: letters left of the tokens, for the methods' names.
        columns: letters in a line of tokens.
        width: letters across the box.
        height: rows down the box.
        places: (line, left edge, width) of each token.
        block: rows from a line to the next.
        key: what stands below.
    """

    size: float
    names: float
    columns: int
    width: float
    height: float
    places: list[tuple[int, float, float]]
    block: float
    key: Key

    @property
    def lines(self) -> int:
        """How many lines of tokens there are."""
        return self.places[-1][0] + 1

    @property
    def bottom(self) -> float:
        """Where the last line of tokens ends."""
        return self.lines * self.block - BETWEEN


def fit_strip(
    texts: Sequence[str], names: Sequence[str], columns: int | None, size: float, box: tuple[float, float], key: Key
) -> Frame:
    """The largest letters with which all of the text lies in a box.

    Args:
        texts: of the tokens.
        names: of the methods.
        columns: letters in a line; None for as many as fit.
        size: of the font at most, in points.
        box: width and height, in points.
        key: what stands below.

    Returns:
        Where everything goes.
    """
    left = names_width(names)
    block = len(names) + ABOVE + BETWEEN
    while True:
        width, height = box[0] / (LETTER * size), box[1] / (ROW * size)
        room = max(int(width - left), 2 * NARROWEST) if columns is None else columns
        places = place_tokens(texts, room)
        frame = Frame(size, left, room, max(width, left + room), height, places, block, key)
        needed = MARGIN + frame.bottom + key.rows(frame.width)
        if (needed <= height and left + room <= width + 0.01) or size < 1:
            return frame
        size *= 0.98


def names_width(names: Sequence[str]) -> float:
    """Room left of the tokens.

    Args:
        names: of the methods.

    Returns:
        Letters.
    """
    prop = FontProperties(family=mpl.rcParams["font.family"])
    widths = [float(TextPath((0, 0), plain(name), size=10, prop=prop).get_extents().x1) / 10 for name in names]
    return max(4.0, *widths) / LETTER + 2


def place_tokens(texts: Sequence[str], columns: int) -> list[tuple[int, float, float]]:
    """Where each token stands; a line break in the text ends no line of its own.

    Args:
        texts: of the tokens.
        columns: letters in a line.

    Returns:
        (line, left edge, width) of each, in letters.
    """
    places: list[tuple[int, float, float]] = []
    line, left = 0, 0.0
    for text in texts:
        width = float(max(NARROWEST, len(cut_text(text, columns - 1)) + 1))
        if left + width > columns and left > 0:
            line, left = line + 1, 0.0
        places.append((line, left, width))
        left += width
    return places


def cut_text(text: str, longest: int) -> str:
    """A text without what goes beyond a line or `LONGEST`.

    Args:
        text: any text.
        longest: letters that have room.

    Returns:
        The text, or its beginning with an ellipsis.

    Examples:
        >>> cut_text("sparkling", 20), cut_text("sparkling", 6)
        ('sparkling', 'spark…')
    """
    most = max(1, min(longest, LONGEST))
    return text if len(text) <= most else text[: most - 1] + "…"


def shown_names(methods: pd.DataFrame) -> list[str]:
    """Names, cut where long, with an asterisk in the normalized gauge where others are in the unit gauge.

    Args:
        methods: a row a loss: method and gauge.

    Returns:
        Names.
    """
    mixed = methods["gauge"].nunique() > 1
    return [
        cut_text(readable(method), LONGEST) + ("*" if mixed and gauge == "normalized" else "")
        for method, gauge in zip(methods["method"], methods["gauge"], strict=True)
    ]


def key_of(records: pd.DataFrame, marks: Sequence[str], *, shown: bool = True) -> Key:
    """What the key of a strip says.

    Args:
        records: rows of `qt.token_table`.
        marks: names of the marks there are.
        shown: whether there is to be a key.

    Returns:
        Marks that occur, and words for the colour bar.
    """
    gauges = records["gauge"].unique().tolist()
    words = f"{gauges[0]} gauge" if len(gauges) == 1 else "unit gauge; * normalized"
    short = words.replace(" gauge", "")
    wordings = (f"label trust $\\gamma$ ({words})", f"$\\gamma$ ({words})", f"$\\gamma$ ({short})", "$\\gamma$")
    found = set(records.get("telling", ()))
    return Key(tuple(name for name in marks if name in found), wordings, shown)


def strip_size(records: pd.DataFrame, columns: int, size: float, key: Key) -> tuple[float, float]:
    """How large a strip is.

    Args:
        records: rows of `qt.token_table`.
        columns: letters in a line.
        size: font size in points.
        key: what stands below.

    Returns:
        Width and height, in inches.
    """
    texts = records.drop_duplicates("position").sort_values("position")["token"].tolist()
    names = shown_names(records.drop_duplicates("loss"))
    lines = place_tokens([readable(text, MONO) for text in texts], columns)[-1][0] + 1
    rows = MARGIN + lines * (len(names) + ABOVE + BETWEEN) - BETWEEN
    width = columns + names_width(names)
    return width * LETTER * size / 72, (rows + key.rows(width)) * ROW * size / 72


def strip_columns(records: pd.DataFrame, width: float, size: float) -> int:
    """How many letters a line of tokens has.

    Args:
        records: rows of `qt.token_table`.
        width: of all, in inches.
        size: font size in points.

    Returns:
        Letters.
    """
    names = shown_names(records.drop_duplicates("loss"))
    return int(72 * width / (LETTER * size) - names_width(names))
