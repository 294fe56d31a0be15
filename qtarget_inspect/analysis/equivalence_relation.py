"""Relation: how two gradients are related over all states, from their rows: one factor, a factor a token, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from qtarget_inspect.analysis.gradient_rows import RowComparison
from qtarget_inspect.analysis.step_laws import label_law, labels_in_words, power_law, quantities
from qtarget_inspect.core.batch import TokenBatch

Relation = Literal["same", "constant factor", "per-token factor", "different"]


def relation_of(rows: RowComparison) -> tuple[Relation, float]:
    """The simplest relation that holds on every row.

    Args:
        rows: the comparison, of all states.

    Returns:
        The relation, and its factor: 1 for "same", NaN where no constant relates them.

    Examples:
        >>> import torch
        >>> from qtarget_inspect.analysis.gradient_rows import compare_gradient_rows
        >>> g = torch.tensor([[0.5, -0.5], [0.1, -0.1]], dtype=torch.float64)
        >>> steps = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
        >>> [
        ...     relation_of(compare_gradient_rows(other, g, torch.float64))[0]
        ...     for other in (g, -g, steps * g, g.flip(1) + 1)
        ... ]
        ['same', 'constant factor', 'per-token factor', 'different']
    """
    if bool(rows.equal.all()):
        return "same", 1.0
    if not bool(rows.aligned.all()):
        return "different", float("nan")
    constant = float(rows.ratio[rows.surest])
    if _is_constant(constant, rows):
        return "constant factor", constant
    if not bool(rows.alive_a.any()) or not bool(rows.alive_b.any()) or bool(_opposite(rows).any()):
        return "different", float("nan")
    return "per-token factor", float("nan")


def _is_constant(constant: float, rows: RowComparison) -> bool:
    """Whether aligned rows have one factor. Rows that are not sure are rounding beside the others, whatever theirs."""
    sure = rows.sure
    if constant == 0 or not np.isfinite(constant) or not bool(sure.any()) or bool((rows.only_a | rows.only_b).any()):
        return False
    return bool((np.abs(rows.ratio - constant)[sure] <= rows.slack[sure] + rows.slack[rows.surest]).all())


def _opposite(rows: RowComparison) -> np.ndarray:
    """[N] bool, rows on one line but in opposite directions."""
    return rows.aligned & rows.sure & (rows.ratio < -rows.slack)


def factor_of(relation: Relation, constant: float, rows: RowComparison) -> float | tuple[float, float] | None:
    """The factor of the first gradient to the second, as far as there is one.

    Args:
        relation: how they are related.
        constant: the factor of a constant relation.
        rows: the comparison, of all states.

    Returns:
        The constant; (smallest, largest) where all rows lie on one line; None otherwise.
    """
    if relation in ("same", "constant factor"):
        return constant
    if not bool(rows.aligned.all()) or not bool(rows.sure.any()):
        return None
    known = rows.ratio[rows.sure]
    return float(known.min()), float("inf") if bool(rows.only_a.any()) else float(known.max())


def law_of(relation: Relation, rows: Sequence[RowComparison], batches: Sequence[TokenBatch]) -> str | None:
    """What a varying factor is where both have a gradient, looked for if all rows lie on one line.

    Args:
        relation: how the gradients are related.
        rows: the comparison, batch by batch.
        batches: the batches.

    Returns:
        The law in words, None where there is none to be told.
    """
    if relation in ("same", "constant factor") or not all(bool(part.aligned.all()) for part in rows):
        return None
    sure = [part.sure & ~part.only_b for part in rows]
    if not any(bool(part.any()) for part in sure):
        return None
    known = [quantities(part) for part in batches]
    shared = [name for name in known[0] if all(name in one for one in known)]
    factor = [part.ratio[ok] for part, ok in zip(rows, sure, strict=True)]
    slack = [part.slack[ok] for part, ok in zip(rows, sure, strict=True)]
    candidates = {name: np.concatenate([one[name][ok] for one, ok in zip(known, sure, strict=True)]) for name in shared}
    law = power_law(np.concatenate(factor), np.concatenate(slack), candidates)
    if law is not None or len({part.vocabulary for part in batches}) > 1:
        return law
    labels = [part.labels.cpu().numpy()[ok] for part, ok in zip(batches, sure, strict=True)]
    by_label = label_law(factor, slack, labels)
    return None if by_label is None else labels_in_words(by_label)


def error_under(relation: Relation, constant: float, rows: RowComparison) -> float:
    """What is left of the difference under a relation.

    Args:
        relation: how the gradients are related.
        constant: the factor of a constant relation.
        rows: the comparison, of all states.

    Returns:
        The largest |g_a - factor g_b|; the plain difference for "same" and "different".
    """
    if relation == "per-token factor":
        return float(rows.remainder.max())
    if relation != "constant factor":
        return float(rows.difference.max())
    sure = rows.sure
    off = np.abs(rows.ratio - constant)[sure] * rows.size_b[sure]
    return float(max(off.max(), rows.remainder.max()))
