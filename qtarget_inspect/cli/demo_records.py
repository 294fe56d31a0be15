"""The demo's numbers as tables: every token under every loss, and Q over the vocabulary at one token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from qtarget_inspect.analysis.decomposition import Decomposition
    from qtarget_inspect.core.batch import TokenBatch

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
    """One row a token and loss: gamma, Q on the label, which tokens gain and which loses most.

    Args:
        readings: loss -> decomposition.
        batch: the tokens.
        decode: token ids -> texts.

    Returns:
        position (from 1), token, p_label, teacher_p_label, reference_p_label, loss, method, gauge, gamma, q_label,
        gain_1_token, gain_1 (Q - p) and so on to 3, loss_token, loss_change, negative_mass.
    """
    p_label = {name: _label_probability(batch, name) for name in ("logits", "teacher_logits", "reference_logits")}
    rows = []
    for loss, reading in readings.items():
        change = reading.q - reading.target.p  # [N, V]
        gains, losses = change.topk(GAINERS), change.min(-1)
        texts = _texts(decode, torch.cat([gains.indices, losses.indices.unsqueeze(-1)], -1))
        q_label = reading.q.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)
        negative = (-reading.q).clamp(min=0).sum(-1)
        for index, token in enumerate(batch.tokens or ()):
            row: dict[str, Any] = {
                "position": index + 1,
                "token": shown(token),
                "p_label": float(p_label["logits"][index]),
                "teacher_p_label": float(p_label["teacher_logits"][index]),
                "reference_p_label": float(p_label["reference_logits"][index]),
                "loss": loss,
                "method": _title(reading, loss),
                "gauge": reading.gauge,
                "gamma": float(reading.gamma[index]),
                "q_label": float(q_label[index]),
            }
            for place in range(GAINERS):
                row[f"gain_{place + 1}_token"] = texts[index][place]
                row[f"gain_{place + 1}"] = float(gains.values[index, place])
            row |= {"loss_token": texts[index][GAINERS], "loss_change": float(losses.values[index])}
            rows.append({**row, "negative_mass": float(negative[index])})
    return pd.DataFrame(rows)


def target_records(
    readings: dict[str, Decomposition], batch: TokenBatch, decode: Decode, index: int, tokens: int = 6
) -> pd.DataFrame:
    """p and Q of one token over the part of the vocabulary where most happens.

    Args:
        readings: loss -> decomposition.
        batch: the tokens.
        decode: token ids -> texts.
        index: which token, from 0.
        tokens: how many entries of the vocabulary: the label, and those where p or some Q is largest.

    Returns:
        One row a loss and entry: loss, method, category, gauge, gamma, token, is_label, p, q; label first, then by p.
    """
    label = int(batch.labels[index])
    p = next(iter(readings.values())).target.p[index]
    size = torch.stack([p, *(reading.q[index].abs() for reading in readings.values())]).amax(0)
    others = [int(entry) for entry in size.topk(tokens).indices if int(entry) != label][: tokens - 1]
    entries = [label, *sorted(others, key=lambda entry: -float(p[entry]))]
    texts = [shown(text) for text in decode(entries)]
    return pd.DataFrame(
        {
            "loss": loss,
            "method": _title(reading, loss),
            "category": reading.target.variant.category if reading.target.variant else "",
            "gauge": reading.gauge,
            "gamma": float(reading.gamma[index]),
            "token": text,
            "is_label": entry == label,
            "p": float(p[entry]),
            "q": float(reading.q[index, entry]),
        }
        for loss, reading in readings.items()
        for entry, text in zip(entries, texts, strict=True)
    )


@dataclass(frozen=True)
class TellingToken:
    """A token that shows what sets the losses apart.

    Args:
        index: which, from 0.
        name: "rescue".
        why: the rule that found it.
    """

    index: int
    name: str
    why: str


def telling_tokens(readings: dict[str, Decomposition], batch: TokenBatch) -> list[TellingToken]:
    """The token for which each of five rules holds most; no token twice.

    Args:
        readings: loss -> decomposition.
        batch: the tokens, with teacher.

    Returns:
        In the order of the rules.
    """
    p, teacher = _label_probability(batch, "logits"), _label_probability(batch, "teacher_logits")
    top = batch.logits.to(torch.float64).softmax(-1).amax(-1)
    negative = torch.stack([(-reading.q).clamp(min=0).sum(-1) for reading in readings.values()]).amax(0)
    rules = (
        ("rescue", "the teacher trusts it far more than the model does", teacher - p),
        ("filter", "neither the model nor the teacher believes in it", -torch.maximum(p, teacher)),
        ("doubted", "the teacher trusts it far less than the model does", p - teacher),
        ("conflict", "the model is surest of another token here", top - p),
        ("signed", "a loss takes more from other tokens here than they have: Q < 0", negative),
    )
    found: list[TellingToken] = []
    for name, why, score in rules:
        taken = torch.tensor([token.index for token in found], dtype=torch.long)
        free = score.index_fill(0, taken, -torch.inf)
        found.append(TellingToken(int(free.argmax()), name, why))
    return found[: len(batch)]


def shown(text: str) -> str:
    r"""A token's text with its spaces and line breaks visible.

    Args:
        text: the text.

    Returns:
        The text on one line.

    Examples:
        >>> shown(" she\n")
        '·she⏎'
    """
    visible = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in visible)


def _label_probability(batch: TokenBatch, name: str) -> Tensor:
    """[N] probability of the label under the model or one of the others."""
    logits = getattr(batch, name).to(torch.float64)
    return logits.softmax(-1).gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)


def _texts(decode: Decode, ids: Tensor) -> list[list[str]]:
    flat = [shown(text) for text in decode(ids.flatten().tolist())]
    return [flat[start : start + ids.shape[1]] for start in range(0, len(flat), ids.shape[1])]


def _title(reading: Decomposition, loss: str) -> str:
    return reading.target.variant.title if reading.target.variant else loss
