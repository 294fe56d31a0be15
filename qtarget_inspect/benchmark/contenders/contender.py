"""Contender: one way to a result, with what the harness has to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

Prepare = Callable[[Workload], Call]

Group = Literal["floor", "plain", "generic", "compiled", "closed-form", "scalars", "readings", "top-k"]

FLOOR = "softmax, out="
FLOOR_FRESH = "softmax, fresh"
COPY = "copy, out="


@dataclass(frozen=True)
class Contender:
    """One way to a result.

    Args:
        name: as tables and goals name it.
        group: as `--only` names it.
        prepare: workload -> the call that is timed; what a user does once stands before the call.
        fresh: whose type the new [N, V] has that the call returns, which does not count as memory beyond the result:
            that of "q", or of the "logits"; None where it returns no such thing.
        tokens: how many tokens the call works on, None for all: its time is scaled up to all of them.
        about: what a reader has to know.
    """

    name: str
    group: Group
    prepare: Prepare
    fresh: Literal["q", "logits"] | None = None
    tokens: int | None = None
    about: str = ""

    def scale(self, rows: int) -> float:
        """What a time is multiplied with to be that of all rows: 1, or N over the tokens worked on."""
        return 1.0 if self.tokens is None or self.tokens >= rows else rows / self.tokens

    def fresh_bytes(self, setting: Setting) -> int:
        """Bytes of the new [N, V] that the call returns."""
        if self.fresh is None:
            return 0
        dtype = setting.result_dtype if self.fresh == "q" else setting.logits_dtype
        return setting.rows * setting.vocabulary * dtype.itemsize
