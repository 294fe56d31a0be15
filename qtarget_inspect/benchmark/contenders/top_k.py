"""Top k: the twenty largest entries of every row, by torch and by ours."""

from __future__ import annotations

import torch

from qtarget_inspect.benchmark.contenders.contender import Contender
from qtarget_inspect.benchmark.timing import Call
from qtarget_inspect.benchmark.workload import Workload
from qtarget_inspect.core.top_tokens import top_tokens

TOP_K = 20
TORCH_TOP_K = f"torch.topk({TOP_K})"
OUR_TOP_K = f"top_tokens({TOP_K})"


def top_k_contenders() -> tuple[Contender, ...]:
    """The twenty largest logits of every row.

    Returns:
        torch's selection, and ours.
    """
    return Contender(TORCH_TOP_K, "top-k", _torch), Contender(OUR_TOP_K, "top-k", _ours)


def _torch(work: Workload) -> Call:
    return lambda: torch.topk(work.logits, min(TOP_K, work.setting.vocabulary))


def _ours(work: Workload) -> Call:
    return lambda: top_tokens(work.logits, TOP_K)
