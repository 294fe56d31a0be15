"""The style that all figures share: one colour a category, one line style a role, fonts that embed, one way to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.tables.method_titles import method_titles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CATEGORY_COLOURS = {
    "one-hot": "#4d4d4d",
    "label trust": "#0072b2",
    "residual distribution": "#d55e00",
    "both": "#009e73",
    "regulariser": "#cc79a7",
    "divergence": "#e69f00",
    "policy gradient": "#56b4e9",
    "preference": "#b3a100",
}
"""Okabe and Ito's colours, told apart with any common kind of colour blindness."""

OTHER_COLOUR = "#882255"
"""Losses without a category; one of Tol's colours, since grey is the model's."""

MODEL_COLOUR = "#c8c8c8"
"""p, the model itself, is light grey in every figure."""

MODEL_LINE = "#a6a6a6"
"""p as a line, which light grey would lose."""

FRAME = "#dddddd"
"""Lines at 0 and 1."""

INK = "#333333"
"""Text and lines that belong to no category."""

ROLE_STYLES = {"label": "-", "other": "--", "teacher_token": ":"}
"""One line style a role: what happens at the label, at the model's favourite other token, at the teacher's."""

SHADES = (0.0, -0.35, 0.2)
"""How far the losses of one category go from its colour toward black (below 0) or white: not so far that blue and
orange both end near black, nor that blue ends at another category's sky blue. Three shades and ten marks have no common
factor, so thirty losses differ."""

MARKS = ("", "o", "s", "^", "D", "v", "P", "X", "<", ">")
"""Marks of the losses of one category, so that they are told apart without colour too."""

MONO = "DejaVu Sans Mono"
"""The font of token texts."""

GAMMA_COLOURS = "Blues"
"""Colour map of label trust: one hue, light to dark, so that it survives a grey printer."""

SETTINGS = {
    "font.family": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType, embedded whole letters instead of Type 3 drawings
    "ps.fonttype": 42,
    "svg.fonttype": "path",  # letters as outlines: the same on every machine
    "svg.hashsalt": "qtarget_inspect",  # the same file for the same figure
}


@contextmanager
def figure_style(size: float = 7.0) -> Iterator[None]:
    """Draw in the shared style inside the block.

    Args:
        size: font size in points.

    Yields:
        None.
    """
    sizes = dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), size)
    sizes |= {"axes.titlesize": size, "legend.fontsize": size, "xtick.major.size": 2.0, "ytick.major.size": 2.0}
    sizes |= {"xtick.minor.size": 1.2, "ytick.minor.size": 1.2, "lines.linewidth": 0.16 * size}
    with mpl.rc_context({**SETTINGS, **sizes}):
        yield


def colour_of(category: str) -> str:
    """The colour of a category, wine red where it has none.

    Args:
        category: one of `CATEGORY_COLOURS`.

    Returns:
        A colour.

    Examples:
        >>> colour_of("label trust"), colour_of("of my own")
        ('#0072b2', '#882255')
    """
    return CATEGORY_COLOURS.get(category, OTHER_COLOUR)


def shaded(colour: str, amount: float) -> str:
    """A colour on its way to white or black.

    Args:
        colour: any colour.
        amount: from -1 (black) over 0 (the colour) to 1 (white).

    Returns:
        A colour.

    Examples:
        >>> shaded("#0072b2", -0.5), shaded("#0072b2", 0.5)
        ('#003959', '#80b9d8')
    """
    end = 1.0 if amount > 0 else 0.0
    return to_hex([value + abs(amount) * (end - value) for value in to_rgb(colour)])


def legible(colour: str) -> str:
    """A colour dark enough for small letters on white: itself, or a darker shade of it.

    The contrast is WCAG's, 1.05 / (luminance + 0.05), and 3 is asked for.

    Args:
        colour: any colour.

    Returns:
        A colour.

    Examples:
        >>> legible("#0072b2"), legible("#e69f00")
        ('#0072b2', '#c48700')
    """
    for darker in range(0, 100, 5):
        shade = shaded(colour, -darker / 100)
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(shade)]
        if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] <= 0.3:
            return shade
    return "#000000"


def line_styles(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How to draw a line of each loss: its category's colour, and a shade and a mark of its own within the category.

    Dashes are left free: they tell roles apart (`ROLE_STYLES`).

    Args:
        records: column loss, and category where it is known; losses in the order they appear.

    Returns:
        loss -> keywords of `Axes.plot`.

    Examples:
        >>> import pandas as pd
        >>> records = pd.DataFrame({"loss": ["dft", "eaft"], "category": ["label trust"] * 2})
        >>> {loss: (style["color"], style["marker"]) for loss, style in line_styles(records).items()}
        {'dft': ('#0072b2', ''), 'eaft': ('#004a74', 'o')}
    """
    check_columns(records, ("loss",), "line_styles")
    styles: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    losses = records.drop_duplicates("loss")
    categories = losses["category"] if "category" in losses else [""] * len(losses)
    for loss, category in zip(losses["loss"], categories, strict=True):
        colour = colour_of(category)
        place = seen[colour] = seen.get(colour, -1) + 1
        styles[loss] = {
            "color": shaded(colour, SHADES[place % len(SHADES)]),
            "marker": MARKS[place % len(MARKS)],
            "markevery": (0.03 + 0.04 * place % 0.12, 0.16),  # in lengths of the diagonal: apart along the line
            "markersize": 0.45 * mpl.rcParams["font.size"],
            "markeredgewidth": 0.0,
        }
    return styles


def display_names(records: pd.DataFrame) -> dict[str, str]:
    """What each loss is called in a picture, as `plain` text: see `tables.method_titles`.

    Args:
        records: columns loss and title (or method).

    Returns:
        loss -> name.

    Examples:
        >>> import pandas as pd
        >>> display_names(pd.DataFrame({"loss": ["asft(kl_weight=0.1)", "mine"], "title": ["ASFT", "mine"]}))
        {'asft(kl_weight=0.1)': 'ASFT (kl_weight=0.1)', 'mine': 'mine'}
    """
    losses = records.drop_duplicates("loss")
    names = losses["loss"].tolist()
    titles = method_titles(names, losses["title" if "title" in losses else "method"].tolist())
    return {name: plain(title) for name, title in zip(names, titles, strict=True)}


def readable(text: str, family: str | None = None) -> str:
    r"""A text whose letters all have a shape in a font: others are written as Python escapes.

    Args:
        text: a name or a token's text.
        family: the font's; by default those that are set now (`font.family`).

    Returns:
        The text; line breaks stay.

    Examples:
        >>> readable("a 日", MONO)
        'a \\u65e5'
    """
    families = [family] if family else list(mpl.rcParams["font.family"])
    return "".join(
        letter if letter == "\n" or _has_shape(letter, families) else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _has_shape(letter: str, families: Sequence[str]) -> bool:
    """Whether a printable letter has a shape in one of the fonts, upright and bold."""
    return letter.isprintable() and any(
        all(get_font(findfont(_properties(name, weight))).get_char_index(ord(letter)) for weight in ("normal", "bold"))
        for name in families
    )


def _properties(family: str, weight: str) -> FontProperties:
    return FontProperties(family=[family], weight=weight)


def plain(text: str, family: str | None = None) -> str:
    r"""A text that a figure shows as it is: `readable`, and no formula although it has dollar signs.

    For every name and token text that others chose; what matplotlib is to typeset may stand beside it.

    Args:
        text: a name or a token's text.
        family: the font's; by default those that are set now (`font.family`).

    Returns:
        The text as matplotlib takes it.

    Examples:
        >>> plain("$x_1$")
        '\\$x_1\\$'
    """
    return readable(text, family).replace("$", r"\$")


def check_columns(records: Any, columns: Sequence[str], plot: str, source: str = "") -> None:
    """Refuse what is no table with these columns.

    Args:
        records: what was handed over.
        columns: the columns that are needed.
        plot: who needs them.
        source: what makes such a table.

    Raises:
        QTargetError: it is no DataFrame, columns are missing, or it has no rows.
    """
    remedy = f" {source} makes such a table." if source else ""
    if not hasattr(records, "columns") or not hasattr(records, "iloc"):
        raise QTargetError(f"{plot} takes a DataFrame, not {type(records).__name__}.{remedy}")
    missing = [name for name in columns if name not in records.columns]
    if missing:
        raise QTargetError(
            f"{plot} needs the columns {', '.join(columns)}; the table has no {', '.join(missing)}.{remedy}"
        )
    if len(records) == 0:
        raise QTargetError(f"{plot} got a table without rows.{remedy}")


class OwnFigure(Figure):
    """A figure made for one plot: it may grow for what stands outside the axes."""


def new_axes(width: float = 4.5, height: float = 3.0) -> Axes:
    """Axes of a new figure, for a plot that was given none.

    Args:
        width: inches.
        height: inches.

    Returns:
        The axes.
    """
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained", FigureClass=OwnFigure)[1]


def dress(ax: Axes) -> None:
    """Give axes the shared style now: ticks are made late, and would take the style of the time they are drawn.

    Args:
        ax: the axes.
    """
    ax.spines[["top", "right"]].set_visible(False)
    for side in ax.spines.values():
        side.set_linewidth(mpl.rcParams["axes.linewidth"])
    for axis in ("x", "y"):
        ax.tick_params(
            axis=axis, labelsize=mpl.rcParams[f"{axis}tick.labelsize"], width=mpl.rcParams[f"{axis}tick.major.width"]
        )


def fitting_text(ax: Axes, texts: Sequence[str], length: float) -> str:
    """The first of several wordings that fits, else the last.

    Args:
        ax: axes of the figure they are for, for its resolution.
        texts: wordings, the longest first.
        length: pixels of the axis; a twentieth is left over, since a layout may still shrink it.

    Returns:
        One of them.
    """
    for text in texts[:-1]:
        probe = ax.text(0, 0, text)
        width = probe.get_window_extent().width
        probe.remove()
        if width <= 0.95 * length:
            return text
    return texts[-1]


def save_figure(figure: Figure, stem: Path | str, formats: Sequence[str] = ("png", "svg", "pdf")) -> list[Path]:
    """Save a figure in several formats.

    Args:
        figure: the figure.
        stem: path without suffix: "trust" becomes trust.png and its like.
        formats: what to write.

    Returns:
        The files.

    Raises:
        QTargetError: `formats` is no list of formats that matplotlib writes, or there is no such folder.
    """
    known = set(figure.canvas.get_supported_filetypes())
    wrong = [formats] if isinstance(formats, str) else [one for one in formats if one not in known]
    if wrong:
        raise QTargetError(
            f"save_figure: formats must be a list such as ['png', 'pdf'], of {', '.join(sorted(known))}; not "
            f"{wrong[0]!r}."
        )
    if not Path(stem).resolve().parent.is_dir():
        raise QTargetError(f"save_figure: there is no folder {Path(stem).parent}; make it first.")
    files = []
    with mpl.rc_context(SETTINGS):
        for format in formats:
            path = Path(f"{stem}.{format}")
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format, {})
            figure.savefig(path, dpi=220, metadata=dates, facecolor="white")
            files.append(path)
    return files
