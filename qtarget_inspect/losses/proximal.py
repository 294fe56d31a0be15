"""Clipped importance ratio of the label: Proximal SFT."""

import math

import torch

from qtarget_inspect.core.numerics import label_log_prob
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import negative_log_likelihood


def psft(
    logits: Rows, labels: Labels, old_logits: Rows, *, epsilon: float = 0.2, epsilon_high: float = 0.28
) -> PerToken:
    """Proximal SFT: L = -min(r, clip(r, 1-e, 1+e_high)), r = p_y / old_y (arXiv 2508.17784).

    With an advantage of 1 the lower clip never acts: the minimum is r itself below 1 + e_high, a constant above.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        old_logits: [N, V] logits of the policy before the update.
        epsilon: e in [0, 1), the lower clip.
        epsilon_high: e_high >= 0, the upper clip.

    Returns:
        [N] in [-(1 + e_high), 0].

    Examples:
        >>> import torch
        >>> z = torch.zeros(1, 2)
        >>> psft(z, torch.tensor([0]), z)
        tensor([-1.])
    """
    log_old = label_log_prob(old_logits.log_softmax(-1), labels)
    nll = negative_log_likelihood(logits, labels)
    log_ratio = torch.where(torch.isinf(nll), float("-inf"), -nll - log_old)  # an impossible label has ratio 0, not 0/0
    ratio = log_ratio.clamp(max=math.log(1 + epsilon_high) + 1).exp()  # cut above the clip, before exp can overflow
    return -torch.minimum(ratio, ratio.clamp(1 - epsilon, 1 + epsilon_high))
