"""Identify: losses that `identify` is timed on, from an easy one to one that nothing explains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

import qtarget_inspect as qt
from qtarget_inspect.benchmark.plain_losses import asft, dft
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload


def unexplained(logits: Tensor, labels: Tensor, teacher_logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Squared distances of logits: no pull to any distribution."""
    return 0.1 * ((logits - teacher_logits) ** 2).mean(-1) + 0.1 * ((logits - reference_logits) ** 2).mean(-1)


def _registered(name: str) -> Callable[..., Tensor]:
    """A registered loss as a function that nothing is known about."""
    return qt.get(name).bound_loss


def identify_name(case: str) -> str:
    """Name of a case in tables and goals."""
    return f"identify, {case}"


CASES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "dft": lambda: dft,
    "asft": lambda: asft,
    "grpo": partial(_registered, "grpo"),
    "gem-sigmoid": partial(_registered, "gem-sigmoid"),
    "explained by nothing": lambda: unexplained,
}
"""Losses on the states that `identify` makes for itself."""

USERS_BATCH = "dft on a batch of one's own"


def identify_calls(work: Workload | None) -> dict[str, Call]:
    """The calls by name.

    Args:
        work: a user's batch, None to leave it out.

    Returns:
        name -> call.
    """
    calls: dict[str, Call] = {identify_name(name): partial(qt.identify, make()) for name, make in CASES.items()}
    if work is not None:
        calls[identify_name(USERS_BATCH)] = partial(qt.identify, dft, work.batch_with())
    return calls
