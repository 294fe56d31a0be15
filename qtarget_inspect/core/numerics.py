"""Log-space numerics: what stays exact where p_y -> 0, p_y -> 1 and logits are -inf."""

import torch

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.core.top_tokens import top_tokens


def label_log_prob(log_p: Rows, labels: Labels) -> PerToken:
    """Log probability of each label.

    Args:
        log_p: [..., V] log-probabilities, nats.
        labels: [...] integer labels.

    Returns:
        [...] log p_y, nats, <= 0.
    """
    return log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def label_log_prob_from_logits(logits: Rows, labels: Labels) -> PerToken:
    """Log probability of each label, from logits.

    log p_y = (z_y - m) - logsumexp_k(z_k - m), m = max z: without the centring, large logits would cost digits.

    Args:
        logits: [..., V] logits.
        labels: [...] integer labels.

    Returns:
        [...] log p_y, nats, <= 0.
    """
    centred = logits - logits.amax(-1, keepdim=True)
    return label_log_prob(centred, labels) - centred.logsumexp(-1)


def log_one_minus_label_prob(logits: Rows, labels: Labels) -> PerToken:
    """log(1 - p_y), from the other tokens' logits: exact where p_y rounds to 1.

    log(1 - p_y) = logsumexp_{k != y} z_k - logsumexp_k z_k.

    Args:
        logits: [..., V] logits (or log-probabilities).
        labels: [...] integer labels.

    Returns:
        [...] log(1 - p_y), nats, <= 0.
    """
    centred = logits - logits.amax(-1, keepdim=True)
    others = centred.scatter(-1, labels.unsqueeze(-1), float("-inf"))
    return torch.logsumexp(others, -1) - torch.logsumexp(centred, -1)


def expectation(distribution: Rows, values: Rows) -> PerToken:
    """Expectation over the vocabulary with 0 * (+-inf) = 0, in value and in gradient.

    E_b[v] = sum over k with b_k > 0 of b_k v_k. A vocabulary entry that is masked by a logit of -inf has probability 0
    and log-probability -inf; the plain product would be NaN.

    Args:
        distribution: [..., V] weights b.
        values: [..., V] values v, may hold -inf where b is 0.

    Returns:
        [...] the expectation, in the units of v.
    """
    return (distribution * torch.where(distribution == 0, 0.0, values)).sum(-1)


def entropy(log_p: Rows) -> PerToken:
    """Shannon entropy H = -sum p log p of the last axis, nats.

    Args:
        log_p: [..., V] log-probabilities, -inf allowed.

    Returns:
        [...] entropies in [0, log V].
    """
    return -expectation(log_p.exp(), log_p)


def top_k_entropy(log_p: Rows, top_k: int) -> PerToken:
    """Entropy of the renormalised top k of the last axis, nats; k is cut to V.

    Args:
        log_p: [..., V] log-probabilities (or logits), -inf allowed.
        top_k: how many of the largest entries to keep, >= 1.

    Returns:
        [...] entropies in [0, log k].
    """
    return entropy(top_tokens(log_p, top_k)[0].log_softmax(-1))


def one_hot(labels: Labels, like: Rows) -> Rows:
    """One-hot rows of the labels with the shape, dtype and device of `like`.

    Args:
        labels: [...] integer labels.
        like: [..., V] the tensor to resemble.

    Returns:
        [..., V] rows of zeros with a one at the label.
    """
    index = labels.unsqueeze(-1)
    ones = torch.ones_like(index, dtype=like.dtype)  # a tensor, since vmap has no rule for scattering a number
    return torch.zeros_like(like).scatter(-1, index, ones)
