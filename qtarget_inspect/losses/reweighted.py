"""Likelihood with a detached weight: DFT, ProFiT, EAFT, iw-SFT, CFT. L = -sg[w] log p_y; Q = w onehot(y) + (1-w) p."""

import math

import torch

from qtarget_inspect.core.shapes import Ids, Labels, Mask, PerToken, Rows
from qtarget_inspect.losses.terms import label_log_ratio, negative_log_likelihood, top_k_entropy, weighted_likelihood


def dft(logits: Rows, labels: Labels) -> PerToken:
    """Dynamic fine-tuning: L = -sg[p_y] log p_y (arXiv 2508.05629).

    The stop-gradient does the work; `p_loss` reaches the same gradient without one.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> dft(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor([0.3466])
    """
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood((-nll).exp(), nll)


def profit(logits: Rows, labels: Labels, *, threshold: float = 0.1) -> PerToken:
    """ProFiT: L = -1[sg p_y > t] log p_y; tokens at or below the threshold are dropped (arXiv 2601.09195).

    The gradient is piecewise: it says nothing about which side a token would be on after a step.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        threshold: t in [0, 1).

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> profit(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))
        tensor([0.6931, 0.0000])
    """
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood(((-nll).exp() > threshold).to(nll.dtype), nll)


def eaft(logits: Rows, labels: Labels, *, top_k: int = 20) -> PerToken:
    """Entropy-adaptive fine-tuning: L = -sg[H_k / ln k] log p_y (arXiv 2601.02151).

    H_k is the entropy of the renormalised top k of p. k is cut to V, and the divisor with it, so that the weight stays
    in [0, 1]. A common port divides by 3.0 instead of ln 20 = 2.996.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        top_k: k, a whole number >= 2.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> eaft(torch.tensor([[0.0, 0.0, -99.0]]), torch.tensor([0]), top_k=2)
        tensor([0.6931])
    """
    nll = negative_log_likelihood(logits, labels)
    size, entropy = min(top_k, logits.shape[-1]), top_k_entropy(logits, top_k)
    return weighted_likelihood(entropy / math.log(size) if size > 1 else torch.zeros_like(entropy), nll)


def iw_sft(
    logits: Rows, labels: Labels, reference_logits: Rows, sequence_ids: Ids, *, maximum: float = 16.0
) -> PerToken:
    """Importance-weighted SFT: L = -w(tau) log p_y (arXiv 2507.12856).

        w(tau) = clip(exp(mean_t log(p_y / ref_y)), 0, maximum)

    The weight is one number a trajectory: the length-normalised ratio of the detached policy to the reference. It
    couples the tokens of a sequence; no gradient flows through it.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the reference.
        sequence_ids: [N] which trajectory each token belongs to.
        maximum: upper clamp of the weight, > 0.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> z = torch.zeros(2, 2)
        >>> iw_sft(z, torch.tensor([0, 0]), z, torch.tensor([0, 0]))
        tensor([0.6931, 0.6931])
    """
    nll = negative_log_likelihood(logits, labels)
    log_ratio = label_log_ratio(logits.detach(), reference_logits, labels)
    _, sequence = torch.unique(sequence_ids, return_inverse=True)
    sums = torch.zeros_like(log_ratio).scatter_add(0, sequence, log_ratio)
    lengths = torch.zeros_like(log_ratio).scatter_add(0, sequence, torch.ones_like(log_ratio))
    return weighted_likelihood((sums / lengths)[sequence].exp().clamp(0.0, maximum), nll)


def cft(logits: Rows, labels: Labels, critical: Mask) -> PerToken:
    """Critical-token fine-tuning: L = -c_t log p_y, c_t = 1 on critical tokens (arXiv 2510.10974).

    Which tokens are critical comes from outside (counterfactual decoding in the paper).

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        critical: [N] bool.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> cft(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([True, False]))
        tensor([0.6931, 0.0000])
    """
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood(critical.to(nll.dtype), nll)
