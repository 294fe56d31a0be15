"""Plots: records in, Axes out; nothing is computed here, and matplotlib is imported here only."""

from qtarget_inspect.plots.gamma_curve import plot_gamma
from qtarget_inspect.plots.gradient_curve import plot_gradient
from qtarget_inspect.plots.pull_curve import plot_pulls
from qtarget_inspect.plots.quadrants import plot_quadrants
from qtarget_inspect.plots.sensitivity_curve import plot_sensitivity
from qtarget_inspect.plots.simplex_flow import plot_simplex
from qtarget_inspect.plots.solution_figure import solution_figure
from qtarget_inspect.plots.style import CATEGORY_COLOURS, figure_style, save_figure
from qtarget_inspect.plots.table_figure import plot_table
from qtarget_inspect.plots.target_bars import plot_target
from qtarget_inspect.plots.target_curve import plot_q
from qtarget_inspect.plots.target_panels import plot_targets
from qtarget_inspect.plots.token_strip import plot_tokens
from qtarget_inspect.plots.trust_map import plot_trust_map

__all__ = [
    "CATEGORY_COLOURS",
    "figure_style",
    "plot_gamma",
    "plot_gradient",
    "plot_pulls",
    "plot_q",
    "plot_quadrants",
    "plot_sensitivity",
    "plot_simplex",
    "plot_table",
    "plot_target",
    "plot_targets",
    "plot_tokens",
    "plot_trust_map",
    "save_figure",
    "solution_figure",
]
