"""Samples: small batches made from the user's own, on which a loss shows how it treats its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch

SAMPLE_TOKENS = 6
"""How many tokens a loss is tried on before it meets the batch."""

LOG_ODDS = (0.5, -2.5, 2.0, -0.5, 3.5, -4.0)
"""Log-odds of the labels in a sample: thresholds between 2 % and 97 % keep some tokens and drop others."""

LOG_ODDS_LIMIT = 6.0
"""Log-odds of the labels in a narrow batch stay within this: 1 - p_y is far above float32 noise."""


def sample_rows(batch: TokenBatch, tokens: int = SAMPLE_TOKENS) -> Tensor:
    """Rows of a small sample: runs of unequal length (of one sequence, mostly) at places spread over the batch.

    Args:
        batch: the whole batch.
        tokens: how many.

    Returns:
        [tokens] sorted row numbers; a smaller batch's rows are repeated.
    """
    rows = len(batch)
    if rows <= tokens:
        chosen = (torch.arange(tokens) % rows).sort().values
    else:
        runs = range(3, 0, -1) if tokens == SAMPLE_TOKENS else [1] * tokens
        starts = torch.linspace(0, rows - 3 if rows > 3 else 0, len(runs)).long().tolist()
        picked = {min(start + step, rows - 1) for start, run in zip(starts, runs, strict=True) for step in range(run)}
        spare = (row for row in range(rows) if row not in picked)
        while len(picked) < tokens:
            picked.add(next(spare))
        chosen = torch.tensor(sorted(picked))
    return chosen.to(batch.labels.device)


def spread_sample(batch: TokenBatch, rows: Tensor, dtype: torch.dtype) -> TokenBatch:
    """Some tokens, with the labels' probabilities spread and no token switched off by its context.

    What a loss does to its tokens (a mean, a shift, a weight of the batch) is a property of its code, and shows best
    where every token has a gradient well above rounding. So p_y is set, by the label's logit alone, which moves along
    in the other models, since a ratio to one of them would dwarf all others; weights and advantages of 0 become 1;
    critical tokens alternate with others.

    Args:
        batch: the whole batch.
        rows: [m] which tokens.
        dtype: floating type of the sample.

    Returns:
        The sample.
    """
    sample = batch.select(rows).to(dtype)
    odds = torch.tensor(LOG_ODDS, dtype=sample.logits.dtype, device=rows.device)
    logits = set_log_odds(sample.logits, sample.labels, odds.repeat(len(rows) // len(odds) + 1)[: len(rows)])
    fields = {"logits": logits, "labels": sample.labels, **sample.context}
    label = sample.labels.unsqueeze(-1)
    moved = logits.gather(-1, label) - sample.logits.gather(-1, label)
    moved = torch.where(torch.isfinite(moved), moved, 0.0)
    for name in LOGIT_CONTEXT:
        if name in fields:
            fields[name] = fields[name].scatter_add(-1, label, moved)
    for name in ("weights", "advantages"):
        if name in fields:
            fields[name] = torch.where(fields[name] == 0, 1, fields[name])
    if "critical" in fields:
        fields["critical"] = torch.arange(len(rows), device=rows.device) % 3 != 1
    return TokenBatch.unchecked(fields)


def set_log_odds(logits: Tensor, labels: Tensor, log_odds: Tensor) -> Tensor:
    """Logits with the label's entry moved so that log p_y - log(1 - p_y) is as given; others keep their proportions.

    Args:
        logits: [n, V] logits.
        labels: [n] labels.
        log_odds: [n] wanted log-odds.

    Returns:
        [n, V] new logits; rows in which only the label is possible stay.
    """
    index = labels.unsqueeze(-1)
    others = logits.scatter(-1, index, float("-inf")).logsumexp(-1)
    wanted = (others + log_odds.to(logits.dtype)).unsqueeze(-1)
    return logits.scatter(-1, index, torch.where(torch.isfinite(wanted), wanted, logits.gather(-1, index)))


def narrow_batch(batch: TokenBatch, p_label: Tensor, columns: int, dtype: torch.dtype) -> TokenBatch:
    """All tokens with a small vocabulary and about the p_y that they have: the whole batch for the price of a chunk.

    Whether a loss couples tokens shows only when all are together. Columns are picked evenly, the label's entry is put
    at column y mod `columns`, and log-odds are kept within +-6.

    Args:
        batch: the whole batch.
        p_label: [N] p_y.
        columns: size of the small vocabulary, >= 2.
        dtype: type of the narrow logits.

    Returns:
        The narrow batch, with all context.
    """
    device = batch.logits.device
    picked = torch.linspace(0, batch.vocabulary - 1, columns, dtype=torch.float64).long().to(device)
    labels = batch.labels % columns
    p_label = p_label.to(torch.float64)
    fields: dict[str, Tensor] = {**batch.context, "labels": labels}

    def centred(logits: Tensor) -> Tensor:
        values = logits[:, picked].to(dtype)
        values = torch.where(torch.isfinite(values), values, -30.0)
        return values - values.scatter(-1, labels.unsqueeze(-1), float("-inf")).logsumexp(-1, keepdim=True)

    odds = torch.logit(p_label).clamp(-LOG_ODDS_LIMIT, LOG_ODDS_LIMIT).nan_to_num(0.0)
    fields["logits"] = set_log_odds(centred(batch.logits), labels, odds)
    for name in LOGIT_CONTEXT:
        if name in fields:
            wide = fields[name]
            label = wide.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1).to(dtype)
            level = wide[:, picked].to(dtype).logsumexp(-1)
            odds = (label - level).clamp(-LOG_ODDS_LIMIT, LOG_ODDS_LIMIT).nan_to_num(0.0)
            fields[name] = set_log_odds(centred(wide), labels, odds)
    return TokenBatch.unchecked(fields)
