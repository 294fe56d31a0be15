"""Probe states: a batch made to show what a loss does: every p_y, flat to peaked, other models near and far."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import check_whole
from qtarget_inspect.core.errors import BatchError

SMALLEST_PROB = 1e-8
"""p_y is swept from this to one minus this."""

OTHERS_SCALES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Spread of the other tokens' logits, from flat to peaked."""

MODEL_DISTANCES = (0.0, 0.1, 1.0, 3.0)
"""How far, in logits, another model lies from the student; 0 is the student itself (the start of ASFT)."""


def probe_batch(
    tokens: int = 512,
    vocabulary: int = 64,
    *,
    sequence_length: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> TokenBatch:
    """Tokens on which a loss shows all it does.

    p_y runs evenly in its log-odds from 1e-8 to 1 - 1e-8, independently of how peaked the other tokens are, and of how
    the reference, the teacher and the old policy see the label. Sequences differ in how likely the reference finds
    them, so that trajectory weights are clipped in some.

    Args:
        tokens: N, at least 1.
        vocabulary: V, at least 2; 32 or more leaves room for a top 20.
        sequence_length: tokens a sequence, at least 1.
        seed: of the generator; equal seeds give equal batches.
        dtype: floating type.
        device: where to put it.

    Returns:
        A batch with all context: `reference_logits`, `teacher_logits`, `old_logits`, `advantages` of both signs,
        `weights`, `critical`, `sequence_ids`.

    Raises:
        BatchError: a size is no integer or too small, `seed` is no integer, or `dtype` no floating type.

    Examples:
        >>> batch = probe_batch(tokens=16, vocabulary=32)
        >>> len(batch), batch.vocabulary, sorted(batch.context)[:2]
        (16, 32, ['advantages', 'critical'])
    """
    tokens = check_whole("tokens", tokens, 1, "an empty batch has no induced target; pass e.g. tokens=512")
    vocabulary = check_whole("vocabulary", vocabulary, 2, "one token alone has p_y = 1; pass e.g. vocabulary=64")
    sequence_length = check_whole("sequence_length", sequence_length, 1, "pass e.g. sequence_length=8")
    seed = check_whole("seed", seed)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BatchError(f"dtype must be a floating type, e.g. torch.float64, not {dtype!r}.")

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def choice(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)[torch.randint(len(values), (tokens,), generator=generator)]

    log_odds_end = math.log(SMALLEST_PROB) - math.log1p(-SMALLEST_PROB)
    log_odds = torch.linspace(log_odds_end, -log_odds_end, tokens, dtype=torch.float64)
    log_odds = log_odds[torch.randperm(tokens, generator=generator)]
    labels = torch.randint(vocabulary, (tokens,), generator=generator)

    logits = choice(OTHERS_SCALES).unsqueeze(-1) * normal(tokens, vocabulary)
    others = logits.scatter(-1, labels.unsqueeze(-1), float("-inf"))
    logits.scatter_(-1, labels.unsqueeze(-1), (others.logsumexp(-1) + log_odds).unsqueeze(-1))

    def other_model() -> Tensor:
        return logits + choice(MODEL_DISTANCES).unsqueeze(-1) * normal(tokens, vocabulary)

    sequence_ids = torch.arange(tokens) // sequence_length
    shift = torch.linspace(-6, 6, int(sequence_ids.max()) + 1, dtype=torch.float64)[sequence_ids]
    shift = torch.where(sequence_ids % 4 == 0, 0.0, shift)  # a quarter of the sequences keep a near reference
    reference = other_model().scatter_add(-1, labels.unsqueeze(-1), shift.unsqueeze(-1))
    batch = TokenBatch(
        logits,
        labels,
        reference_logits=reference,
        teacher_logits=other_model(),
        old_logits=other_model(),
        advantages=normal(tokens),
        weights=0.25 + 1.5 * torch.rand(tokens, generator=generator, dtype=torch.float64),
        critical=torch.rand(tokens, generator=generator) < 0.5,
        sequence_ids=sequence_ids,
    )
    return batch.to(dtype).to(device)
