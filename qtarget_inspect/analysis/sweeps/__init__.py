"""Sweeps: what losses teach along a range of made-up states or of their own parameters.

states      made-up tokens, fixed by a few numbers       <- geometric    a distribution of a given entropy
grids       the values that are swept by default         <- points       states and parameters of a sweep, one a point
subjects    losses, with a parameter set where asked
procedure   sweep(losses, over=...), all of it           -> rows         the columns of one loss
"""

from qtarget_inspect.analysis.sweeps.procedure import sweep
from qtarget_inspect.analysis.sweeps.states import LABEL_TOKEN, OTHER_TOKEN, sweep_states, teacher_token

__all__ = ["LABEL_TOKEN", "OTHER_TOKEN", "sweep", "sweep_states", "teacher_token"]
