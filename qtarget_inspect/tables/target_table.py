"""Target table: p, Q and the residual of one token, over the part of the vocabulary where most happens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import FLAG_UNEXPLAINED, Decomposition
from qtarget_inspect.analysis.measurement.numbers import LOST
from qtarget_inspect.core.checks import is_list, is_whole
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.tables.method_titles import method_titles
from qtarget_inspect.tables.shown_text import shown_entries, shown_labels


def target_table(
    reading: Decomposition | Sequence[Decomposition], token: int = 0, *, top_tokens: int = 6, texts: Any = None
) -> pd.DataFrame:
    """One token's p, Q and residual, a row a loss and entry of the vocabulary.

        Q = gamma onehot(y) + (1 - gamma) residual

    `token_table` is about many tokens and their labels; this is about one token and what becomes of the others.

    Args:
        reading: what `decompose` returned, or several on the same batch.
        token: which token of the batch, from 0; negative counts from the end.
        top_tokens: how many entries: the label, and those where p or some |Q| is largest.
        texts: what tells the entries' texts: a function of ids to texts, or a tokenizer. Without it an entry is
            "token 17"; of the label, the text that the batch holds.

    Returns:
        Columns loss, method (its title), category ("" for a loss that is not registered), gauge, reading, gamma,
        position (of the token, from 1), entry (its id), token (its text), is_label, p, q, residual, change (Q - p).
        The label stands first, then by falling p. NaN where Q or the residual is undefined (the residual, where gamma
        is 1 or so near to it that what the pulls leave unexplained counts; both, where a fit leaves a part of the
        gradient). Entries that are left out hold what the shown ones lack to the sum of Q.

    Raises:
        QTargetError: an argument is none of the above, or the readings are of different batches.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> batch = qt.TokenBatch(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]))
        >>> table = target_table(qt.decompose(qt.invert("dft", batch)), top_tokens=2)
        >>> table[["token", "p", "q", "residual"]].round(3).values.tolist()
        [['token 1', 0.3, 0.51, 0.3], ['token 0', 0.5, 0.35, 0.5]]
    """
    readings = _checked(reading, top_tokens)
    batch = readings[0].target.batch
    index = _row(token, len(batch))
    rows = [_one_token(one, index) for one in readings]
    label = int(batch.labels[index])
    p = rows[0].target.p[0]
    size = torch.stack([p, *(torch.nan_to_num(row.q[0]).abs() for row in rows)]).amax(0)  # [V]
    others = [entry for entry in size.topk(min(top_tokens, len(size))).indices.tolist() if entry != label]
    entries = [label, *sorted(others[: top_tokens - 1], key=lambda entry: -float(p[entry]))]
    named = shown_entries(entries, texts)
    if texts is None:
        named[0] = shown_labels(batch.select(index))[0]
    variants = [one.target.variant for one in readings]
    losses = [one.target.loss for one in readings]
    titles = method_titles(losses, [one.title if one else loss for loss, one in zip(losses, variants, strict=True)])
    return pd.DataFrame(
        {
            "loss": row.target.loss,
            "method": title,
            "category": variant.category if variant else "",
            "gauge": row.gauge,
            "reading": row.reading,
            "gamma": float(row.gamma[0]) if FLAG_UNEXPLAINED not in row.flags else math.nan,
            "position": index + 1,
            "entry": entry,
            "token": text,
            "is_label": entry == label,
            "p": float(p[entry]),
            "q": float(row.q[0, entry]),
            "residual": float(row.residual[0, entry]) if _has_residual(row) else math.nan,
            "change": float(row.q[0, entry] - p[entry]),
        }
        for row, title, variant in zip(rows, titles, variants, strict=True)
        for entry, text in zip(entries, named, strict=True)
    )


def _has_residual(row: Decomposition) -> bool:
    """Whether its entries are more than noise: remainder / (1 - gamma) magnifies what the pulls leave unexplained."""
    return float(row.unexplained[0]) <= LOST * abs(1 - float(row.gamma[0]))


def _one_token(reading: Decomposition, index: int) -> Decomposition:
    """The reading of one token alone, so that residual and normalized Q are not made for all N."""
    rows = slice(index, index + 1)
    whole = reading.target

    def gradient() -> Tensor:
        return whole.g[rows]

    return replace(
        reading,
        target=replace(whole, q=whole.q[rows], batch=whole.batch.select(rows), make_gradient=gradient),
        gamma=reading.gamma[rows],
        pulls={name: weight[rows] for name, weight in reading.pulls.items()},
        total_pull=reading.total_pull[rows],
        unexplained=reading.unexplained[rows],
        flags={name: mask[rows] for name, mask in reading.flags.items()},
    )


def _checked(reading: Any, top_tokens: Any) -> list[Decomposition]:
    readings = [reading] if isinstance(reading, Decomposition) else list(reading) if is_list(reading) else []
    if not readings or not all(isinstance(one, Decomposition) for one in readings):
        raise QTargetError(
            f"target_table takes what qt.decompose returns, or a list of them, not {_kind(reading)}: "
            "qt.target_table(qt.decompose(qt.invert(loss, batch), gauge='natural'))."
        )
    if not is_whole(top_tokens) or top_tokens < 1:
        raise QTargetError(f"top_tokens must be a positive integer, not {top_tokens!r}; 6 is usual.")
    first = readings[0].target.batch
    for one in readings[1:]:
        other = one.target.batch
        if other is not first and not (
            other.logits.shape == first.logits.shape
            and torch.equal(other.labels, first.labels)
            and torch.equal(other.logits, first.logits)
        ):
            shapes = f"[N, V] = {list(first.logits.shape)} and {list(other.logits.shape)}"
            raise QTargetError(
                f"target_table: {readings[0].target.loss} and {one.target.loss} were read on different batches "
                f"({shapes}, or other values). Invert both on one."
            )
    return readings


def _kind(value: Any) -> str:
    if is_list(value):
        return f"a list of {', '.join(sorted({type(one).__name__ for one in value})) or 'nothing'}"
    return type(value).__name__


def _row(token: Any, tokens: int) -> int:
    if not is_whole(token) or not -tokens <= token < tokens:
        raise QTargetError(
            f"token must be the place of one of the {tokens} tokens, from {-tokens} to {tokens - 1}, not {token!r}."
        )
    return int(token) % tokens
