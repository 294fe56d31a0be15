"""Batches whose rows are wide enough for block maxima and compilers, with every context."""

import torch

import qtarget_inspect as qt


def wide_batch(dtype=torch.float32, rows=24, vocabulary=3000):
    """Several chunks of a vocabulary that block maxima are taken of, with p_y between rare and certain."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(vocabulary, (rows,), generator=generator)
    logits[torch.arange(rows), labels] += torch.linspace(-4, 22, rows, dtype=torch.float64)
    pair = torch.arange(rows) // 6
    noise = torch.randn(3, rows, vocabulary, generator=generator, dtype=torch.float64)
    return qt.TokenBatch(
        logits,
        labels,
        reference_logits=logits + 0.3 * noise[0],
        teacher_logits=logits + 0.5 * noise[1],
        old_logits=logits + 0.2 * noise[2],
        advantages=torch.linspace(-1, 1, rows, dtype=torch.float64),
        weights=torch.linspace(0.5, 2, rows, dtype=torch.float64),
        critical=torch.arange(rows) % 2 == 0,
        sequence_ids=pair,
    ).to(dtype)
