"""Floors: one softmax into a tensor that is there already, and its neighbours."""

from __future__ import annotations

import torch

from qtarget_inspect.benchmark.contenders.contender import COPY, FLOOR, FLOOR_FRESH, Contender
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload


def floors(half: bool) -> tuple[Contender, ...]:
    """The softmax that everything is held against.

    For half-precision logits, whose Q is float32, it is a copy into the float32 result and a softmax in place: torch's
    own softmax(dtype=float32, out=) makes a fresh float32 copy of the logits first.

    Args:
        half: whether the logits are bfloat16.

    Returns:
        The contenders, the floor first.
    """
    copied = "the logits copied into float32, then in place" if half else ""
    common = (
        Contender(FLOOR, "floor", _floor, about=copied),
        Contender(FLOOR_FRESH, "floor", _fresh, fresh="q"),
        Contender(COPY, "floor", _copy),
    )
    if not half:
        return common
    return (
        *common,
        Contender("softmax(dtype=float32, out=)", "floor", _with_dtype),
        Contender("softmax, bfloat16 to bfloat16, out=", "floor", _same_type),
    )


def _floor(work: Workload) -> Call:
    if work.logits.dtype == work.out.dtype:
        return lambda: torch.softmax(work.logits, -1, out=work.out)
    return lambda: torch.softmax(work.out.copy_(work.logits), -1, out=work.out)


def _fresh(work: Workload) -> Call:
    return lambda: torch.softmax(work.logits, -1, dtype=work.out.dtype)


def _copy(work: Workload) -> Call:
    return lambda: work.out.copy_(work.logits)


def _with_dtype(work: Workload) -> Call:
    return lambda: torch.softmax(work.logits, -1, dtype=work.out.dtype, out=work.out)


def _same_type(work: Workload) -> Call:
    out = torch.empty_like(work.logits)
    return lambda: torch.softmax(work.logits, -1, out=out)
