"""Points: flow ends and roots put together, duplicates merged, stability judged by the Jacobian or by the flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import SEED, Population, random_states
from qtarget_inspect.analysis.population.flow import Flow, follow
from qtarget_inspect.analysis.population.stationary import Solver, Stationary, faces
from qtarget_inspect.analysis.population.tolerances import DECISIVE, DEEP, SAME_POINT

ROOT_STARTS = 8
"""States from which roots are looked for besides the flow's ends."""

_ROUNDS = 3  # how often what the perturbed flow finds is taken up and perturbed in turn

_ONE_BY_ONE = 7  # died-out tokens up to which each is brought back alone; of more, the three likeliest

_ASIDE = 8.0  # nats below the living that a died-out token is put to see whether it comes back


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Where p rests under the flow of the expected gradient.

    Args:
        p: [V] probabilities, 0 where a token has died out; of a continuum, one of its points.
        stable: whether the flow returns after a small push; for a continuum, whether starts end on it.
        basin: share of the starts that flow there, 0 to 1.
        kind: "interior" (every token alive), "vertex" (one alive), "face" (some died out), or "continuum" (points next
            to it rest too, so where a start ends depends on the start).
        judged_by: what decided on stability: "jacobian" or "flow".
        growth: largest real part of the Jacobian's eigenvalues, constants projected out, in time in which a typical
            gradient is 1; below 0 a push dies out. NaN at a vertex and where the point was not solved for.
        residual: largest entry of E[g] among the tokens alive, against a typical gradient of 1; NaN where the point is
            the flow's end and no root was found there.
    """

    p: Tensor
    stable: bool
    basin: float
    kind: str
    judged_by: str
    growth: float
    residual: float

    def __repr__(self) -> str:
        """Kind, stability, basin and p."""
        word = "stable" if self.stable else "unstable"
        return f"FixedPoint({self.kind}, {word}, basin {self.basin:.2f}, p = {short(self.p)})"


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A point under construction; `root` is None for an end that no root was found at."""

    p: Tensor
    root: Stationary | None
    stable: bool | None = None
    judged_by: str = "flow"
    leads_to: frozenset[int | None] = frozenset()

    @property
    def continuum(self) -> bool:
        return self.root is not None and self.root.continuum

    def holds(self, p: Tensor, settled: bool) -> bool:
        """Whether a flow that ended at p ended here."""
        if not settled:
            return False
        if self.continuum:
            return bool(((p > SAME_POINT) <= (self.p > 0)).all())
        return _apart(self.p, p) < SAME_POINT


def find_points(population: Population, starts: Tensor) -> tuple[tuple[FixedPoint, ...], Flow, int]:
    """All points that flows and roots find.

    Args:
        population: loss, labels and context.
        starts: [M, V] logits to flow from.

    Returns:
        The points, those that most starts reach first; the flow; and how many starts came to rest so near to an
        unstable point that they count to the stable one that every push off it leads to.
    """
    solver = Solver(population, population.field(1))
    flow = follow(population, starts)
    found: list[_Candidate] = []
    for logits, settled in zip(flow.logits, flow.settled.tolist(), strict=True):
        if settled:
            _add_end(found, logits, solver)
    others = [*random_states(ROOT_STARTS, starts.shape[1], SEED + 1).log(), torch.zeros_like(starts[0])]
    for logits in (*others, *faces(population)):
        root = solver.solve(logits)
        if root is not None and solver.rests(root):
            _add(found, _Candidate(root.p, root), solver)
    first = sorted(
        found, key=lambda one: (not one.continuum, -int((one.p > 0).sum()))
    )  # what lies on a continuum is part of it
    found = []
    for candidate in first:
        _add(found, candidate, solver)
    for _ in range(_ROUNDS):
        undecided = [i for i, candidate in enumerate(found) if candidate.stable is None]
        if not undecided:
            break
        _judge(population, solver, found, undecided)
    reached = [0] * len(found)
    rerouted = 0
    places = _destinations(found)
    for p, settled in zip(flow.p, flow.settled.tolist(), strict=True):
        owner = _owner(found, p, settled)
        if owner is not None:
            place = places[owner]
            reached[owner if place is None else place] += 1
            rerouted += place is not None and place != owner
    points = [_finished(candidate, count / len(starts)) for candidate, count in zip(found, reached, strict=True)]
    return tuple(sorted(points, key=lambda point: (-point.basin, not point.stable))), flow, rerouted


def _add_end(found: list[_Candidate], logits: Tensor, solver: Solver) -> None:
    """Take up the end of a flow: the root there, or the end itself."""
    p = logits.softmax(-1)
    if any(not candidate.continuum and candidate.holds(p, settled=True) for candidate in found):
        return
    root = _without_dying(solver.solve(logits), logits, solver)
    if root is not None and (root.continuum or _apart(root.p, p) < 10 * SAME_POINT):
        _add(found, _Candidate(root.p, root), solver)
    elif _owner(found, p, settled=True) is None:
        found.append(_Candidate(p, None))


def _without_dying(root: Stationary | None, logits: Tensor, solver: Solver) -> Stationary | None:
    """The point on the face that an end lies next to, where no sound root is at it: a token dies out very slowly."""
    if root is not None and (root.continuum or not root.is_degenerate(solver.population.dtype)):
        return root
    p = logits.softmax(-1)
    face = solver.solve(torch.where(p < 10 * SAME_POINT, logits.amax() - DEEP, logits))
    near = face is not None and not face.continuum and _apart(face.p, p) < 10 * SAME_POINT
    return face if face is not None and near and solver.rests(face) else root


def _add(found: list[_Candidate], candidate: _Candidate, solver: Solver) -> None:
    """Take up a root, unless it is a known point, or lies on a known continuum."""
    for known in found:
        if known.continuum and candidate.continuum and bool(((known.p > 0) == (candidate.p > 0)).all()):
            return
        if known.continuum and _lies_on(candidate, known, solver):
            return
        if not known.continuum and not candidate.continuum and known.holds(candidate.p, settled=True):
            return
    found.append(candidate)


def _lies_on(candidate: _Candidate, continuum: _Candidate, solver: Solver) -> bool:
    """Whether a point belongs to a continuum: all of the way between them rests."""
    if bool(((candidate.p > 0) & (continuum.p == 0)).any()) or continuum.root is None:
        return False
    for share in (0.25, 0.5, 0.75):
        p = (1 - share) * continuum.p + share * candidate.p
        logits = torch.where(continuum.p > 0, p.log(), continuum.root.logits.amin())
        if not solver.rests(replace(continuum.root, logits=logits - logits.amax())):
            return False
    return True


def _owner(found: list[_Candidate], p: Tensor, settled: bool) -> int | None:
    """The candidate that an end belongs to: the nearest isolated one, else a continuum."""
    near = [i for i, candidate in enumerate(found) if not candidate.continuum and candidate.holds(p, settled)]
    if near:
        return min(near, key=lambda i: _apart(found[i].p, p))
    return next((i for i, candidate in enumerate(found) if candidate.continuum and candidate.holds(p, settled)), None)


def _judge(population: Population, solver: Solver, found: list[_Candidate], undecided: list[int]) -> None:
    """Decide on stability in place: by the Jacobian inside the simplex where it is decisive, else by the flow."""
    pushed: list[tuple[int, Tensor]] = []
    for i in undecided:
        candidate = found[i]
        by_jacobian = _by_jacobian(candidate, population)
        if by_jacobian is not None:
            found[i] = replace(candidate, stable=by_jacobian, judged_by="jacobian")
        elif candidate.continuum:
            found[i] = replace(candidate, stable=True)  # until no start is found to end there
        else:
            pushed += [(i, logits) for logits in _pushes(candidate, population.setting.q_star)]
    if not pushed:
        return
    flow = follow(population, torch.stack([logits for _, logits in pushed]))
    for logits, settled in zip(flow.logits, flow.settled.tolist(), strict=True):
        if settled:
            _add_end(found, logits, solver)
    owners = [_owner(found, p, settled) for p, settled in zip(flow.p, flow.settled.tolist(), strict=True)]
    for i in dict.fromkeys(i for i, _ in pushed):
        ends = {owner for (own, _), owner in zip(pushed, owners, strict=True) if own == i}
        found[i] = replace(found[i], stable=ends == {i}, judged_by="flow", leads_to=frozenset(ends - {i}))


def _by_jacobian(candidate: _Candidate, population: Population) -> bool | None:
    """Stability by linearisation; None on the boundary, and where an eigenvalue is zero up to rounding."""
    root = candidate.root
    if root is None or root.continuum or not bool(root.support.all()):
        return None
    largest = float(root.eigenvalues.real.max())
    if abs(largest) <= DECISIVE[population.dtype] * max(float(abs(root.eigenvalues).max()), 1e-3):
        return None
    return largest < 0


def _pushes(candidate: _Candidate, q_star: Tensor) -> list[Tensor]:
    """Logits a little off a point: all that died out brought back, then the likeliest of them one by one."""
    p, alive = candidate.p, candidate.p > 0
    base = torch.where(alive, p.clamp(min=torch.finfo(p.dtype).tiny).log(), 0.0)
    gone = torch.where(alive, -1.0, q_star).argsort(descending=True)[: int((~alive).sum())].tolist()
    wiggle = 0.02 * (1.0 - 2.0 * (torch.arange(len(p), dtype=p.dtype) % 2))
    pushes = []
    for sign in (1, -1) if int(alive.sum()) > 1 else (1,):
        moved = base + sign * wiggle * alive
        pushes.append(torch.where(alive, moved, -_ASIDE))
        for token in gone if len(gone) <= _ONE_BY_ONE else gone[:3]:
            one = torch.where(alive, moved, -2 * _ASIDE)
            one[token] = -_ASIDE
            pushes.append(one)
    return pushes


def _destinations(found: list[_Candidate]) -> list[int | None]:
    """For every point the stable one that p ends at: itself, or the only one that pushes off it lead to."""
    places: list[int | None] = []
    for i in range(len(found)):
        seen, ahead = set(), [i]
        while ahead:
            here = ahead.pop()
            if here not in seen:
                seen.add(here)
                ahead += [j for j in found[here].leads_to if j is not None]
        stable = [j for j in seen if found[j].stable]
        lost = any(None in found[j].leads_to for j in seen)
        places.append(i if found[i].stable else stable[0] if len(stable) == 1 and not lost else None)
    return places


def _finished(candidate: _Candidate, basin: float) -> FixedPoint:
    root, alive = candidate.root, int((candidate.p > 0).sum())
    kind = "interior" if alive == len(candidate.p) else "vertex" if alive == 1 else "face"
    if candidate.continuum:
        kind = "continuum"
    values = root.eigenvalues.real if root is not None else ()
    return FixedPoint(
        candidate.p,
        bool(candidate.stable) if kind != "continuum" else basin > 0,
        basin,
        kind,
        candidate.judged_by,
        float(max(values)) if len(values) else float("nan"),
        root.residual if root is not None else float("nan"),
    )


def short(p: Tensor) -> str:
    """Probabilities in a few digits, the first six of a long vector."""
    numbers = ", ".join(f"{x:.4g}" for x in p[:6].tolist())
    return f"[{numbers}{', ...' if len(p) > 6 else ''}]"


def _apart(a: Tensor, b: Tensor) -> float:
    """Total variation."""
    return 0.5 * float((a - b).abs().sum())
