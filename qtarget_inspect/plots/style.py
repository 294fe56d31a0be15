"""The style that all figures share: one colour a category, fonts that embed, one way to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

OTHER_COLOUR = "#7f7f7f"
MODEL_COLOUR = "#c8c8c8"
"""p, the model itself, is light grey in every figure."""

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
    with mpl.rc_context({**SETTINGS, **sizes}):
        yield


def colour_of(category: str) -> str:
    """The colour of a category, grey where it has none.

    Args:
        category: one of `CATEGORY_COLOURS`.

    Returns:
        A colour.

    Examples:
        >>> colour_of("label trust"), colour_of("of my own")
        ('#0072b2', '#7f7f7f')
    """
    return CATEGORY_COLOURS.get(category, OTHER_COLOUR)


def save_figure(figure: Figure, stem: Path | str, formats: Sequence[str] = ("png", "svg", "pdf")) -> list[Path]:
    """Save a figure in several formats.

    Args:
        figure: the figure.
        stem: path without suffix.
        formats: what to write.

    Returns:
        The files.
    """
    files = []
    with mpl.rc_context(SETTINGS):
        for format in formats:
            path = Path(f"{stem}.{format}")
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format, {})
            figure.savefig(path, dpi=220, metadata=dates, facecolor="white")
            files.append(path)
    return files
