"""Workload: the tensors of a setting, made once and shared by all contenders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks

SEQUENCE = 32
"""Tokens of a sequence, for the losses that ask for sequences."""

_ROWS = 64  # rows that labels are drawn for at a time


@dataclass(frozen=True, eq=False)
class Workload:
    """Inputs and reused results of one setting.

    Args:
        setting: what it was made for.
        batch: N tokens with every context that a registered loss asks for.
        out: [N, V] where results go, in the type of Q.
    """

    setting: Setting
    batch: TokenBatch
    out: Tensor

    @property
    def logits(self) -> Tensor:
        """[N, V] logits."""
        return self.batch.logits

    @property
    def labels(self) -> Tensor:
        """[N] labels."""
        return self.batch.labels

    def batch_with(self, *context: str, **replaced: Tensor | None) -> TokenBatch:
        """The batch with some of its context only.

        Args:
            *context: fields to keep.
            **replaced: fields to set to other tensors.

        Returns:
            The batch; nothing is copied.
        """
        kept = {name: getattr(self.batch, name) for name in context}
        return TokenBatch.unchecked({"logits": self.logits, "labels": self.labels, **kept, **replaced})


def make_workload(setting: Setting, seed: int = 0) -> Workload:
    """The tensors of a setting.

    Random logits are normal with deviation 2; reference, teacher and old policy are the same with noise of 0.5, 1 and
    0.1; labels are drawn from the model.

    Args:
        setting: shape, type, source, device.
        seed: of the random numbers.

    Returns:
        The workload.

    Examples:
        >>> make_workload(Setting(4, 10)).batch
        TokenBatch(N=4, V=10, float32, +reference_logits, +teacher_logits, +old_logits, +advantages, +weights,
        +critical, +sequence_ids)
    """
    generator = torch.Generator(setting.device).manual_seed(seed)
    if setting.source == "random":
        logits, others, labels = _random(setting, generator)
    else:
        from qtarget_inspect.benchmark.real_logits import real_logits  # it reads a model

        logits, others, labels = real_logits(setting)
    rows, device = setting.rows, setting.device
    context: dict[str, Any] = {
        **others,
        "advantages": torch.randn(rows, generator=generator, device=device),
        "weights": torch.rand(rows, generator=generator, device=device),
        "critical": torch.rand(rows, generator=generator, device=device) < 0.5,
        "sequence_ids": torch.arange(rows, device=device) // SEQUENCE,
    }
    batch = TokenBatch(logits, labels, **context)
    return Workload(setting, batch, torch.zeros(rows, setting.vocabulary, dtype=setting.result_dtype, device=device))


def _random(setting: Setting, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    shape, device, dtype = (setting.rows, setting.vocabulary), setting.device, setting.logits_dtype
    logits = torch.randn(shape, generator=generator, device=device).mul_(2)
    labels = torch.cat([
        torch.multinomial(logits[rows].softmax(-1), 1, generator=generator).squeeze(-1)
        for rows in row_chunks(setting.rows, _ROWS)
    ])
    others = {
        name: torch.randn(shape, generator=generator, device=device).mul_(noise).add_(logits).to(dtype)
        for name, noise in (("reference_logits", 0.5), ("teacher_logits", 1.0), ("old_logits", 0.1))
    }
    return logits.to(dtype), others, labels
