"""Moments: from the raw sums of every source to its logarithms on all N tokens, float64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.collected import Collected
from qtarget_inspect.analysis.measurement.law_state import ONE_MINUS_LABEL, label_key
from qtarget_inspect.analysis.measurement.reading import Reading, Scratch
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core import numerics
from qtarget_inspect.core.row_statistics import FAINT
from qtarget_inspect.core.state import MODEL

FAR = 64.0
"""Where log Z of the logits is larger than this, means of logits lose digits to the offset, and they are centred."""

_ARRAYS = 8
"""Arrays [rows, V] that a piece may take in log-space."""


def collect(reading: Reading, key: Exponents, rows: slice, collected: Collected, with_means: bool) -> None:
    """Keep the raw sums of one source on one piece.

    Args:
        reading: the piece.
        key: the source.
        rows: where the piece stands.
        collected: where they go.
        with_means: whether means of logits are needed too, for its logarithms.
    """
    if not collected.has_at((key, "label"), rows):
        source = reading.source(key)
        collected.store((key, "label"), rows, source.label)
        if key == SELF:
            collected.store(ONE_MINUS_LABEL, rows, reading.mass(SELF))
        for name, _ in key:
            if not collected.has_at(("own", name), rows):
                collected.store(("own", name), rows, reading.own(name))
        if reading.careful and key:
            collected.store((key, "partition"), rows, reading.scores(key).logsumexp(-1))
    if with_means:
        names = list(dict.fromkeys((MODEL, *(name for name, _ in key))))
        for name in names:
            if not collected.has_at((key, "mean", name), rows):
                found = reading.mean_logit(key, name, last=name == names[-1])
                collected.store((key, "mean", name), rows, found)


def collect_label(reading: Reading, key: Exponents, rows: slice, collected: Collected) -> None:
    """Keep what a model's probability of the label is worked out from.

    Args:
        reading: the piece.
        key: the model as a source.
        rows: where the piece stands.
        collected: where it goes.
    """
    if not collected.has_at((key, "rest"), rows):
        collect(reading, key, rows, collected, with_means=False)
        collected.store((key, "rest"), rows, reading.mass(key))


def finish(collected: Collected, keys: Iterable[Exponents]) -> bool:
    """Work out, for each source b, `mass`, `logs` (sum b log b) and `cross` (sum b log p) over the others.

    Args:
        collected: with the raw sums of all pieces; is added to.
        keys: the sources.

    Returns:
        False where the rows must be read again with care: logits are far from 0, or -inf is among them.
    """
    partitions: dict[Exponents, Tensor] = {}
    for key in (SELF, *(key for key in keys if key != SELF)):
        label = collected.get((key, "label"))
        if key == SELF:
            _mend_rest(collected)
        rest = collected.get(ONE_MINUS_LABEL) if key == SELF else 1 - label
        if collected.has((key, "rest")):
            rest = collected.get((key, "rest"))
        collected.put((key, "mass"), rest)
        if not key:
            partitions[key] = torch.full_like(label, math.log(collected.stream.tokens.vocabulary))
        elif collected.has((key, "partition")):
            partitions[key] = collected.get((key, "partition"))
            own = sum((power * collected.get(("own", name)) for name, power in key), torch.zeros_like(label))
            log_label = own - partitions[key]
        else:
            log_label = _log_label(collected, key, label, rest)
            own = sum((power * collected.get(("own", name)) for name, power in key), torch.zeros_like(label))
            partitions[key] = own - log_label
            if not bool((partitions[key].abs() <= FAR).all()):
                return False
        if key == SELF or collected.has((key, "rest")):
            log_label = torch.where(rest < 0.5, torch.log1p(-rest), log_label)
            collected.put(label_key(key[0][0]), log_label)
        if not collected.has((key, "mean", MODEL)):
            continue
        for what, of in (("logs", key), ("cross", SELF)):
            total = -partitions[of] * rest
            for name, power in of:
                total = total + power * collected.get((key, "mean", name))
            if bool(torch.isnan(total).any()) and not collected.has((SELF, "partition")):
                return False
            collected.put((key, what), total)
    return True


def _log_label(collected: Collected, key: Exponents, label: Tensor, rest: Tensor) -> Tensor:
    """[N] log b_y; from log-space where b_y underflows."""
    found = torch.where(rest < 0.5, torch.log1p(-rest), label.log())
    for where, scores, labels in _picked(collected, key, label < FAINT[collected.stream.dtype]):
        found[where] = numerics.label_log_prob_from_logits(scores, labels).to(torch.float64)
    return found


def _mend_rest(collected: Collected) -> None:
    """1 - p_y from log-space where the others' probabilities underflow."""
    rest = collected.get(ONE_MINUS_LABEL)
    for where, scores, labels in _picked(collected, SELF, rest < FAINT[collected.stream.dtype]):
        rest[where] = numerics.log_one_minus_label_prob(scores, labels).to(torch.float64).exp()
    collected.put(ONE_MINUS_LABEL, rest)


def _picked(collected: Collected, key: Exponents, mask: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield places, scores and labels of the tokens under a mask."""
    if not bool(mask.any()):
        return
    stream = collected.stream
    size = stream.rows(_ARRAYS)
    scratch = Scratch(size, stream.tokens.vocabulary, stream.dtype, stream.device)
    for rows, piece in stream.pieces(size):
        picked = mask[rows].nonzero().flatten()
        if len(picked):
            reading = Reading(piece.select(picked), scratch)
            yield picked + rows.start, reading.scores(key), reading.batch.labels
