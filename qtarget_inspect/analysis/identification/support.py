"""Support: the fewest directions that explain a gradient, jointly over all probe states; numbers are estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from qtarget_inspect.analysis.identification.families import Family, families, fixed_directions
from qtarget_inspect.analysis.identification.numbers import digits_of, polished, shortest
from qtarget_inspect.analysis.identification.observation import Observation
from qtarget_inspect.analysis.identification.screening import Members, rough_squares, screened_tokens, squares_left
from qtarget_inspect.analysis.identification.spans import Left, Rows
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction

TOLERANCE_IN_EPS = {True: 4e6, False: 100.0}
"""Share of a row's largest gradient that counts as explained, in units of the machine precision: float64, float32."""

TELLING_TOKENS = 40
"""Tokens of a batch that directions are chosen on; all tokens are explained afterwards, or the choice falls."""

TRIED_TOGETHER = 3
"""Sets of up to so many directions are all tried."""

LARGEST_WITH_FAMILY = 3
"""The most directions of a set of which one has a number to be found."""

REFINED = 8
"""How many of the most promising members of families are refined."""

HOPELESS = 1e-2
"""A member that leaves more than this share is not polished: rounding of its number does not leave so much."""

REFINED_ENTRIES = 250_000
"""Entries of g on which the number of a family member is bracketed."""

SILENT = 32
"""A gradient whose largest entry is below this many units of the machine precision is rounding."""

LIMIT = {True: 1e-3, False: 1e-2}
"""For float64 and float32: a member so near to a limit of its family says no more than the tangent there, a tilt, which
is tried on its own."""

SHORT = 6
"""A number of so many digits is taken to be exact."""

ROUGH = 1e-2
"""Where a member leaves less than this share, products alone do not tell how little."""

SCREEN = 0.8
"""A family is refined where its nearest member leaves no more than this share of what the other directions leave."""


@dataclass(frozen=True)
class Support:
    """Directions that explain a gradient.

    Args:
        directions: the fewest that do; empty where the gradient is zero or unexplained.
        explained: whether they explain every telling token up to the loss's own rounding.
        share: the largest share of a row's gradient that they leave.
        numbers: what was estimated: name -> number.
        twins: other sets of as many directions that explain it as well.
        remake: the same directions with another number, where one was estimated to no short one.
    """

    directions: tuple[Direction, ...]
    explained: bool
    share: float
    numbers: dict[str, float] = field(default_factory=dict)
    twins: tuple[tuple[str, ...], ...] = ()
    remake: Callable[[float], tuple[Direction, ...]] | None = field(default=None, repr=False)


def find_support(observations: Sequence[Observation], context: Sequence[str]) -> Support:
    """The fewest directions whose span holds the gradient of every token.

    Directions without a number to be estimated come first: where all of them together explain the gradient, the fewest
    that do are taken. Otherwise one has a number, and sets with it are tried from small to large. Among equally small
    sets the order of precedence decides, and the others are named as twins. Directions that the loss cannot see (the
    teacher, for a loss that takes none) are not tried.

    Args:
        observations: gradients on states.
        context: context that the loss can see.

    Returns:
        The support.
    """
    telling = [_telling(one) for one in observations if len(one.batch)]
    telling = [one for one in telling if len(one.batch)]
    if not telling or max(float(one.size.max()) for one in telling) <= SILENT * telling[0].eps:
        return Support((), True, 0.0)
    eps = telling[0].eps
    tolerance = eps * TOLERANCE_IN_EPS[eps < 1e-12]
    rows = [Rows(one, tolerance) for one in telling]
    lost = any(one.loses_mass for one in rows)
    nowhere = (directions.nowhere(),) if lost else ()
    if max(one.relative(one.gradient) for one in rows) <= tolerance:
        return Support(nowhere, True, 0.0)
    fixed = [direction for direction in fixed_directions(context) if direction.kind != "nowhere"]
    columns = [{d.name: one.column(d) for d in fixed} for one in rows]
    start = [Left.start(one.gradient) for one in rows]

    def left_by(names: Sequence[str], before: Sequence[Left]) -> list[Left]:
        for name in names:
            before = [part.without(column[name]) for part, column in zip(before, columns, strict=True)]
        return list(before)

    def share_of(parts: Sequence[Left]) -> float:
        return max(one.relative(part.rest) for one, part in zip(rows, parts, strict=True))

    everything = share_of(left_by([d.name for d in fixed], start))
    if everything <= tolerance:
        return _fewest_fixed(fixed, start, left_by, share_of, tolerance, nowhere)
    left: dict[tuple[int, ...], list[Left]] = {(): start}
    for size in range(1, LARGEST_WITH_FAMILY + 1):
        found = _with_families(rows, left, fixed, size, tolerance, families(context))
        if found is not None:
            return replace(found, directions=(*found.directions, *nowhere))
        if size < LARGEST_WITH_FAMILY:
            for chosen in combinations(range(len(fixed)), size):
                left[chosen] = left_by([fixed[chosen[-1]].name], left[chosen[:-1]])
    return Support((), False, everything)


def _fewest_fixed(
    fixed: Sequence[Direction],
    start: Sequence[Left],
    left_by: Callable[[Sequence[str], Sequence[Left]], list[Left]],
    share_of: Callable[[Sequence[Left]], float],
    tolerance: float,
    nowhere: tuple[Direction, ...],
) -> Support:
    """The fewest fixed directions where all together explain g: up to three by trying all sets, more by leaving out."""
    names = [direction.name for direction in fixed]
    for size in range(1, TRIED_TOGETHER + 1):
        found = []
        for chosen in combinations(range(len(fixed)), size):
            share = share_of(left_by([names[i] for i in chosen], start))
            if share <= tolerance:
                found.append((chosen, share))
        if found:
            twins = tuple(tuple(names[i] for i in chosen) for chosen, _ in found[1:])
            return Support((*(fixed[i] for i in found[0][0]), *nowhere), True, found[0][1], {}, twins)
    kept = list(fixed)
    for direction in reversed(fixed):
        fewer = [one for one in kept if one is not direction]
        if share_of(left_by([one.name for one in fewer], start)) <= tolerance:
            kept = fewer
    return Support((*kept, *nowhere), True, share_of(left_by([one.name for one in kept], start)))


def _telling(observed: Observation) -> Observation:
    """Tokens on which directions stand apart: a gradient that is not rounding, p_y neither 0 nor 1."""
    p, size = observed.state.p_label, observed.size
    live = size > 1e-12 * size.max()
    middling = (size > 1e-7 * size.max()) & (p > 1e-3) & (p < 1 - 1e-3)
    chosen = (middling if int(middling.sum()) >= 8 else live).nonzero().flatten()
    step = max(1, len(chosen) // TELLING_TOKENS)
    return observed.rows(chosen[::step])


def _with_families(
    rows: Sequence[Rows],
    left: dict[tuple[int, ...], list[Left]],
    fixed: Sequence[Direction],
    size: int,
    tolerance: float,
    known: Sequence[Family],
) -> Support | None:
    """A set of `size` directions that holds one family member, None where no set explains the gradient."""
    promising: list[tuple[float, int, Family, tuple[int, ...], float]] = []
    step = [max(1, len(one.gradient) // screened_tokens(one)) for one in rows]
    thin = [one.every(n) for one, n in zip(rows, step, strict=True)]
    for order, family in enumerate(known):
        width = len(family.make(family.grid[0]))
        bases = [chosen for chosen in left if len(chosen) == size - width]
        # a first look at the smallest vocabulary; a top k needs all of them
        seen = range(len(rows)) if family.whole else [int(np.argmin([one.gradient.shape[1] for one in rows]))]
        members = {i: Members.of(family, thin[i]) for i in seen}
        for chosen in bases:
            parts = {i: left[chosen][i].every(step[i]) for i in seen}
            before = np.sqrt(sum((part.rest**2).sum() for part in parts.values()))
            ratio = np.sqrt(sum(rough_squares(part, members[i]) for i, part in parts.items())) / before
            close = np.flatnonzero(ratio < ROUGH)
            if close.size:
                ratio[close] = (
                    np.sqrt(sum(squares_left(part, members[i].some(close)) for i, part in parts.items())) / before
                )
            for i in _local_minima(ratio):
                if ratio[i] < SCREEN:
                    promising.append((float(ratio[i]), order, family, chosen, family.grid[i]))
    promising.sort(key=lambda one: one[0])
    found = []
    for _, order, family, chosen, start in promising[:REFINED]:
        number = start if family.whole else _refined(rows, left[chosen], family, start)
        share = _share(rows, left[chosen], family, number)
        near = LIMIT[rows[0].observed.eps < 1e-12]
        if share <= tolerance and all(abs(number - limit) > near for limit in family.limits):
            found.append((order, family, chosen, number, share))
    if not found:
        return None
    _, family, chosen, number, share = min(found, key=lambda one: one[0])
    number = shortest(number, lambda value: _share(rows, left[chosen], family, value), tolerance, share, inverse=True)
    share = _share(rows, left[chosen], family, number)
    others = tuple(fixed[i] for i in chosen)
    remake = (
        None if digits_of(number) <= SHORT or digits_of(1 / number) <= SHORT else (lambda a: (*others, *family.make(a)))
    )
    return Support((*others, *family.make(number)), True, share, {family.name: number}, remake=remake)


def _local_minima(values: np.ndarray) -> Iterator[int]:
    padded = np.concatenate([[np.inf], values, [np.inf]])
    yield from np.flatnonzero((padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:])).tolist()


def _rests(rows: Sequence[Rows], parts: Sequence[Left], family: Family, number: float) -> np.ndarray:
    """What is left of all rows with one member, flat."""
    left = []
    for one, part in zip(rows, parts, strict=True):
        for direction in family.make(number):
            part = part.without(one.column(direction))
        left.append(part.rest.ravel())
    return np.concatenate(left)


def _share(rows: Sequence[Rows], parts: Sequence[Left], family: Family, number: float) -> float:
    slack = np.concatenate([np.broadcast_to(one.slack, one.gradient.shape).ravel() for one in rows])
    return float((np.abs(_rests(rows, parts, family, number)) / slack).max())


def _refined(rows: Sequence[Rows], parts: Sequence[Left], family: Family, start: float) -> float:
    """The number that leaves least: bracketed by its neighbours on the grid, then Gauss-Newton to rounding."""
    from scipy.optimize import minimize_scalar  # heavy, so not at import

    grid = list(family.grid)
    place = grid.index(start)
    low = grid[place - 1] if place else max(start - 0.5 * abs(grid[1] - grid[0]), family.low)
    high = grid[place + 1] if place + 1 < len(grid) else min(start + (start - grid[place - 1]), family.high)

    def trusted(some: Sequence[Rows], left: Sequence[Left], number: float) -> np.ndarray:
        trust = np.concatenate([np.broadcast_to(one.trust, one.gradient.shape).ravel() for one in some])
        return trust * _rests(some, left, family, number)

    def rests(number: float) -> np.ndarray:
        return trusted(rows, parts, number)

    # of a large vocabulary the bracket is narrowed on fewer tokens; what is found is polished on all
    step = [max(1, one.gradient.size // REFINED_ENTRIES) for one in rows]
    some = [one if n == 1 else one.every(n) for one, n in zip(rows, step, strict=True)]
    left = [part.every(n) for part, n in zip(parts, step, strict=True)]

    def squares(number: float) -> float:
        return float((trusted(some, left, number) ** 2).sum())

    number = float(minimize_scalar(squares, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).x)
    if _share(some, left, family, number) > HOPELESS:
        return number
    margin = 2e-5 * max(abs(number), 0.1)  # polishing looks to both sides
    if not family.low + margin < number < family.high - margin:
        return number
    return polished(rests, number, (family.low, family.high))
