"""Plain losses: how a user writes them, one token or many, log_softmax and gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from qtarget_inspect.core.errors import QTargetError


def _log_prob_of_label(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    log_p = logits.log_softmax(-1)
    return log_p, log_p.gather(-1, labels[..., None]).squeeze(-1)


def dft(logits: Tensor, labels: Tensor) -> Tensor:
    """DFT, -sg[p_y] log p_y: [..., V], [...] -> [...]."""
    _, label = _log_prob_of_label(logits, labels)
    return -label.exp().detach() * label


def asft(logits: Tensor, labels: Tensor, reference_logits: Tensor) -> Tensor:
    """ASFT, -sg[p_y] log p_y + 0.05 KL(ref‖p): [..., V], [...], [..., V] -> [...]."""
    log_p, label = _log_prob_of_label(logits, labels)
    log_reference = reference_logits.log_softmax(-1)
    divergence = (log_reference.exp() * (log_reference - log_p)).sum(-1)
    return -label.exp().detach() * label + 0.05 * divergence


def confidence_penalty(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy less 0.1 of the entropy, -log p_y - 0.1 H(p): [..., V], [...] -> [...]."""
    log_p, label = _log_prob_of_label(logits, labels)
    return -label + 0.1 * (log_p.exp() * log_p).sum(-1)


@dataclass(frozen=True)
class PlainLoss:
    """A loss in the plain style, and the context that it asks for.

    Args:
        name: as it stands in tables.
        function: (logits, labels, **context) -> values, for one token and for many.
        context: `TokenBatch` fields of shape [N, V] that it takes, in the order of its arguments.
    """

    name: str
    function: Callable[..., Tensor]
    context: tuple[str, ...] = ()


PLAIN_LOSSES = (
    PlainLoss("dft", dft),
    PlainLoss("asft", asft, ("reference_logits",)),
    PlainLoss("confidence penalty", confidence_penalty),
)
"""A weight without gradient, a second model, and a term over the whole vocabulary."""


def plain_loss(name: str) -> PlainLoss:
    """The plain loss of a name.

    Args:
        name: "dft", "asft" or "confidence penalty".

    Returns:
        The loss.

    Raises:
        QTargetError: there is none of that name.
    """
    for loss in PLAIN_LOSSES:
        if loss.name == name:
            return loss
    raise QTargetError(f"plain losses are {', '.join(loss.name for loss in PLAIN_LOSSES)}, not {name!r}.")
