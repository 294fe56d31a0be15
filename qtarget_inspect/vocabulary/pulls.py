"""Pulls: a loss as the short sum of directions it pulls in, g = sum_j a_j d_j; all closed forms follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.laws import Law, constant

LABEL = "label"


@dataclass(frozen=True)
class Pull:
    """One direction with its weight.

    Args:
        direction: where to.
        weight: how strongly, [N] as a function of the state; negative pushes away.
    """

    direction: Direction
    weight: Law


@dataclass(frozen=True)
class Pulls:
    """A loss as its pulls: g = sum_j a_j d_j.

    In the unit gauge Q = p - g = (1 - S) p + sum_j a_j b_j over the *toward* terms (minus tilts and losses), S = sum_j
    a_j.

    Args:
        terms: the pulls.

    Examples:
        >>> from qtarget_inspect.vocabulary import directions, laws
        >>> asft = Pulls.of((directions.label(), laws.label_prob()), (directions.reference(), 0.05))
        >>> asft.text
        '{label: p_y, reference: 0.05}'
    """

    terms: tuple[Pull, ...]

    @classmethod
    def of(cls, *terms: tuple[Direction, Law | float]) -> Pulls:
        """Pulls from (direction, weight) pairs; a number is a constant weight."""
        return cls(tuple(Pull(d, w if isinstance(w, Law) else constant(w)) for d, w in terms))

    def __iter__(self) -> Iterator[Pull]:
        """The terms."""
        return iter(self.terms)

    @property
    def requires(self) -> tuple[str, ...]:
        """Context that the pulls need."""
        return tuple(dict.fromkeys(name for t in self.terms for name in t.direction.requires + t.weight.requires))

    @property
    def text(self) -> str:
        """The pulls in plain text."""
        return "{" + ", ".join(f"{t.direction.name}: {t.weight.text}" for t in self.terms) + "}"

    @property
    def latex(self) -> str:
        """The pulls in LaTeX, as a sum of weighted attractors."""
        return " + ".join(rf"({t.weight.latex})\,{t.direction.latex}" for t in self.terms)

    def weights(self, state: State) -> dict[str, Tensor]:
        """The weights a_j, [N] each, by direction name; equal directions are added.

        Args:
            state: the whole batch's state (a trajectory weight needs all of it).

        Returns:
            name -> [N].
        """
        weights: dict[str, Tensor] = {}
        for term in self.terms:
            value = term.weight(state)
            weights[term.direction.name] = (
                weights[term.direction.name] + value if term.direction.name in weights else value
            )
        return weights

    @property
    def directions(self) -> dict[str, Direction]:
        """The directions by name."""
        return {term.direction.name: term.direction for term in self.terms}

    def total(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Total pull S [N]: the sum of the weights of the *toward* terms."""
        return total_pull(self.directions, weights)

    def gradient(self, state: State, weights: Mapping[str, Tensor]) -> Tensor:
        """Logit gradient g = sum_j a_j d_j.

        Args:
            state: some rows.
            weights: name -> [n], the same rows' weights.

        Returns:
            [n, V] gradient.
        """
        gradient = torch.zeros_like(state.p)
        for name, direction in self.directions.items():
            gradient.addcmul_(weights[name].unsqueeze(-1), direction.gradient(state))
        return gradient

    def target(self, state: State, weights: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
        """Induced target in the unit gauge, Q = (1 - S) p + sum_j a_j b_j - tilts.

        Args:
            state: some rows.
            weights: name -> [n], the same rows' weights.
            out: [n, V] where to write Q.

        Returns:
            [n, V] Q.
        """
        remaining = (1 - self.total(weights)).unsqueeze(-1)
        if out is None or out.dtype != state.dtype:
            q = state.context("logits").softmax(-1)
        else:
            q = torch.softmax(state.context("logits"), -1, out=out)
        extra = [d for d in self.directions.values() if d.kind != "toward"]
        tilts = [(weights[d.name].unsqueeze(-1), d.gradient(state)) for d in extra]
        q.mul_(remaining)
        for name, direction in self.directions.items():
            weight = weights[name].unsqueeze(-1)
            if name == LABEL:
                q.scatter_add_(-1, state.labels.unsqueeze(-1), weight)
            elif direction.kind == "toward":
                q.addcmul_(weight, direction.values(state))
        for weight, gradient in tilts:
            q.addcmul_(weight, gradient, value=-1)
        if out is not None and out is not q:
            out.copy_(q)
            return out
        return q

    def detached_loss(self) -> Callable[..., Tensor]:
        """The loss sum_j sg(a_j) CE(sg b_j, p), whose gradient is that of the pulls (toward terms only).

        Returns:
            A loss (logits [N, V], labels [N], **context) -> [N].

        Raises:
            ValueError: a tilt or a loss of mass has no cross-entropy form.
        """
        if any(term.direction.kind != "toward" for term in self.terms):
            raise ValueError(f"{self.text}: only pulls toward a distribution have the form of a cross-entropy.")
        return _DetachedLoss(self)


@dataclass(frozen=True)
class _DetachedLoss:
    """sum_j sg(a_j) CE(sg b_j, p) as a callable loss."""

    pulls: Pulls

    def __call__(self, logits: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        """Per-token values [N]."""
        from qtarget_inspect.core.batch import TokenBatch
        from qtarget_inspect.core.numerics import expectation

        state = State(TokenBatch.unchecked({"logits": logits.detach(), "labels": labels, **context}))
        log_p = logits.log_softmax(-1)
        values = torch.zeros_like(log_p[:, 0])
        for name, weight in self.pulls.weights(state).items():
            values = values - weight * expectation(self.pulls.directions[name].values(state), log_p)
        return values


def total_pull(directions: Mapping[str, Direction], weights: Mapping[str, Tensor]) -> Tensor:
    """Total pull S: the sum of the weights of the *toward* directions.

    Args:
        directions: by name.
        weights: name -> [N].

    Returns:
        [N] S.
    """
    toward = [weights[name] for name, direction in directions.items() if direction.kind == "toward"]
    if toward:
        return torch.stack(toward).sum(0)
    return torch.zeros_like(next(iter(weights.values())))


def natural_gauge(directions: Mapping[str, Direction], weights: Mapping[str, Tensor], tolerance: float = 1e-9) -> str:
    """The gauge in which a loss reads naturally.

    Only label pulls: unit. S = 1 everywhere: both agree, unit. S = 0 everywhere: unit. Otherwise normalized.

    Args:
        directions: by name.
        weights: name -> [N].
        tolerance: how far from 0 or 1 the total pull may lie.

    Returns:
        "unit" or "normalized".
    """
    live = [name for name, weight in weights.items() if bool((weight.abs() > tolerance).any())]
    if all(name == LABEL or directions[name].kind != "toward" for name in live):
        return "unit"
    total = total_pull(directions, weights)
    for level in (0.0, 1.0):
        if bool(((total - level).abs() <= tolerance).all()):
            return "unit"
    return "normalized"
