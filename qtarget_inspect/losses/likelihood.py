"""Maximum likelihood and its smoothed label: SFT, label smoothing."""

import torch

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import cross_entropy, negative_log_likelihood


def sft(logits: Rows, labels: Labels) -> PerToken:
    """Cross-entropy to the observed token: L = -log p_y.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> sft(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
        tensor([0.6931])
    """
    return negative_log_likelihood(logits, labels)


def label_smoothing(logits: Rows, labels: Labels, *, label_smoothing: float = 0.1) -> PerToken:
    """Cross-entropy to a smoothed label: L = (1-l) CE(onehot(y), p) + l CE(uniform, p).

    The uniform covers the whole vocabulary, the label included, as in torch; at l = 0 it is SFT (arXiv 1512.00567).

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        label_smoothing: l in [0, 1).

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> label_smoothing(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), label_smoothing=0.2)
        tensor([0.4133])
    """
    uniform = torch.full_like(logits, label_smoothing / logits.shape[-1])
    return (1 - label_smoothing) * negative_log_likelihood(logits, labels) + cross_entropy(uniform, logits)
