"""Fitting pulls to a gradient: least squares of g over a few directions, token by token.

attractors        names -> directions
problem           a gradient and the directions to fit to it
normal_equations  small scaled least-squares problems, one a token: solved, their rank, their smallest weights
plain             the sums of them in float64, from the directions written out
structure         directions as combinations of few rows         -> streamed  the same sums in float32, in one pass
search            fit_pulls(...): the fewest directions that explain every token
"""

from qtarget_inspect.analysis.fitting.attractors import choose_attractors, default_attractors
from qtarget_inspect.analysis.fitting.search import Fit, fit_pulls

__all__ = ["Fit", "choose_attractors", "default_attractors", "fit_pulls"]
