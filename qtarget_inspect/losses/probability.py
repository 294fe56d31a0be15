"""Losses in the probability itself, without a stop-gradient: p-loss, beyond-log."""

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import negative_log_likelihood


def p_loss(logits: Rows, labels: Labels) -> PerToken:
    """Expected error: L = -p_y. The gradient is DFT's, p_y (p - onehot(y)), without a stop-gradient.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.

    Returns:
        [N] in [-1, 0].

    Examples:
        >>> import torch
        >>> p_loss(torch.zeros(1, 4), torch.tensor([0]))
        tensor([-0.2500])
    """
    return -(-negative_log_likelihood(logits, labels)).exp()


def beyond_log(logits: Rows, labels: Labels, *, alpha: float = 10.0) -> PerToken:
    """Power family beyond the logarithm: L = (1 - p_y^a) / a (arXiv 2510.00526).

    The gradient is p_y^a (p - onehot(y)). a = 1 is the p-loss, a -> 0 is SFT, a < 0 trusts unlikely labels by more than
    1.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        alpha: a.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> beyond_log(torch.zeros(1, 2), torch.tensor([0]), alpha=2.0)
        tensor([0.3750])
    """
    nll = negative_log_likelihood(logits, labels)
    if alpha == 0:
        return nll
    # exp, not expm1: its derivative keeps its digits where p_y^a is far below the rounding of 1
    return (1 - (-alpha * nll).exp()) / alpha
