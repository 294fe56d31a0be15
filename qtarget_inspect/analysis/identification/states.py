"""Probe states made to tell laws apart: p_y, entropy and the other models' p_y vary independently of each other."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.state import State

Spacing = Literal["log-odds", "probability"]

SMALLEST_PROB = 1e-8
"""p_y runs from here."""

SMALLEST_DOUBT = {torch.float64: 1e-8, torch.float32: 1e-5}
"""1 - p_y runs to here: float32 holds no smaller one to the digits that a law needs."""

FIT = ((144, 208), (33, 128))
"""Vocabulary size and number of tokens of the states that laws are fitted to."""

HELD_BACK = ((64, 224), (40, 512))
"""The same of the states that laws have to predict; the last are even in p_y rather than in its log-odds."""

DENSE = (37, 4096)
"""The same of states, even in p_y, that all laws together have to predict in the end."""

WIDE = (1500, 96)
"""The same of states beyond what laws were fitted to: they have to hold there, too."""

MOST_LOGITS, MOST_TOKENS = 4_000_000, 4096
"""Of a user's batch so much is looked at."""

LONGEST_SEQUENCE = 6


def fit_states(precision: torch.dtype, seed: int = 0) -> list[TokenBatch]:
    """The states that directions and laws are fitted to.

    Args:
        precision: the type that the loss computes in.
        seed: of the generator.

    Returns:
        Batches of different vocabulary sizes.
    """
    return [
        probe_states(tokens, size, seed=seed + i, precision=precision) for i, (size, tokens) in enumerate(FIT, start=11)
    ]


def held_back_states(precision: torch.dtype, seed: int = 0) -> list[TokenBatch]:
    """The states that a law has to predict before it is named.

    Args:
        precision: the type that the loss computes in.
        seed: of the generator.

    Returns:
        Batches of vocabulary sizes that no law was fitted to.
    """
    spacings: tuple[Spacing, ...] = ("log-odds", "probability")
    return [
        probe_states(tokens, size, seed=seed + 50 + i, precision=precision, spacing=spacing)
        for i, ((size, tokens), spacing) in enumerate(zip(HELD_BACK, spacings, strict=True))
    ]


def some_tokens(batch: TokenBatch) -> TokenBatch:
    """A part of a user's batch that is small enough: tokens of every p_y, or sequences as they stand and whole.

    Args:
        batch: the tokens.

    Returns:
        At most `MOST_LOGITS` logits, but 64 tokens or more; the batch itself where it is no larger.
    """
    most = min(max(64, MOST_LOGITS // batch.vocabulary), MOST_TOKENS)
    if len(batch) <= most:
        return batch
    if batch.sequence_ids is not None and len(batch.sequence_ids.unique()) > 1:
        ids = batch.sequence_ids[:most].unique()
        ids = ids[: max(1, len(ids) - len(ids) % 2)]  # an even number, for losses over pairs
        member = torch.isin(batch.sequence_ids, ids)
        return batch.select(member) if int(member.sum()) <= 2 * most else batch.select(slice(0, most))
    order = State(batch).p_label.argsort()
    spread = order[torch.linspace(0, len(batch) - 1, most).long().to(order.device)]
    return batch.select(spread.sort().values)


def dense_states(precision: torch.dtype, seed: int = 0) -> TokenBatch:
    """Thousands of states, even in p_y, on which all laws together have to predict the gradient.

    Args:
        precision: the type that the loss computes in.
        seed: of the generator.

    Returns:
        A batch.
    """
    return probe_states(DENSE[1], DENSE[0], seed=seed + 90, precision=precision, spacing="probability")


def wide_states(precision: torch.dtype, seed: int = 0) -> TokenBatch:
    """States beyond those that laws are fitted to, on which all laws together have to predict the gradient as well.

    A vocabulary of 1500, p_y to 1e-9, 1 - p_y to 1e-9 (1e-6 for float32), other tokens from flat to very peaked, other
    models from the model itself to far from it, advantages from 0 to large ones, sequences of up to twelve tokens.

    Args:
        precision: the type that the loss computes in.
        seed: of the generator.

    Returns:
        A batch.
    """
    vocabulary, tokens = WIDE
    batch = probe_states(tokens, vocabulary, seed=seed + 70, precision=precision, beyond=True)
    generator = torch.Generator().manual_seed(seed + 71)
    place = torch.arange(tokens)
    distance = torch.tensor([0.0, 1e-3, 1.0, 4.0], dtype=torch.float64)[place % 4].unsqueeze(-1)

    def other_model(label_shift: float) -> Tensor:
        rows = batch.logits + distance * torch.randn(batch.logits.shape, generator=generator, dtype=torch.float64)
        shift = torch.where(place % 8 == 3, label_shift, 0.0).to(torch.float64)
        return rows.scatter_add(-1, batch.labels.unsqueeze(-1), shift.unsqueeze(-1))

    advantages = 3 * torch.randn(tokens, generator=generator, dtype=torch.float64)
    advantages[::11] *= 1e-3
    advantages[5] = 0.0
    weights = torch.tensor([0.0, 0.01, 1.0, 5.0, 20.0], dtype=torch.float64)[place % 5]
    return batch.with_logits(
        batch.logits,
        reference_logits=other_model(-12.0),
        teacher_logits=other_model(12.0),
        old_logits=other_model(-6.0),
        advantages=advantages,
        weights=weights,
    )


def probe_states(
    tokens: int,
    vocabulary: int,
    *,
    seed: int,
    precision: torch.dtype = torch.float64,
    spacing: Spacing = "log-odds",
    beyond: bool = False,
) -> TokenBatch:
    """Tokens on which what a pull's weight may depend on varies independently.

    p_y is even in its log-odds (or in itself) from one end to the other; the other tokens run from flat to peaked; the
    label's probability under each other model is near p_y in a third of the sequences, shifted by one factor in another
    third, and anywhere in the rest; sequences have one to six tokens; advantages have both signs. All logits are
    numbers that float32 holds.

    Args:
        tokens: N.
        vocabulary: V, 32 or more.
        seed: of the generator.
        precision: type that the loss computes in; it bounds how near p_y comes to 0 and 1.
        spacing: whether p_y is even in its log-odds or in itself.
        beyond: whether to go farther than laws are fitted to: p_y nearer to 0 and 1, rows flatter and more peaked.

    Returns:
        A batch in float64 with all context.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(tokens, generator=generator, dtype=torch.float64)

    low, high = (math.log(end) - math.log1p(-end) - 2.3 * beyond for end in (SMALLEST_PROB, SMALLEST_DOUBT[precision]))
    if spacing == "log-odds":
        log_odds = torch.linspace(low, -high, tokens, dtype=torch.float64)
    else:
        log_odds = torch.linspace(1e-3, 1 - 1e-3, tokens, dtype=torch.float64).logit()
    log_odds = (log_odds + 0.2 * torch.rand(tokens, generator=generator, dtype=torch.float64)).clamp(low, -high)
    log_odds = log_odds[torch.randperm(tokens, generator=generator)]
    rounds = [torch.randperm(vocabulary, generator=generator) for _ in range(-(-tokens // vocabulary))]
    labels = torch.cat(rounds)[:tokens]  # every token of the vocabulary, where there are enough
    sequence_ids = _sequences(tokens, 2 * LONGEST_SEQUENCE if beyond else LONGEST_SEQUENCE, generator)
    kind = sequence_ids % 3  # how another model sees the labels of a sequence: near, shifted as a whole, anywhere

    scale = torch.where(torch.arange(tokens) % 6 == 0, 0.0, between(0.0, 8.0)) if beyond else between(0.3, 4.0)
    logits = _with_label_odds(scale.unsqueeze(-1) * normal(tokens, vocabulary), labels, log_odds)
    level = logits.logsumexp(-1, keepdim=True)
    logits = logits - level + 0.7 * normal(tokens, 1)  # logsumexp is a quantity of its own (z-loss)

    def other_model() -> Tensor:
        rows = logits + between(0.5, 1.5).unsqueeze(-1) * normal(tokens, vocabulary)
        near = log_odds + 0.6 * normal(tokens)
        shifted = near + between(-6.0, 6.0)[sequence_ids]
        anywhere = torch.where(torch.rand(tokens, generator=generator) < 0.5, between(-6.0, 6.0), near)
        return _with_label_odds(rows, labels, torch.where(kind == 0, near, torch.where(kind == 1, shifted, anywhere)))

    signs = torch.where(torch.rand(tokens, generator=generator) < 0.5, -1.0, 1.0).to(torch.float64)
    batch = TokenBatch(
        logits,
        labels,
        reference_logits=other_model(),
        teacher_logits=other_model(),
        old_logits=other_model(),
        advantages=signs * between(0.2, 2.0),
        weights=between(0.25, 2.0),
        critical=torch.rand(tokens, generator=generator) < 0.5,
        sequence_ids=sequence_ids,
    )
    return batch.to(torch.float32).to(torch.float64)


def _with_label_odds(logits: Tensor, labels: Tensor, log_odds: Tensor) -> Tensor:
    """[N, V] the logits, the label's set so that log(p_y / (1 - p_y)) is as given."""
    index = labels.unsqueeze(-1)
    others = logits.scatter(-1, index, float("-inf")).logsumexp(-1)
    return logits.scatter(-1, index, (others + log_odds).unsqueeze(-1))


def _sequences(tokens: int, longest: int, generator: torch.Generator) -> Tensor:
    """[N] ids of sequences of one to so many tokens, an even number of them."""
    lengths = torch.randint(1, longest + 1, (tokens,), generator=generator)
    ids = torch.repeat_interleave(torch.arange(tokens), lengths)[:tokens]
    count = int(ids[-1]) + 1
    return torch.where(ids == count - 1, count - 2, ids) if count % 2 else ids
