"""What to know before trusting the numbers of an inspection, in sentences."""

from __future__ import annotations

import math
from typing import Any

import torch

from qtarget_inspect.analysis.decomposition import FLAG_FULL_TRUST, Decomposition
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.analysis.identification import Identification
from qtarget_inspect.analysis.identification.holding import largest_error
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.tolerances import rounding
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.inspection.text import unique_tokens


def warnings_of(
    loss: Any, target: InducedTarget, pulls: Decomposition, found: Identification | None
) -> tuple[str, ...]:
    """The warnings of an inspection.

    Args:
        loss: the loss, as `invert` takes it; it is called again where its step may depend on num_items_in_batch.
        target: its induced target.
        pulls: the attractor reading of it.
        found: what the loss was identified as.

    Returns:
        A sentence each.
    """
    return _of_the_numbers(loss, target, pulls, target.batch) + _of_the_law(found, target, pulls)


def _of_the_numbers(loss: Any, target: InducedTarget, pulls: Decomposition, batch: TokenBatch) -> tuple[str, ...]:
    """What to know before trusting the numbers."""
    found = []
    explained = explains(pulls)
    if not explained:
        share = float(pulls.unexplained.max()) / float(target.g.abs().max())
        what = "the declared pulls" if pulls.source == "declared" else f"pulls to {', '.join(pulls.pulls)}"
        found.append(
            f"{what} leave up to {100 * share:.2g} % of the gradient unexplained: gamma is Q on the label here"
        )
    for flag, mask in pulls.flags.items():
        if flag != FLAG_FULL_TRUST and explained:
            found.append(f"{flag} ({int(mask.sum())} of {len(batch)} tokens)")
    if target.coupled and "leaks" in target.coupled:
        found.append("gradient leaks between tokens: Q of a token is not its own")
    if target.coupled and target.coupled.startswith("every token is scaled"):
        found.append(f"{target.coupled}; if that is a mean over tokens, reduction='mean' undoes it")
    if any("num_items_in_batch" in note for note in target.notes):
        found += _num_items_warning(loss, batch)
    gamma = pulls.gamma[torch.isfinite(pulls.gamma) & unique_tokens(pulls)]
    if explained and bool((gamma < -1e-6).any()):
        found.append(f"gamma is negative (down to {float(gamma.min()):.2g}): the label is pushed away")
    return tuple(found)


def _num_items_warning(loss: Any, batch: TokenBatch) -> list[str]:
    """How the step changes with num_items_in_batch; the loss is called again, with 8."""
    few = batch.select(slice(0, min(16, len(batch))))
    one, eight = (adapt(loss, num_items_in_batch=number) for number in (1, 8))
    try:
        first, second = (invert(fn, few, reduction="sum").g for fn in (one, eight))
    except QTargetError:
        return []
    ratio = float((first * second).sum() / first.square().sum())
    if math.isclose(ratio, 1.0, rel_tol=1e-3):
        return []
    return [
        f"with num_items_in_batch = 8 the gradient is {ratio:.4g} of this: its step, not its target, "
        "depends on the batch"
    ]


def _of_the_law(found: Identification | None, target: InducedTarget, pulls: Decomposition) -> tuple[str, ...]:
    """Warnings of the identification, and whether its laws hold on the tokens that were inspected."""
    if found is None or target.variant is not None:
        return ()
    said = [warning for warning in found.warnings if "coupled" not in warning and "no known directions" not in warning]
    if (
        found.has_law
        and found.pulls is not None
        and all(getattr(target.batch, name) is not None for name in found.pulls.requires)
    ):
        off = largest_error(found.pulls, target)
        if off > 100 * rounding(torch.float32 if found.precision != torch.float64 else target.q.dtype):
            said.append(
                f"the laws found on probe states are off Q by up to {off:.2g} on these tokens: here the loss does "
                "something that the probes did not show"
            )
    return tuple(said)
