"""Tolerances of the population view, in one place: how far to follow, what counts as zero, as equal, as one point."""

from __future__ import annotations

import torch

FLOW_END = 1e10
"""Flow time followed, in units in which a typical gradient is 1: what dies out like 1/t is below SUPPORT by then."""

FLOW_STEPS = 1000
"""Steps of the integrator after which a start that has not settled is left to small steps."""

SMALL_STEPS = 1500
"""Small steps taken where the gradient jumps: they get shorter, so that what is held at a jump comes to rest there."""

FLOW_RELATIVE, FLOW_ABSOLUTE = 1e-4, 1e-6
"""Error of a step in the logits. Ends are solved for afterwards: the flow only has to find the right one."""

WINDOW = {torch.float64: 22.0, torch.float32: 8.0}
"""-log(1 - max p), nats, from which on the flow is slowed, before rounding of 1 - p_y outweighs the gradient."""

SLOWDOWN = 4.0
"""How steeply: beyond the window, log-odds grow like log(t) / 4."""

AT_REST = 1e-6
"""Largest change of a logit per time at which a state well inside the simplex has arrived."""

WELL_INSIDE = 1e-4
"""Smallest probability of such a state: what dies out slowly would seem to rest, too."""

SUPPORT = {torch.float64: 1e-8, torch.float32: 1e-3}
"""A probability below this at the end of the flow has died out."""

SETTLED = 1e-5
"""Total variation that p may still move in per factor e of time, at the end of the flow."""

DEEP = 600.0
"""Nats below the likeliest token at which a token stands that has died out: e^-600 is still a number."""

SAME_POINT = 2e-3
"""Total variation within which a flow's end belongs to a point."""

STATIONARY = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Expected gradient, in units of a typical gradient, that counts as zero."""

DIFFERENCE = 1e-4
"""Step in a logit for differences of the expected gradient: its square, and float32 noise over it, are both small."""

SOLVER_STEP = {torch.float64: 1e-7, torch.float32: 1e-3}
"""Step in a logit with which the root finder differentiates."""

DECISIVE = {torch.float64: 1e-5, torch.float32: 1e-2}
"""An eigenvalue below this share of the largest is zero up to the error of differences: the flow decides then."""

TV_EQUAL = {torch.float64: 1e-7, torch.float32: 1e-4}
"""Total variation within which a learned distribution equals another."""

SUMS_TO_ONE = 1e-6
"""How far the probabilities that a user gives may be from summing to 1: rounding of float32."""
