"""Likelihood against the model's own tempered distribution: GEM."""

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import cross_entropy, negative_log_likelihood


def gem(logits: Rows, labels: Labels, *, beta: float = 0.7) -> PerToken:
    """GEM: L = CE(onehot(y), p) - CE(sg q, p), q proportional to p^(1/b) (arXiv 2408.16673).

    The two pulls cancel in total, so Q = onehot(y) + p - q has negative mass. The released script weights the pairs by
    a sigmoid by default, about half the step; this is the form of the paper.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        beta: b > 0; below 1, as in the paper, q is sharper than p.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> gem(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.])
    """
    q = (logits.detach().log_softmax(-1) / beta).softmax(-1)
    return negative_log_likelihood(logits, labels) - cross_entropy(q, logits)
