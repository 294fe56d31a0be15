"""Streamed: `measure` from hidden states and an lm_head, whose logits [N, V] never exist."""

from __future__ import annotations

from functools import partial

import torch

import qtarget_inspect as qt
from qtarget_inspect.benchmark.contenders.closed_forms import paper_rows
from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload

WIDTH = 576
"""Size of a hidden state: SmolLM2's."""

LONG = (32768, 151936)
"""Tokens and vocabulary of a long stream, on a GPU: 20 GB of float32 logits a model."""

STREAMED = "measure, sixteen rows from hidden states"
STREAMED_LONG = f"measure, sixteen rows from {LONG[0]} hidden states"


def streamed_contenders(setting: Setting) -> tuple[Contender, ...]:
    """`qt.measure` on `qt.HiddenStates`, at the setting's own size, and on a GPU with V = 151,936 on a long stream too.

    Args:
        setting: on what.

    Returns:
        The contenders.
    """
    about = f"d = {WIDTH}, products with the lm_head included"
    own = Contender(STREAMED, "scalars", partial(_prepare, setting.rows), about=about)
    if setting.device != "cuda" or setting.vocabulary != LONG[1]:
        return (own,)
    return own, Contender(STREAMED_LONG, "scalars", partial(_prepare, LONG[0]), about=about)


def _prepare(rows: int, work: Workload) -> Call:
    setting = work.setting
    generator = torch.Generator(setting.device).manual_seed(0)

    def random(first: int, second: int, scale: float) -> torch.Tensor:
        values = torch.randn(first, second, generator=generator, device=setting.device)
        return values.mul_(scale).to(setting.logits_dtype)

    head = random(setting.vocabulary, WIDTH, 2 / WIDTH**0.5)
    hidden, reference, teacher = (random(rows, WIDTH, 1.0) for _ in range(3))
    repeated = torch.arange(rows, device=setting.device) % len(work.batch)
    tokens = {name: getattr(work.batch, name)[repeated] for name in ("critical", "sequence_ids")}
    states = qt.HiddenStates(
        hidden,
        head,
        work.labels[repeated],
        reference_logits=(reference, head),
        old_logits=(reference, head),
        teacher_logits=(teacher, head),
        **tokens,
    )
    return lambda: qt.measure(list(paper_rows()), states)
