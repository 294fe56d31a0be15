"""Closed forms: `invert` on registered variants, whose pulls are known."""

from __future__ import annotations

from functools import partial

import qtarget_inspect as qt
from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

BOTH_WAYS = ("dft", "eaft", "asft", "target-sft", "gem", "kd")
"""Variants that are also timed with a fresh result: p alone, its top 20, a reference, a path, a power, a teacher."""


def paper_rows() -> tuple[str, ...]:
    """The sixteen rows of the paper's table, by name."""
    return tuple(name for name, variant in qt.variants().items() if variant.source == "paper")


def closed_form_name(variant: str, *, fresh: bool = False) -> str:
    """Name of a variant's closed form: into fresh or reused memory."""
    return f"closed form, {variant}, {'fresh' if fresh else 'out='}"


def closed_form_contenders(variants: tuple[str, ...]) -> tuple[Contender, ...]:
    """`qt.invert("dft", batch)` with `out=`, and for some variants with a fresh result.

    Args:
        variants: registered names.

    Returns:
        The contenders.
    """
    return tuple(
        Contender(
            closed_form_name(name, fresh=fresh), "closed-form", partial(_prepare, name, fresh), "q" if fresh else None
        )
        for name in variants
        for fresh in ((False, True) if name in BOTH_WAYS else (False,))
    )


def _prepare(name: str, fresh: bool, work: Workload) -> Call:
    out = None if fresh else work.out
    return lambda: qt.invert(name, work.batch, out=out)
