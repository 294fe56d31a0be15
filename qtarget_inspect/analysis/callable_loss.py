"""A loss as something to call: registered variants too, so that they are differentiated, not taken from their pulls."""

from __future__ import annotations

from typing import Any

from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.inversion import adapted  # one rule for what `invert` differentiates and what is audited
from qtarget_inspect.variants import resolve


def callable_loss(loss: Any) -> TokenLoss:
    """The loss with its calling convention.

    Args:
        loss: a callable, a registered name, a `Variant`, FILE.py:NAME, or what `adapt` returns.

    Returns:
        What the engine calls.

    Raises:
        RegistryError: it is none of these.
        LossError: it is a class.

    Examples:
        >>> callable_loss("asft").name
        'asft(kl_weight=0.05)'
    """
    return adapted(resolve(loss))
