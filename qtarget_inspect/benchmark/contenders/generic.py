"""Generic contenders: `invert` on a loss that nothing is known about, eager and compiled."""

from __future__ import annotations

from functools import partial

import qtarget_inspect as qt
from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.plain_losses import PlainLoss
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload


def generic_name(loss: str, *, compiled: bool, fresh: bool) -> str:
    """Name of `invert` on a plain loss: eager or compiled, into fresh or reused memory."""
    return f"invert, {loss}{', compiled' if compiled else ''}, {'fresh' if fresh else 'out='}"


def generic_contenders(losses: tuple[PlainLoss, ...], *, compiled: bool) -> tuple[Contender, ...]:
    """`qt.invert(loss, batch)` with a fresh result and with `out=`.

    Args:
        losses: the losses, as callables.
        compiled: whether with compile=True.

    Returns:
        Two contenders a loss.
    """
    return tuple(
        Contender(
            generic_name(loss.name, compiled=compiled, fresh=fresh),
            "compiled" if compiled else "generic",
            partial(_prepare, loss, compiled, fresh),
            fresh="q" if fresh else None,
        )
        for loss in losses
        for fresh in (True, False)
    )


def _prepare(loss: PlainLoss, compiled: bool, fresh: bool, work: Workload) -> Call:
    batch = work.batch_with(*loss.context)
    out = None if fresh else work.out
    return lambda: qt.invert(loss.function, batch, compile=compiled, out=out)
