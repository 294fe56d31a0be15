"""Terms that several losses share: weighted likelihood, cross-entropy to a distribution, KL. Safe at logits of -inf."""

import torch

from qtarget_inspect.core.numerics import expectation, label_log_prob, one_hot
from qtarget_inspect.core.shapes import Labels, PerToken, Rows


def negative_log_likelihood(logits: Rows, labels: Labels) -> PerToken:
    """-log p_y.

    Args:
        logits: [..., V] logits.
        labels: [...] labels.

    Returns:
        [...] nats, >= 0.
    """
    return -label_log_prob(logits.log_softmax(-1), labels)


def log_other_mass(logits: Rows, labels: Labels) -> PerToken:
    """log(1 - p_y), from the other tokens' logits: it keeps its digits where p_y rounds to 1.

    Args:
        logits: [..., V] logits.
        labels: [...] labels.

    Returns:
        [...] nats, <= 0.
    """
    centred = logits - logits.detach().amax(-1, keepdim=True)  # large logits would cost digits
    others = torch.where(one_hot(labels, logits) == 1, float("-inf"), centred)
    return others.logsumexp(-1) - centred.logsumexp(-1)


def weighted_likelihood(weight: PerToken, nll: PerToken) -> PerToken:
    """-sg[weight] log p_y, with 0 * inf = 0.

    Args:
        weight: [...] weights; no gradient flows through them.
        nll: [...] -log p_y.

    Returns:
        [...] nats.
    """
    weight = weight.detach()
    return weight * torch.where(weight == 0, 0.0, nll)


def cross_entropy(target: Rows, logits: Rows) -> PerToken:
    """CE(b, p) = -sum_k b_k log p_k.

    Args:
        target: [..., V] a distribution.
        logits: [..., V] logits of p.

    Returns:
        [...] nats.
    """
    return -expectation(target, logits.log_softmax(-1))


def kl_to(log_target: Rows, logits: Rows) -> PerToken:
    """Forward KL(b || p) = sum_k b_k (log b_k - log p_k).

    Args:
        log_target: [..., V] log b.
        logits: [..., V] logits of p.

    Returns:
        [...] nats, >= 0.
    """
    target = log_target.exp()
    return cross_entropy(target, logits) + expectation(target, log_target)
