"""Observation: a black box's gradient on some states, with the rounding that its own arithmetic leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.precision import half_precision, working_dtype
from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import LossError, MissingContextError, QTargetError, RegistryError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.adapter import TokenLoss, adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.repeating import repeated_gradient
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants import Variant, resolve


@dataclass(frozen=True, eq=False)
class BlackBox:
    """A loss that is only called, never read.

    Args:
        loss: the loss, resolved.
        name: what it is called.
        context: context that it can see.
        precision: the type that it computes in.
        reduction: how it is reduced, as `invert` takes it.
        half: the half precision that it casts to, None where it does not.
        again: differentiates it on further batches without studying it anew; None where its tokens are coupled.
    """

    loss: Any
    name: str
    context: tuple[str, ...]
    precision: torch.dtype
    reduction: str | float = "auto"
    half: torch.dtype | None = None
    again: Callable[[TokenBatch], Tensor] | None = None

    @property
    def eps(self) -> float:
        """Rounding of one operation of the loss."""
        return torch.finfo(self.precision).eps

    def target(self, batch: TokenBatch) -> InducedTarget:
        """The induced target on some states; a registered loss is differentiated like any other."""
        return invert(self.loss, batch, method=_method(self.loss), reduction=self.reduction, dtype=torch.float64)

    def gradient(self, batch: TokenBatch) -> Tensor:
        """[N, V] g of the per-token loss on some states, float64."""
        return self.again(batch) if self.again is not None else self.target(batch).g


def _method(loss: Any) -> Any:
    """A registered loss is differentiated like any other: its closed form would be its answer."""
    return "torch.func" if isinstance(loss, Variant) else "auto"


@dataclass(frozen=True, eq=False)
class Observation:
    """A gradient on some states.

    Args:
        state: the states, float64.
        gradient: [N, V] g.
        eps: rounding of the loss's arithmetic.
        target: the induced target that it comes from, with what inversion found on the way; None where the loss was
            only asked again.
    """

    state: State
    gradient: Tensor
    eps: float
    target: InducedTarget | None

    @property
    def batch(self) -> TokenBatch:
        """The tokens."""
        return self.state.batch

    @property
    def size(self) -> Tensor:
        """[N] largest entry of g."""
        return self.gradient.abs().amax(-1)

    def rows(self, index: Tensor) -> Observation:
        """The observation of some of the tokens."""
        return Observation(self.state.rows(index), self.gradient[index], self.eps, self.target)


def black_box(loss: Any, states: TokenBatch, reduction: str | float = "auto", *, ask_again: bool = True) -> BlackBox:
    """Take a loss as a black box: what it can see, and how precisely it computes.

    Args:
        loss: any loss that `invert` takes.
        states: some tokens to try its precision on.
        reduction: as in `invert`.
        ask_again: whether it will be called on further states.

    Returns:
        The black box.

    Raises:
        QTargetError: there is no such loss.
    """
    resolved = resolve(loss)
    if isinstance(resolved, Variant):
        seen, name = resolved.context, resolved.label
    else:
        adapted = resolved if isinstance(resolved, TokenLoss) else adapt(resolved)
        seen, name = tuple(adapted.context.values()), adapted.name
    context = tuple(one for one in CONTEXT_NAMES if one in seen)
    again = repeated_gradient(resolved, states, reduction=reduction, method=_method(resolved)) if ask_again else None
    precision = working_dtype(resolved, states)
    half = half_precision(resolved, states) if precision != torch.float64 else None
    return BlackBox(resolved, name, context, precision, reduction, half, again)


def coincident_models(observations: Sequence[Observation], context: Sequence[str]) -> tuple[str, ...]:
    """The other models that are the student itself on every token, so that no pull to them can be seen.

    Args:
        observations: the states.
        context: context that the loss can see.

    Returns:
        Their names in a batch.
    """
    return tuple(
        name
        for name in LOGIT_CONTEXT
        if name in context
        and all(
            getattr(one.batch, name) is not None and torch.equal(getattr(one.batch, name), one.batch.logits)
            for one in observations
        )
    )


def observe(box: BlackBox, batch: TokenBatch) -> Observation:
    """Differentiate a black box on some states.

    Args:
        box: the loss.
        batch: the states, float64.

    Returns:
        The observation.

    Raises:
        QTargetError: the loss fails there; on made-up states the message says that a batch of one's own can be passed.
    """
    target = box.target(batch)
    return Observation(State(batch.to("cpu"), torch.float64), target.g.cpu(), box.eps, target)


def observe_probes(box: BlackBox, batches: list[TokenBatch]) -> list[Observation]:
    """Differentiate a black box on states that were made for it.

    Args:
        box: the loss.
        batches: the states.

    Returns:
        An observation a batch.

    Raises:
        MissingContextError: it needs context that no state can have.
        LossError: the loss cannot be run on them; the message says what to do.
    """
    try:
        return [observe(box, batch) for batch in batches]
    except MissingContextError:
        raise
    except QTargetError as error:
        raise LossError(_bound(box.name, batches, error)) from error


def black_box_on_probes(loss: Any, states: TokenBatch, reduction: str | float) -> BlackBox:
    """`black_box` on states that were made for it.

    Args:
        loss: the loss.
        states: the states.
        reduction: as in `invert`.

    Returns:
        The black box.

    Raises:
        MissingContextError: it needs context that no state can have.
        RegistryError: there is no such loss.
        LossError: the loss cannot be run on them; the message says what to do.
    """
    resolved = resolve(loss)
    try:
        return black_box(resolved, states, reduction)
    except (MissingContextError, RegistryError):
        raise
    except QTargetError as error:
        name = resolved.label if isinstance(resolved, Variant) else getattr(resolved, "__name__", "the loss")
        raise LossError(_bound(name, [states], error)) from error


def _bound(name: str, batches: list[TokenBatch], error: QTargetError) -> str:
    """What to do with a loss that is bound to one vocabulary or to certain rows."""
    sizes = ", ".join(str(batch.vocabulary) for batch in batches)
    return (
        f"{name} cannot be run on states made for it (vocabularies of {sizes} tokens): {error}\n"
        "A loss that is bound to one vocabulary or to certain rows can be identified on a batch of yours: "
        "identify(loss, batch)."
    )
