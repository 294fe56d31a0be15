"""Likelihood behind a detached gate: thresholded log-likelihood, TaiLr, DEFT, PriFT. L = -sg[gate] log p_y, or like it.

The weights of the paper's reweighting rows (DFT, ProFiT, EAFT ...) are in `reweighted`.
"""

import torch

from qtarget_inspect.core.numerics import label_log_prob
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import negative_log_likelihood, weighted_likelihood


def thresholded_log(logits: Rows, labels: Labels, *, threshold: float = 0.1) -> PerToken:
    """Thresholded log-likelihood, the likely tokens: L = -1[sg p_y >= t] log p_y (arXiv 2510.00526, released code).

    ProFiT under another name, but for tokens at the threshold itself, which are kept here.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        threshold: t in [0, 1); 0 is SFT.

    Returns:
        [N] nats, 0 where the token is dropped.

    Examples:
        >>> import torch
        >>> thresholded_log(torch.zeros(1, 2), torch.tensor([0]), threshold=0.5)
        tensor([0.6931])
    """
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood(((-nll).exp() >= threshold).to(nll.dtype), nll)


def thresholded_log_below(logits: Rows, labels: Labels, *, threshold: float = 0.1) -> PerToken:
    """Thresholded log-likelihood, the unlikely tokens: L = -1[sg p_y <= t] log p_y (arXiv 2510.00526, released code).

    The contrast to `thresholded_log`: what the model knows already is dropped.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        threshold: t in (0, 1]; 1 is SFT.

    Returns:
        [N] nats, 0 where the token is dropped.

    Examples:
        >>> import torch
        >>> thresholded_log_below(torch.zeros(1, 2), torch.tensor([0]), threshold=0.4)
        tensor([0.])
    """
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood(((-nll).exp() <= threshold).to(nll.dtype), nll)


def tailr(logits: Rows, labels: Labels, *, ratio_threshold: float = 0.1, min_weight: float = 0.0) -> PerToken:
    """TaiLr: L = -sg[max(p_y / (r + (1-r) p_y), m)] log p_y (arXiv 2302.13344).

    A total-variation estimate of how far the label is to be learned at all: DFT's weight, saturated. The released code
    has the floor m, and r = 1 by default, which is DFT.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        ratio_threshold: r in [0, 1], the paper's gamma; 0 is SFT, 1 is DFT.
        min_weight: m in [0, 1], the least weight.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> tailr(torch.zeros(1, 2), torch.tensor([0]), ratio_threshold=1.0)
        tensor([0.3466])
    """
    nll = negative_log_likelihood(logits, labels)
    if ratio_threshold == 0:
        return nll
    p_label = (-nll).exp()
    weight = p_label / (ratio_threshold + (1 - ratio_threshold) * p_label)
    return weighted_likelihood(weight.clamp(min=min_weight), nll)


def deft(logits: Rows, labels: Labels) -> PerToken:
    """Dynamic entropy fine-tuning: L = (1 - p_y^sg[c]) / sg[c], c = sum_k p_k^2 (arXiv 2602.11424).

    `beyond_log` with an exponent that is the model's own concentration (exp of minus the Rényi-2 entropy): SFT where
    the model is unsure, the p-loss where it is sure. The label trust is p_y^c. The released code divides by c + 1e-6,
    which makes its step smaller by c / (c + 1e-6).

    Args:
        logits: [N, V] logits.
        labels: [N] labels.

    Returns:
        [N] values, >= 0.

    Examples:
        >>> import torch
        >>> deft(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.5858])
    """
    nll = negative_log_likelihood(logits, labels)
    concentration = logits.detach().softmax(-1).square().sum(-1)
    return (1 - (-concentration * nll).exp()) / concentration


def prift_prob(logits: Rows, labels: Labels, reference_logits: Rows) -> PerToken:
    """PriFT-prob: L = -ref_y log p_y, ref the frozen pretrained model (arXiv 2606.09396).

    DFT's weight, from a model that does not move: equal to DFT at the start of training, not after.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the pretrained model.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> prift_prob(torch.tensor([[9.0, 0.0]]), torch.tensor([1]), torch.zeros(1, 2))
        tensor([4.5001])
    """
    weight = label_log_prob(reference_logits.log_softmax(-1), labels).exp()
    return weighted_likelihood(weight, negative_log_likelihood(logits, labels))


def prift_mass(logits: Rows, labels: Labels, reference_logits: Rows, *, threshold: float = 0.5) -> PerToken:
    """PriFT-mass: L = -1[u >= t] log p_y, u = sum_k ref_k 1[ref_k < ref_y] + ref_y (arXiv 2606.09396).

    u is the pretrained model's mass on the label and on all that is less likely: a label outside its nucleus of mass
    1 - t is dropped. Tokens exactly as likely as the label do not count, as in the released code.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the pretrained model.
        threshold: t in [0, 1]; 0 is SFT.

    Returns:
        [N] nats, 0 where the token is dropped.

    Examples:
        >>> import torch
        >>> reference = torch.tensor([[0.0, 2.0, 1.0]]).expand(2, 3)
        >>> prift_mass(torch.zeros(2, 3), torch.tensor([0, 1]), reference)
        tensor([0.0000, 1.0986])
    """
    prior = reference_logits.softmax(-1)
    own = prior.gather(-1, labels.unsqueeze(-1))
    support = torch.where(prior < own, prior, 0.0).sum(-1) + own.squeeze(-1)
    nll = negative_log_likelihood(logits, labels)
    return weighted_likelihood((support >= threshold).to(nll.dtype), nll)
