"""The demo's numbers as tables: every token under every loss, with the tokens that gain and lose most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch

from qtarget_inspect.tables.shown_text import shown_entries

if TYPE_CHECKING:
    from qtarget_inspect.analysis.decomposition import Decomposition
    from qtarget_inspect.core.batch import TokenBatch
    from qtarget_inspect.tables.telling import TellingToken

GAINERS = 3
"""How many of the tokens that gain most are kept."""

Decode = Callable[[Sequence[int]], Sequence[str]]
"""Token ids -> one text each."""


def read_losses(losses: Sequence[str], batch: TokenBatch) -> dict[str, Decomposition]:
    """Differentiate each loss and read its target in its natural gauge.

    Args:
        losses: registered names.
        batch: the tokens.

    Returns:
        name -> decomposition, float64.
    """
    import qtarget_inspect as qt

    return {
        loss: qt.decompose(qt.invert(loss, batch, method="torch.func", dtype=torch.float64), gauge="natural")
        for loss in losses
    }


def token_records(readings: dict[str, Decomposition], batch: TokenBatch, decode: Decode) -> pd.DataFrame:
    """The rows of `token_table`, of losses that were differentiated, with what gains and loses most.

    Args:
        readings: loss -> decomposition.
        batch: the tokens.
        decode: token ids -> texts.

    Returns:
        The columns of `token_table`, and gain_1_token, gain_1 (Q - p) and so on to 3, loss_token, loss_change.
    """
    from qtarget_inspect.analysis.measurement.plain import per_token_tensors
    from qtarget_inspect.tables.method_titles import method_titles
    from qtarget_inspect.tables.token_table import loss_rows, token_columns

    tokens = token_columns(batch, _negative_mass(readings))
    variants = [reading.target.variant for reading in readings.values()]
    titles = method_titles(
        list(readings), [one.title if one else loss for loss, one in zip(readings, variants, strict=True)]
    )
    tables = []
    for (loss, reading), title, variant in zip(readings.items(), titles, variants, strict=True):
        rows = loss_rows(loss, title, variant, reading.gauge, tokens, per_token_tensors(reading))
        change = reading.q - reading.target.p  # [N, V]
        gains, losses = change.topk(GAINERS), change.min(-1)
        for place in range(GAINERS):
            rows[f"gain_{place + 1}_token"] = shown_entries(gains.indices[:, place].tolist(), decode)
            rows[f"gain_{place + 1}"] = gains.values[:, place].numpy()
        tables.append(
            rows.assign(loss_token=shown_entries(losses.indices.tolist(), decode), loss_change=losses.values.numpy())
        )
    return pd.concat(tables, ignore_index=True)


def most_telling(readings: dict[str, Decomposition], batch: TokenBatch) -> list[TellingToken]:
    """The token for which each rule of `tables.telling` holds most; no token twice.

    Args:
        readings: loss -> decomposition.
        batch: the tokens, with teacher.

    Returns:
        In the order of the rules.
    """
    from qtarget_inspect.tables.telling import telling_tokens
    from qtarget_inspect.tables.token_table import token_numbers

    return telling_tokens(token_numbers(batch, _negative_mass(readings)))


def _negative_mass(readings: dict[str, Decomposition]) -> torch.Tensor:
    """[losses, N] negative mass under each loss, in its gauge."""
    return torch.stack([(-reading.q).clamp(min=0).sum(-1) for reading in readings.values()])
