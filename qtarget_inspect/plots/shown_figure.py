"""A figure that belongs to no window and still shows itself in a notebook."""

from __future__ import annotations

from io import BytesIO

import matplotlib as mpl
from matplotlib.figure import Figure

from qtarget_inspect.plots.style import SETTINGS


class ShownFigure(Figure):
    """A matplotlib figure that a notebook shows whether or not pyplot was ever used there."""

    def _repr_png_(self) -> bytes:
        """The figure as PNG; a notebook in which pyplot draws asks pyplot instead, so it is shown once."""
        held = BytesIO()
        with mpl.rc_context(SETTINGS):
            self.savefig(held, format="png", dpi=self.dpi, bbox_inches="tight", facecolor="white")
        return held.getvalue()
