"""Readings: the attractor fit of `decompose`, the gradient that it reads, and the check of a batch's inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

import qtarget_inspect as qt
from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.plain_losses import asft
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

CHECK = "TokenBatch(logits, labels)"

ATTRACTORS = ("label", "uniform", "reference", "teacher", "old_policy", "others")

SOFTMAXED = 4
"""Tensors that the fit has to softmax: logits, reference, teacher, old policy."""


def _of_four(
    logits: Tensor, labels: Tensor, reference_logits: Tensor, teacher_logits: Tensor, old_logits: Tensor
) -> Tensor:
    """Pulls to the label, a reference, a teacher and an old policy."""
    log_p = logits.log_softmax(-1)
    value = -log_p.gather(-1, labels[..., None]).squeeze(-1)
    for weight, other in ((0.3, reference_logits), (0.2, teacher_logits), (0.1, old_logits)):
        value = value - weight * (other.softmax(-1) * log_p).sum(-1)
    return value


def _of_none(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared logits: no pull to any distribution."""
    return 1e-3 * (logits**2).sum(-1)


FITTED: dict[str, Callable[..., Tensor]] = {"two directions": asft, "four directions": _of_four, "none": _of_none}
"""Losses by how many of the directions explain them."""


def fit_name(explained: str) -> str:
    """Name of a fit over six attractors, by how many of them explain the loss."""
    return f"decompose, 6 attractors, explained by {explained}"


def reading_contenders(*, whole: bool) -> tuple[Contender, ...]:
    """`decompose` with a fit over six attractors, `target.g`, and the construction of a batch.

    Args:
        whole: otherwise the fit of one loss only.

    Returns:
        The contenders.
    """
    fitted = list(FITTED.items())[: None if whole else 1]
    return (
        Contender(CHECK, "readings", _check),
        Contender("target.g, asft", "readings", _gradient, fresh="q"),
        *(Contender(fit_name(name), "readings", partial(_fit, loss)) for name, loss in fitted),
    )


def _check(work: Workload) -> Call:
    return lambda: qt.TokenBatch(work.logits, work.labels)


def _gradient(work: Workload) -> Call:
    target = qt.invert(asft, work.batch_with("reference_logits"))
    return lambda: replace(target).g  # a new object has not computed it yet


def _fit(loss: Callable[..., Tensor], work: Workload) -> Call:
    """The fit alone: the gradient that it reads is there already."""
    target = qt.invert(loss, work.batch_with("reference_logits", "teacher_logits", "old_logits"))
    gradient = target.g

    def call() -> object:
        return qt.decompose(replace(target, make_gradient=lambda: gradient), attractors=ATTRACTORS)

    return call
