"""Fitting pulls to a gradient: least squares of g over a few directions, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction

RANK_TOLERANCE = 1e-13
"""Smallest eigenvalue of the scaled Gram matrix (squared singular value) that counts as a direction of its own."""

_BY_NAME = {
    "label": directions.label,
    "uniform": directions.uniform,
    "reference": directions.reference,
    "teacher": directions.teacher,
    "old_policy": directions.old_policy,
    "others": directions.others,
    "nowhere": directions.nowhere,
}


@dataclass(frozen=True)
class Fit:
    """Pull weights that explain a gradient best.

    Args:
        weights: direction name -> [N] float64.
        unexplained: [N] largest entry of |g - sum_j a_j d_j|.
        dependent: [N] bool, tokens whose directions are not independent; their weights are the smallest of many that
            fit equally.
        twins: other sets of as many directions that explain the gradient as well.
        saturated: whether there are as many directions as dimensions of the gradient (V - 1), so that any loss would be
            explained.
    """

    weights: dict[str, Tensor]
    unexplained: Tensor
    dependent: Tensor
    twins: tuple[tuple[str, ...], ...] = ()
    saturated: bool = False


def default_attractors(batch: TokenBatch) -> tuple[Direction, ...]:
    """Label, uniform, and the distributions that the batch holds.

    Args:
        batch: the tokens.

    Returns:
        The directions, label first.
    """
    held = [directions.context_model(name) for name in LOGIT_CONTEXT if getattr(batch, name) is not None]
    return (directions.label(), directions.uniform(), *held)


def choose_attractors(
    attractors: Sequence[str | Direction] | None, batch: TokenBatch, loses_mass: bool = False
) -> tuple[Direction, ...]:
    """Directions from names or directions; the default where nothing is said.

    Args:
        attractors: names ("label", "uniform", "reference", "teacher", "old_policy", "others", "nowhere") or
            `Direction`s.
        batch: the tokens.
        loses_mass: whether Q does not sum to 1; then the default holds "nowhere" too.

    Returns:
        The directions.

    Raises:
        QTargetError: a name is unknown, or the label is missing.
    """
    if isinstance(attractors, str):
        raise QTargetError(f"attractors must be a list of names or Directions, not the text {attractors!r}.")
    if attractors is None:
        return default_attractors(batch) + ((directions.nowhere(),) if loses_mass else ())
    chosen = []
    for attractor in attractors:
        if isinstance(attractor, str) and attractor not in _BY_NAME:
            raise QTargetError(
                f"no attractor is named {attractor!r}; named are {', '.join(_BY_NAME)}, or pass a Direction."
            )
        if not isinstance(attractor, str | Direction):
            raise QTargetError(f"an attractor is a name or a Direction, not {attractor!r}.")
        chosen.append(_BY_NAME[attractor]() if isinstance(attractor, str) else attractor)
    if "label" not in [direction.name for direction in chosen]:
        raise QTargetError("attractors must include 'label': gamma is the pull to it.")
    if len({direction.name for direction in chosen}) < len(chosen):
        raise QTargetError(f"attractors name a direction twice: {', '.join(direction.name for direction in chosen)}.")
    return tuple(chosen)


def fit_pulls(gradient: Tensor, batch: TokenBatch, attractors: Sequence[Direction]) -> Fit:
    """Least-squares pull weights, g = sum_j a_j d_j, with as few directions as explain every token of the batch.

    Sets of directions that hold the label are tried from small to large; the first that explains g up to rounding on
    all tokens is taken, or else all directions. So a loss of the label alone is not spread over a uniform that happens
    to be collinear with it on some tokens.

    The label's own entry is left out of the squares: where every direction sums to zero it follows from the others, and
    it alone has lost its relative precision at p_y -> 1. It does count in what is left unexplained.

    Args:
        gradient: [N, V] logit gradient of the per-token loss.
        batch: the tokens.
        attractors: J directions, the label among them.

    Returns:
        The weights (0 for directions that were not needed), what they leave unexplained, and where they are not unique.
    """
    names = [direction.name for direction in attractors]
    size = rows_per_chunk(batch.vocabulary * (len(attractors) + 2), torch.float64, batch.logits.device)
    chunks = list(row_chunks(len(batch), size))
    normal = _NormalEquations.join([
        _normal_equations(gradient[rows], batch.select(rows), attractors) for rows in chunks
    ])
    everything = tuple(range(len(names)))
    largest = gradient.abs().amax(-1).to(torch.float64)
    scale = float(largest.max())
    found: dict[tuple[int, ...], tuple[Fit, Tensor]] = {}

    def attempt(subset: tuple[int, ...], precision: float, rounding: float) -> Fit | None:
        """The fit over a subset, None where it leaves more than rounding on some token."""
        weights, dependent = normal.solve(subset)
        if not bool(
            (normal.missing(weights) <= (100 * precision) ** 2 * normal.energy + (rounding * scale) ** 2).all()
        ):
            return None
        if subset not in found:
            refined, unexplained = _refine(gradient, batch, attractors, normal, subset, weights, chunks)
            by_name = {name: refined[:, index] for index, name in enumerate(names)}
            found[subset] = Fit(by_name, unexplained, dependent), unexplained
        fit, unexplained = found[subset]
        pulls = torch.stack([weight.abs() for weight in fit.weights.values()]).sum(0).clamp(max=100 * scale)
        return fit if bool((unexplained <= precision * largest + rounding * pulls + tiny).all()) else None

    tiny = 1e-15 * scale
    double, single = (1e-7, 1e-12), (3e-5, 1e-6)  # share of g, and of the pulls: 1 - p_y is rounded in p_y's last place
    for precision, rounding in (double, single) if gradient.dtype == torch.float64 else (single,):
        for subset in _subsets(names):  # the second round is for losses that cast to float32 inside
            fit = attempt(subset, precision, rounding)
            if fit is not None:
                same_size = [other for other in _subsets(names) if len(other) == len(subset) and other != subset]
                twins = [other for other in same_size if attempt(other, precision, rounding) is not None]
                named = tuple(tuple(names[index] for index in other) for other in twins)
                return replace(fit, twins=named, saturated=len(subset) >= batch.vocabulary - 1)
    weights, dependent = normal.solve(everything)
    refined, unexplained = _refine(gradient, batch, attractors, normal, everything, weights, chunks)
    return Fit({name: refined[:, index] for index, name in enumerate(names)}, unexplained, dependent)


def _subsets(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Index sets that hold the label, small to large, everything last."""
    label = names.index("label")
    others = [index for index in range(len(names)) if index != label]
    if len(others) > 6:  # 64 sets at most; with more directions only the label alone and everything
        return [(label,), tuple(range(len(names)))]
    return [
        tuple(sorted((label, *chosen))) for count in range(len(others) + 1) for chosen in combinations(others, count)
    ]


@dataclass(frozen=True)
class _NormalEquations:
    """Scaled normal equations of N small least-squares problems."""

    gram: Tensor  # [N, J, J], columns scaled to length 1; 0 where a direction vanishes
    right: Tensor  # [N, J]
    scale: Tensor  # [N, J]
    energy: Tensor  # [N] sum of squares of g

    @classmethod
    def join(cls, parts: Sequence[_NormalEquations]) -> _NormalEquations:
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("gram", "right", "scale", "energy"))
        )

    def solve(self, subset: tuple[int, ...], right: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scaled weights [N, J] over a subset, and where its directions are dependent [N]."""
        index = list(subset)
        right = self.right if right is None else right
        values, vectors = torch.linalg.eigh(self.gram[:, index][:, :, index])
        live = values > RANK_TOLERANCE
        inverse = torch.where(live, 1 / torch.where(live, values, 1.0), 0.0)
        solution = torch.zeros_like(self.right)
        projected = (vectors.mT @ right[:, index].unsqueeze(-1)).squeeze(-1)
        solution[:, index] = (vectors @ (inverse * projected).unsqueeze(-1)).squeeze(-1)
        return solution, ~live.all(-1)

    def smallest(self, subset: tuple[int, ...], weights: Tensor) -> Tensor:
        """Of all true weights [N, J] that fit as well, the ones with the smallest norm.

        The null space of the scaled problem, scaled back, is taken out of the weights.

        Returns:
            [N, J] weights.
        """
        index = list(subset)
        values, vectors = torch.linalg.eigh(self.gram[:, index][:, :, index])
        dead = (values <= RANK_TOLERANCE).unsqueeze(1)  # [N, 1, J']
        null = torch.where(dead, vectors / self.scale[:, index].unsqueeze(-1), 0.0)
        length = null.square().sum(1, keepdim=True).sqrt()
        null = null / torch.where(length == 0, 1.0, length)
        gram = null.mT @ null + torch.diag_embed((length.squeeze(1) == 0).to(null.dtype))
        share = torch.linalg.pinv(gram, hermitian=True) @ (null.mT @ weights[:, index].unsqueeze(-1))
        smallest = weights.clone()
        smallest[:, index] -= (null @ share).squeeze(-1)
        return smallest

    def missing(self, weights: Tensor) -> Tensor:
        """[N] squares that the weights leave, from the normal equations (good to about 1e-15 of the whole)."""
        explained = (weights * (2 * self.right - (self.gram @ weights.unsqueeze(-1)).squeeze(-1))).sum(-1)
        return self.energy - explained - 1e-14 * self.energy


def _columns(batch: TokenBatch, attractors: Sequence[Direction]) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Directions [n, V, J], the same without the label's entry, the size of p there [n], whether the label was kept."""
    state = State(batch, torch.float64)
    whole = torch.stack([direction.gradient(state) for direction in attractors], -1)
    if any(direction.kind == "nowhere" for direction in attractors):
        return whole, whole, state.p.square().sum(-1).sqrt(), True
    label = batch.labels.view(-1, 1, 1).expand(-1, 1, len(attractors))
    p_others = state.p.scatter(-1, batch.labels.unsqueeze(-1), 0.0)
    return whole, whole.scatter(1, label, 0.0), p_others.square().sum(-1).sqrt(), False


def _without_label(values: Tensor, batch: TokenBatch, keep: bool) -> Tensor:
    values = values.to(torch.float64)
    return values if keep else values.scatter(1, batch.labels.unsqueeze(-1), 0.0)


def _normal_equations(gradient: Tensor, batch: TokenBatch, attractors: Sequence[Direction]) -> _NormalEquations:
    _, columns, size, keep = _columns(batch, attractors)
    target = _without_label(gradient, batch, keep)
    scale = columns.square().sum(1).sqrt()
    vanishing = scale <= 1e-13 * size.unsqueeze(-1)  # the reference equals the model: only rounding is left of p - b
    scale = torch.where(vanishing, torch.inf, scale)
    columns = columns / scale.unsqueeze(1)
    return _NormalEquations(
        columns.mT @ columns, (columns.mT @ target.unsqueeze(-1)).squeeze(-1), scale, target.square().sum(-1)
    )


def _refine(
    gradient: Tensor,
    batch: TokenBatch,
    attractors: Sequence[Direction],
    normal: _NormalEquations,
    subset: tuple[int, ...],
    weights: Tensor,
    chunks: Sequence[slice],
) -> tuple[Tensor, Tensor]:
    """One step of iterative refinement; returns true weights [N, J] and what they leave unexplained [N]."""
    right, refined, unexplained = torch.zeros_like(weights), torch.empty_like(weights), torch.empty_like(weights[:, 0])
    for rows in chunks:
        _, columns, _, keep = _columns(batch.select(rows), attractors)
        columns = columns / normal.scale[rows].unsqueeze(1)
        left = _without_label(gradient[rows], batch.select(rows), keep) - (
            columns @ weights[rows].unsqueeze(-1)
        ).squeeze(-1)
        right[rows] = (columns.mT @ left.unsqueeze(-1)).squeeze(-1)
    refined = normal.smallest(subset, (weights + normal.solve(subset, right)[0]) / normal.scale)
    for rows in chunks:
        whole, _, _, _ = _columns(batch.select(rows), attractors)
        explained = (whole @ refined[rows].unsqueeze(-1)).squeeze(-1)
        unexplained[rows] = (gradient[rows].to(torch.float64) - explained).abs().amax(-1)
    return refined, unexplained
