"""Row statistics: log p_y, 1 - p_y and entropy from logits and their softmax, without another exponential a token."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core import numerics

FAINT = {torch.float32: 1e-30, torch.float64: 1e-290}
"""Probabilities below this are near the end of their type and have lost digits; log-space takes over."""


def label_log_prob(logits: Tensor, probabilities: Tensor, labels: Tensor) -> Tensor:
    """log p_y from p_y itself, and from log-space where p_y underflows.

    Args:
        logits: [n, V] logits.
        probabilities: [n, V] their softmax.
        labels: [n] labels.

    Returns:
        [n] log p_y, nats, <= 0; as exact as `numerics.label_log_prob_from_logits`.
    """
    p_label = probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    log_p_label = p_label.log()
    faint = p_label < FAINT[p_label.dtype]
    if bool(faint.any()):
        log_p_label[faint] = numerics.label_log_prob_from_logits(logits[faint], labels[faint])
    return log_p_label


def one_minus_label_prob(logits: Tensor, probabilities: Tensor, labels: Tensor) -> Tensor:
    """1 - p_y as the sum of the other tokens' probabilities: exact where p_y rounds to 1.

    Args:
        logits: [n, V] logits.
        probabilities: [n, V] their softmax; the label's entry is taken out for a moment and put back.
        labels: [n] labels.

    Returns:
        [n] 1 - p_y in [0, 1].
    """
    index = labels.unsqueeze(-1)
    p_label = probabilities.gather(-1, index)
    others = probabilities.scatter_(-1, index, 0.0).sum(-1)
    probabilities.scatter_(-1, index, p_label)
    faint = others < FAINT[others.dtype]
    if bool(faint.any()):
        others[faint] = numerics.log_one_minus_label_prob(logits[faint], labels[faint]).exp()
    return others


def entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """H = -log p_max + sum_k p_k (z_max - z_k): two terms that are never negative, so none cancels the other.

    Args:
        logits: [n, V] logits.
        probabilities: [n, V] their softmax.

    Returns:
        [n] entropies in [0, log V], nats.
    """
    below = logits.amax(-1, keepdim=True) - logits
    found = below.mul_(probabilities).sum(-1) - probabilities.amax(-1).log()
    impossible = torch.isnan(found)  # 0 * inf at a logit of -inf
    if bool(impossible.any()):
        found[impossible] = numerics.entropy(logits[impossible].log_softmax(-1))
    return found
