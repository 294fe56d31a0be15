"""Real logits: SmolLM2 on worked problems, in as many roles as losses ask for."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.models import (
    chat_view,
    load_causal_lm,
    one_example_view,
    plain_view,
    privileged_view,
    token_batch,
    worked_problems,
)


def real_logits(setting: Setting) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Logits at the tokens of worked solutions, problem after problem until there are enough.

    The teacher sees one other worked example, the reference no chat template, and the old policy the solution itself.

    Args:
        setting: rows, type and device.

    Returns:
        [N, V] logits, the logits of the other roles by name, and [N] labels.
    """
    lm = load_causal_lm("smollm2")
    example, *problems = worked_problems(1 + setting.rows)  # a solution has many tokens: never all are read
    parts: list[TokenBatch] = []
    while sum(len(part) for part in parts) < setting.rows:
        problem = problems[len(parts)]
        parts.append(
            token_batch(
                chat_view(lm),
                problem.question,
                problem.solution,
                teacher=one_example_view(lm, example.question, example.solution),
                reference=plain_view(lm),
                old=privileged_view(lm),
            )
        )

    def joined(name: str) -> Tensor:
        whole = torch.cat([getattr(part, name) for part in parts])[: setting.rows]
        return whole.to(setting.device, setting.logits_dtype if whole.is_floating_point() else None)

    return joined("logits"), {name: joined(name) for name in LOGIT_CONTEXT}, joined("labels")
