"""Pulls: a loss as the short sum of directions it pulls in, g = sum_j a_j d_j; all closed forms follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.vocabulary import directions as attractors
from qtarget_inspect.vocabulary.detached_loss import DetachedLoss
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.formula import Law, constant
from qtarget_inspect.vocabulary.rows import add_label

LABEL = "label"

PullGauge = Literal["unit", "normalized"]

_NEUTRAL = 1e-9  # a total pull this near to 1 leaves the model no share


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

    In the unit gauge Q = p - g = (1 - S) p + sum_j a_j b_j over the *toward* terms, less tilts and what is lost;
    S = sum_j a_j over the same terms.

    Args:
        terms: the pulls. Terms of equal directions add; different directions must have different names.

    Examples:
        >>> from qtarget_inspect.vocabulary import directions, laws
        >>> asft = Pulls.of((directions.label(), laws.label_prob()), (directions.reference(), 0.05))
        >>> asft.text
        '{label: p_y, reference: 0.05}'
    """

    terms: tuple[Pull, ...]

    def __post_init__(self) -> None:
        """Refuse no terms at all, and two directions under one name."""
        if not self.terms:
            raise QTargetError("pulls need one term at least: Pulls.of((direction, weight), ...).")
        known = {LABEL: attractors.label()}
        for term in self.terms:
            direction = term.direction
            if known.setdefault(direction.name, direction) != direction:
                raise QTargetError(
                    f"two different directions are named {direction.name!r} ({known[direction.name].text}; "
                    f"{direction.text}). Give one of them another name, or use the same object twice."
                )

    @classmethod
    def of(cls, *terms: tuple[Direction, Law | float]) -> Pulls:
        """Pulls from (direction, weight) pairs.

        Args:
            *terms: a direction, and its weight: a law, or a number for a constant one.

        Returns:
            The pulls.

        Raises:
            QTargetError: a term is no such pair, there is none, or two directions share a name.
        """
        return cls(tuple(_pull(term) for term in terms))

    def __iter__(self) -> Iterator[Pull]:
        """The terms."""
        return iter(self.terms)

    @property
    def requires(self) -> tuple[str, ...]:
        """Context that the pulls need."""
        return tuple(dict.fromkeys(name for t in self.terms for name in t.direction.requires + t.weight.requires))

    @property
    def row_local(self) -> bool:
        """Whether a token's weights follow from its own row, so that they may be computed chunk by chunk."""
        return all(term.weight.row_local for term in self.terms)

    @property
    def text(self) -> str:
        """The pulls in plain text."""
        return "{" + ", ".join(f"{t.direction.short}: {t.weight.text}" for t in self.terms) + "}"

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

    @cached_property
    def directions(self) -> dict[str, Direction]:
        """The directions by name."""
        return {term.direction.name: term.direction for term in self.terms}

    def total(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Total pull S [N]: the sum of the weights of the *toward* terms."""
        return total_pull(self.directions, weights)

    def gamma_law(self, gauge: PullGauge = "unit", total_pull: Tensor | None = None) -> Law:
        """Label trust as a law: the label's pull a_label in the unit gauge, a_label / S in the normalized one.

        Args:
            gauge: "unit" or "normalized".
            total_pull: [N] S on some tokens. Where it is 1 on all of them the two gauges agree, and the shorter formula
                is given.

        Returns:
            The law, with its formula; NaN where S is 0 throughout, which leaves no normalized gauge.

        Raises:
            QTargetError: there is no such gauge.

        Examples:
            >>> from qtarget_inspect.vocabulary import directions, laws
            >>> pulls = Pulls.of((directions.label(), 1 - laws.label_prob()), (directions.reference(), 0.5))
            >>> pulls.gamma_law("unit").text, pulls.gamma_law("normalized").text
            ('1 - p_y', '(1 - p_y) / (1 - p_y + 0.5)')
        """
        _check_gauge(gauge)
        trust, total = _sum(self._weights_to_label), self._total_law
        if gauge == "unit" or trust.number == 0 or self._is_complete(total_pull):
            return trust
        if total.number == 0:
            return _UNDEFINED
        return constant(1.0) if not self._others else trust / total

    def residual_text(self, gauge: PullGauge = "unit", total_pull: Tensor | None = None) -> str:
        """Where the mass goes that the label does not get, in words.

        Args:
            gauge: "unit" or "normalized".
            total_pull: [N] S on some tokens; where it is 1 on all of them, the model has no share.

        Returns:
            A phrase: the directions with their pulls, the model where it has a share, then tilts and what is lost.

        Raises:
            QTargetError: there is no such gauge.

        Examples:
            >>> from qtarget_inspect.vocabulary import directions
            >>> Pulls.of((directions.label(), 0.5), (directions.tilt(), 0.1)).residual_text()
            'model, with tilt by log p (pull 0.1)'
        """
        _check_gauge(gauge)
        without_model = gauge == "normalized" or self._is_complete(total_pull)
        if gauge == "normalized" and self._total_law.number == 0:
            toward = "undefined (total pull 0)"
        elif not self._others:
            only_label = without_model and bool(self._weights_to_label)
            toward = "none (gamma is 1)" if only_label else "model"
        elif len(self._others) == 1 and without_model:
            toward = self._others[0].direction.text
        else:
            toward = "mix of " + ", ".join(([] if without_model else ["model"]) + [_words(t) for t in self._others])
        extra = [_words(term) for term in self.terms if term.direction.kind != "toward"]
        return ", with ".join([toward, " and ".join(extra)]) if extra else toward

    @property
    def _weights_to_label(self) -> list[Law]:
        return [term.weight for term in self.terms if term.direction.name == LABEL]

    @property
    def _others(self) -> list[Pull]:
        """The terms toward anything but the label."""
        return [t for t in self.terms if t.direction.kind == "toward" and t.direction.name != LABEL]

    @property
    def _total_law(self) -> Law:
        """S as a law, the label's weight first."""
        return _sum(self._weights_to_label + [term.weight for term in self._others])

    @cached_property
    def model_share(self) -> float | None:
        """1 - S, what the unit gauge leaves to the model; None where it differs from token to token."""
        number = self._total_law.number
        if number is None:
            return None
        return 0.0 if math.isclose(number, 1.0, abs_tol=1e-12) else 1 - number

    def _is_complete(self, total_pull: Tensor | None) -> bool:
        """Whether S is 1: by its formula, or on all the tokens that are given."""
        number = self._total_law.number
        if number is not None:
            return math.isclose(number, 1.0, abs_tol=_NEUTRAL)
        return total_pull is not None and bool(((total_pull - 1).abs() < _NEUTRAL).all())

    def gradient(self, state: State, weights: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
        """Logit gradient g = sum_j a_j d_j.

        Args:
            state: some rows.
            weights: name -> [n], the same rows' weights.
            out: [n, V] where to write g.

        Returns:
            [n, V] gradient.
        """
        gradient = torch.zeros_like(state.p) if out is None else out.zero_()
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
        if out is None or out.dtype != state.dtype:
            q = state.context(MODEL).softmax(-1)
        else:
            q = torch.softmax(state.context(MODEL), -1, out=out)
        self.turn(q, state, weights)
        if out is not None and out is not q:
            out.copy_(q)
            return out
        return q

    def turn(self, p: Tensor, state: State, weights: Mapping[str, Tensor]) -> None:
        """Turn the rows of p into those of Q, in place.

        Args:
            p: [n, V] softmax of the logits, which the state may have been lent; becomes Q. Anything where
                `model_share` is 0.
            state: the same rows.
            weights: name -> [n], the same rows' weights.
        """
        toward = {name: direction for name, direction in self.directions.items() if direction.kind == "toward"}
        extra = [direction for direction in self.directions.values() if direction.kind != "toward"]
        tilts = [(weights[direction.name].unsqueeze(-1), direction.gradient(state)) for direction in extra]
        state.take_back()  # from here on p is on its way to Q
        others = [(weights[name].unsqueeze(-1), one) for name, one in toward.items() if name != LABEL]
        share = self._share_of_model(weights)
        if share is not None and not (isinstance(share, float) and share == 1):
            p.mul_(share)
        elif share is None and others:
            weight, direction = others.pop(0)
            direction.write_to(p, weight, state)
        elif share is None:
            p.zero_()
        if LABEL in weights:
            elsewhere = [weights[name].unsqueeze(-1) for name in toward if name != LABEL]
            add_label(p, weights[LABEL].unsqueeze(-1), elsewhere, state, beside_model=share is not None)
        for weight, direction in others:
            direction.add_to(p, weight, state)
        for weight, gradient in tilts:
            p.addcmul_(weight, gradient, value=-1)

    def _share_of_model(self, weights: Mapping[str, Tensor]) -> Tensor | float | None:
        """1 - S [n, 1], or one number for all; None where nothing but rounding is left on any row."""
        if self.model_share is not None:
            return self.model_share or None
        share = (1 - self.total(weights)).unsqueeze(-1)
        rounding = 4 * torch.finfo(share.dtype).eps
        return None if float(torch.linalg.vector_norm(share, torch.inf)) <= rounding else share

    def detached_loss(self) -> Callable[..., Tensor]:
        """The loss sum_j sg(a_j) CE(sg b_j, p), whose gradient is that of the pulls (toward terms only).

        Returns:
            A loss (logits [N, V], labels [N], **context) -> [N].

        Raises:
            QTargetError: a tilt or a loss of mass has no cross-entropy form.
        """
        if any(term.direction.kind != "toward" for term in self.terms):
            raise QTargetError(f"{self.text}: only pulls toward a distribution have the form of a cross-entropy.")
        return DetachedLoss(self.directions, self.weights)


_UNDEFINED = Law("undefined", r"\text{undefined}", lambda s: torch.full_like(s.p_label, torch.nan))


def _pull(term: Any) -> Pull:
    """A term from a (direction, weight) pair."""
    if not isinstance(term, tuple | list) or len(term) != 2 or not isinstance(term[0], Direction):
        raise QTargetError(
            f"a pull is a pair (direction, weight), e.g. (directions.label(), laws.label_prob()), not {term!r:.60}."
        )
    direction, weight = term
    return Pull(direction, weight if isinstance(weight, Law) else constant(weight))


def _sum(weights: list[Law]) -> Law:
    total = constant(0.0)
    for weight in weights:
        total = total + weight
    return total


def _words(term: Pull) -> str:
    return f"{term.direction.text} (pull {term.weight.text})"


def _check_gauge(gauge: str) -> None:
    if gauge not in ("unit", "normalized"):
        raise QTargetError(f"gauge must be unit or normalized, not {gauge!r}.")


def total_pull(directions: Mapping[str, Direction], weights: Mapping[str, Tensor]) -> Tensor:
    """Total pull S: the sum of the weights of the *toward* directions.

    Args:
        directions: by name.
        weights: name -> [N].

    Returns:
        [N] S.
    """
    toward = [weights[name] for name, direction in directions.items() if direction.kind == "toward"]
    if len(toward) == 1:
        return toward[0]
    if toward:
        return torch.stack(toward).sum(0)
    return torch.zeros_like(next(iter(weights.values())))


def natural_gauge(
    directions: Mapping[str, Direction], weights: Mapping[str, Tensor], tolerance: float = 1e-9
) -> PullGauge:
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
