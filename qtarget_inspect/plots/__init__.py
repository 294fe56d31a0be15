"""Plots: records in, Axes out; nothing is computed here, and matplotlib is imported here only."""

from qtarget_inspect.plots.solution_figure import solution_figure
from qtarget_inspect.plots.style import CATEGORY_COLOURS, figure_style, save_figure
from qtarget_inspect.plots.target_bars import plot_target
from qtarget_inspect.plots.token_strip import plot_tokens

__all__ = ["CATEGORY_COLOURS", "figure_style", "plot_target", "plot_tokens", "save_figure", "solution_figure"]
