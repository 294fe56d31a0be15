"""Terms that several losses share: weighted likelihood, cross-entropy to a distribution, KL. Safe at logits of -inf."""

import torch

from qtarget_inspect.core.numerics import expectation, label_log_prob, one_hot
from qtarget_inspect.core.shapes import Labels, Mask, PerToken, Rows


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
        [...] nats, <= 0; -inf without a slope where there are no others (`is_sole`).
    """
    centred = logits - logits.detach().amax(-1, keepdim=True)  # large logits would cost digits
    others = torch.where(one_hot(labels, logits) == 1, float("-inf"), centred)
    return others.logsumexp(-1) - centred.logsumexp(-1)


def is_sole(logits: Rows, labels: Labels) -> Mask:
    """Whether all tokens but the label have logits of -inf: p_y is 1, and log(1 - p_y) has no slope.

    Args:
        logits: [..., V] logits.
        labels: [...] labels.

    Returns:
        [...] bool.
    """
    return (torch.isneginf(logits) | (one_hot(labels, logits) == 1)).all(-1)


def log_likelihood(logits: Rows, labels: Labels) -> PerToken:
    """log p_y with its digits also where p_y rounds to 1, as log(1 - (1 - p_y)).

    `negative_log_likelihood` is 0 there; that is close enough for a loss, not for one that divides by it.

    Args:
        logits: [..., V] logits.
        labels: [...] labels.

    Returns:
        [...] nats, <= 0.
    """
    sole = is_sole(logits, labels)
    log_rest = log_other_mass(torch.where(sole.unsqueeze(-1), 0.0, logits), labels)
    likely = (log_rest < -1) & ~sole
    rest = torch.where(likely, log_rest, -1.0).exp()  # what is not used must have a finite slope too
    return torch.where(likely, torch.log1p(-rest), -negative_log_likelihood(logits, labels))


def label_log_ratio(logits: Rows, other_logits: Rows, labels: Labels) -> PerToken:
    """log(p_y / b_y), 0 where both find the label impossible.

    Args:
        logits: [..., V] logits of p.
        other_logits: [..., V] logits of b.
        labels: [...] labels.

    Returns:
        [...] nats; infinite where just one of them finds it impossible.
    """
    log_p, log_b = -negative_log_likelihood(logits, labels), -negative_log_likelihood(other_logits, labels)
    return torch.where(torch.isneginf(log_p) & torch.isneginf(log_b), 0.0, log_p - log_b)


def top_k_entropy(logits: Rows, top_k: int) -> PerToken:
    """Entropy of the renormalised top k of p; no gradient flows through it.

    Args:
        logits: [..., V] logits.
        top_k: k, cut to V.

    Returns:
        [...] nats in [0, ln k].
    """
    log_top = logits.detach().topk(min(top_k, logits.shape[-1]), dim=-1).values.log_softmax(-1)
    return -expectation(log_top.exp(), log_top)


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
