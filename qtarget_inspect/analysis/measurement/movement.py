"""Movement: the tokens whose probability a loss raises or lowers most, by Q - p."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.collected import Collected
from qtarget_inspect.analysis.measurement.effective import Effective, Parts
from qtarget_inspect.analysis.measurement.reading import Reading
from qtarget_inspect.analysis.measurement.records import TopTokens
from qtarget_inspect.analysis.measurement.sources import SELF
from qtarget_inspect.core.top_tokens import top_tokens

_SIDES = ("gains", "drops")


def collect_model_top(reading: Reading, rows: slice, collected: Collected, k: int) -> None:
    """Keep p's own top tokens besides the label: what a loss of the label alone takes from, or gives to, most.

    Args:
        reading: the rows.
        rows: where they stand.
        collected: where they go.
        k: how many.
    """
    _keep(SELF, "top", reading.source(SELF).others, rows, collected, k)


def collect_movement(place: int, less: Tensor, rows: slice, collected: Collected, k: int) -> None:
    """Keep the other tokens that lose and gain most under one loss.

    Args:
        place: where the loss stands in the list.
        less: [n, V] p - Q, 0 at the label; its sign is turned.
        rows: where the rows stand.
        collected: where they go.
        k: how many.
    """
    _keep(place, "drops", less, rows, collected, k)
    _keep(place, "gains", less.neg_(), rows, collected, k)


def _keep(owner: object, side: str, values: Tensor, rows: slice, collected: Collected, k: int) -> None:
    top, tokens = top_tokens(values, k)
    collected.store((owner, side, "values"), rows, top)
    collected.store((owner, side, "tokens"), rows, tokens)


def movement_of(
    place: int, parts: Parts, weights: Effective, gain: Tensor, collected: Collected, k: int
) -> tuple[TopTokens, TopTokens]:
    """The tokens that gain and lose most, the label among them.

    Args:
        place: where the loss stands in the list.
        parts: its directions.
        weights: its effective weights.
        gain: [N] Q_y - p_y.
        collected: what was read.
        k: how many.

    Returns:
        Gains and drops.
    """
    found = []
    for side, sign in zip(_SIDES, (1.0, -1.0), strict=True):
        if parts.rows_needed:
            values, tokens = (collected.rows((place, side, what)) for what in ("values", "tokens"))
        else:
            change = sign * (weights.others_share - 1)
            values, tokens = (collected.rows((SELF, "top", what)) for what in ("values", "tokens"))
            values = values * change.unsqueeze(-1)
        values = torch.cat([values.to(torch.float64), sign * gain.unsqueeze(-1)], -1)
        tokens = torch.cat([tokens, collected.stream.tokens.labels.unsqueeze(-1)], -1)
        found.append(_top_of(values, tokens, sign, min(k, collected.stream.tokens.vocabulary), weights.undefined))
    return found[0], found[1]


def _top_of(values: Tensor, tokens: Tensor, sign: float, k: int, undefined: Tensor) -> TopTokens:
    """The k largest; -1 and 0 where a token moves the other way or not at all, NaN where there is no Q."""
    best = values.topk(k, dim=-1)
    moves = best.values > 0
    ids = torch.where(moves, tokens.gather(-1, best.indices), -1)
    kept = torch.where(moves, sign * best.values, 0.0)
    return TopTokens(ids, kept.masked_fill(undefined.unsqueeze(-1), torch.nan))


def movement_of_rows(change: Tensor, k: int) -> tuple[TopTokens, TopTokens]:
    """The same of Q - p as it is written out.

    Args:
        change: [n, V] Q - p, NaN in rows without Q.
        k: how many.

    Returns:
        Gains and drops.
    """
    undefined = torch.isnan(change).any(-1)
    change = change.masked_fill(undefined.unsqueeze(-1), 0.0)
    found = []
    for sign in (1.0, -1.0):
        top = (sign * change).topk(min(k, change.shape[-1]), dim=-1)
        found.append(_top_of(top.values.to(torch.float64), top.indices, sign, top.values.shape[-1], undefined))
    return found[0], found[1]
