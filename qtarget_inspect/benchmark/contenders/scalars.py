"""Scalars: `measure` on many losses at once, without Q."""

from __future__ import annotations

from functools import partial

import qtarget_inspect as qt
from qtarget_inspect.benchmark.contenders.closed_forms import paper_rows
from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

PAPER = "measure, the paper's sixteen rows"
PAPER_COMPILED = "measure, the paper's sixteen rows, compiled"
TOP = 5
"""Tokens that gain and lose most."""


def measure_name(*losses: str, top: bool = False) -> str:
    """Name of `measure` on some losses, with or without the tokens that gain and lose most."""
    return f"measure, {' and '.join(losses)}{f', top {TOP}' if top else ''}"


def scalar_contenders(*, whole: bool) -> tuple[Contender, ...]:
    """`qt.measure`: all paper rows, and one or two losses with and without their top tokens.

    The old policy is the reference here, so that three tensors are read: logits, reference, teacher.

    Args:
        whole: otherwise only the paper rows and one loss of which the tokens are wanted.

    Returns:
        The contenders.
    """
    few = (("gem",), ("dft",), ("dft", "p-loss")) if whole else (("gem",),)
    return (
        Contender(PAPER, "scalars", partial(_prepare, paper_rows(), None), about="reference and old policy are one"),
        Contender(PAPER_COMPILED, "scalars", partial(_prepare, paper_rows(), None, compiled=True), about="the same"),
        *(
            Contender(measure_name(*losses, top=top), "scalars", partial(_prepare, losses, TOP if top else None))
            for losses in few
            for top in (False, True)
        ),
    )


def _prepare(losses: tuple[str, ...], top_tokens: int | None, work: Workload, compiled: bool = False) -> Call:
    context = ("reference_logits", "teacher_logits", "critical", "sequence_ids", "weights", "advantages")
    batch = work.batch_with(*context, old_logits=work.batch.reference_logits)
    return lambda: qt.measure(list(losses), batch, top_tokens=top_tokens, compile=compiled)
