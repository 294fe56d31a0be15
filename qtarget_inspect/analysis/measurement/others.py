"""Others: Q on the tokens that are not the label, summed up in cache, piece by piece."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.effective import Effective, Parts
from qtarget_inspect.analysis.measurement.reading import Reading
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core.state import MODEL, State

WRITTEN = ("positive", "negative", "largest", "positive_log", "negative_log", "cross")
"""What is summed of a Q that had to be written out."""

_NEARLY = 1e-4
"""Logarithms are summed only where the mass of the wrong sign is below this share of Q's size: else all is NaN."""


def less_source(reading: Reading, key: Exponents, weight: Tensor) -> Tensor:
    """p_k - w b_k over the others: what they lose where Q is one scaled source there.

    Args:
        reading: the rows.
        key: the source.
        weight: [n] or [1] w.

    Returns:
        [n, V] p - Q, 0 at the label, in scratch.
    """
    p, b = reading.source(SELF).others, reading.source(key).others
    if not key:
        level = (weight / p.shape[-1]).to(p.dtype).unsqueeze(-1)
        return torch.sub(p, level, out=reading.work()).scatter_(-1, reading.index, 0.0)
    if weight.shape[0] == 1:
        return torch.sub(p, b, alpha=float(weight), out=reading.work())
    return torch.addcmul(p, b, weight.to(p.dtype).unsqueeze(-1), value=-1, out=reading.work())


def write_others(reading: Reading, parts: Parts, weights: Effective) -> tuple[Tensor, Tensor]:
    """Q over the others, 0 at the label, in scratch; and [n] what the rest of the directions adds at the label."""
    p = reading.source(SELF).others
    q = _scaled_sum(reading, p, weights)
    at_label = torch.zeros_like(weights.gamma)
    state = State(reading.batch, p.dtype) if weights.rest else None
    for name, weight in weights.rest.items():
        assert state is not None
        direction = parts.direction(name)
        toward = direction.kind == "toward"
        rows = direction.values(state) if toward else direction.gradient(state)
        own = rows.gather(-1, reading.index)
        signed = weight if toward else -weight
        at_label = at_label + signed * own.squeeze(-1).to(torch.float64)
        q.addcmul_(rows.scatter(-1, reading.index, 0.0), signed.to(p.dtype).unsqueeze(-1))
    return q, at_label


def _scaled_sum(reading: Reading, p: Tensor, weights: Effective) -> Tensor:
    """[n, V] share p + sum_j w_j b_j over the others, in scratch."""
    share, work = weights.others_share, reading.work("q")
    terms = list(weights.sources.items())
    if share.shape[0] == 1 and float(share) == 1 and terms and terms[0][0] and terms[0][1].shape[0] == 1:
        key, weight = terms.pop(0)
        q = torch.add(p, reading.source(key).others, alpha=float(weight), out=work)
    else:
        q = torch.mul(p, share.to(p.dtype).unsqueeze(-1), out=work)
    for key, weight in terms:
        if key:
            q.addcmul_(reading.source(key).others, weight.to(p.dtype).unsqueeze(-1))
        else:
            q.add_((weight / p.shape[-1]).to(p.dtype).unsqueeze(-1)).scatter_(-1, reading.index, 0.0)
    return q


def sums_of_rows(reading: Reading, q: Tensor, weights: Effective) -> dict[str, Tensor]:
    """The sums over a Q that is written out.

    Args:
        reading: the rows.
        q: [n, V] Q over the others, 0 at the label.
        weights: the effective weights.

    Returns:
        name -> [n], the names being those of `WRITTEN`.
    """
    work = reading.work()
    negative = torch.clamp(q, max=0.0, out=work).sum(-1).neg_()
    positive = q.sum(-1).add_(negative)
    largest = torch.ones_like(negative) if weights.is_small else torch.maximum(q.amax(-1), -q.amin(-1))
    return with_logs(reading, lambda rows: q[rows], positive, negative, largest, weights)


def with_logs(
    reading: Reading,
    q_of: Callable[[Tensor], Tensor],
    positive: Tensor,
    negative: Tensor,
    largest: Tensor,
    weights: Effective,
    summed: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The sums over a Q, with those of logarithms on the rows where they are needed.

    Args:
        reading: the rows.
        q_of: numbers of rows -> their Q over the others, 0 at the label.
        positive: [n] sum of the positive entries.
        negative: [n] size of the sum of the negative ones.
        largest: [n] the largest in size.
        weights: the effective weights.
        summed: [n] sum q log q and [n] sum q log p of the positive entries, where they are known already.

    Returns:
        name -> [n], the names being those of `WRITTEN`.
    """
    size = torch.maximum(largest, (1 - weights.gamma).abs().to(largest.dtype)).clamp(min=1).mul_(_NEARLY)
    positive_log, cross = _logs(reading, q_of, negative <= size) if summed is None else summed
    negative_log, _ = _logs(reading, q_of, (positive <= size) & (weights.gamma > 1), sign=-1)
    found = (positive, negative, largest, positive_log, negative_log, cross)
    return dict(zip(WRITTEN, found, strict=True))


def _logs(reading: Reading, q_of: Callable[[Tensor], Tensor], wanted: Tensor, sign: int = 1) -> tuple[Tensor, Tensor]:
    """[n] sum |q| log |q| and sum |q| log p over the entries of one sign, on the wanted rows; NaN on the others."""
    logs, cross = (torch.full(wanted.shape, torch.nan, dtype=reading.scratch.dtype, device=wanted.device) for _ in "ab")
    rows = wanted.nonzero().flatten()
    if not len(rows):
        return logs, cross
    part = (q_of(rows) * sign).clamp_(min=0.0)
    log_part = part.clamp(min=torch.finfo(part.dtype).tiny).log_()  # 0 log 0 is 0; xlogy takes three times as long
    logs[rows] = log_part.mul_(part).sum(-1)
    if sign > 0 and reading.careful:
        log_p = reading.logits(MODEL)[rows].log_softmax(-1)
        cross[rows] = torch.where(part > 0, log_p.mul_(part), 0.0).sum(-1)
    elif sign > 0:
        towards = torch.mul(reading.logits(MODEL)[rows], part, out=log_part).sum(-1)
        cross[rows] = less_log_partition(reading, towards, part.sum(-1), rows)
    return logs, cross


def less_log_partition(reading: Reading, towards: Tensor, mass: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
    """[m] sum q log p = sum q z - log Z sum q.

    Args:
        reading: the rows.
        towards: [m] sum q z.
        mass: [m] sum q.
        rows: which rows these are.

    Returns:
        The sum; NaN where a token is impossible.
    """
    log_partition = reading.own(MODEL) - reading.log_label(MODEL)
    return (towards - log_partition[rows] * mass).to(mass.dtype)
