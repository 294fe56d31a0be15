"""Clipped importance ratio of the label: Proximal SFT."""

import torch

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.policy_gradient import ppo


def psft(
    logits: Rows, labels: Labels, old_logits: Rows, *, epsilon: float = 0.2, epsilon_high: float = 0.28
) -> PerToken:
    """Proximal SFT: L = -min(r, clip(r, 1-e, 1+e_high)), r = p_y / old_y (arXiv 2508.17784).

    `ppo` with an advantage of 1 everywhere, where the lower clip never acts: the minimum is r itself below 1 + e_high,
    a constant above.

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
    advantages = torch.ones_like(logits[..., 0])
    return ppo(logits, labels, old_logits, advantages, epsilon=epsilon, epsilon_high=epsilon_high)
