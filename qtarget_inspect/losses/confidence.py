"""Functions of the label's probability: focal, generalised cross entropy, symmetric cross entropy, Poly-1.

A loss f(p_y) without a stop-gradient has the gradient -p_y f'(p_y) (p - onehot(y)): it only sets the label trust.
"""

import torch

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.probability import beyond_log, p_loss
from qtarget_inspect.losses.terms import is_sole, log_other_mass, negative_log_likelihood


def focal(logits: Rows, labels: Labels, *, focusing: float = 2.0) -> PerToken:
    """Focal loss: L = -(1 - p_y)^f log p_y (arXiv 1708.02002).

    The gradient flows through the factor as well, so the label trust is (1-p_y)^f - f p_y (1-p_y)^(f-1) log p_y, not
    (1-p_y)^f; above 1 for some p_y. It trusts unlikely labels most, DFT likely ones. The class weight of the paper is
    left out.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        focusing: f >= 0, the paper's gamma; 0 is SFT, 2 its default.

    Returns:
        [N] nats, >= 0.

    Examples:
        >>> import torch
        >>> focal(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.1733])
    """
    nll = negative_log_likelihood(logits, labels)
    if focusing == 0:
        return nll
    sole = is_sole(logits, labels)  # p_y = 1: the factor is 0, and the loss flat
    factor = (focusing * log_other_mass(torch.where(sole.unsqueeze(-1), 0.0, logits), labels)).exp()
    factor = torch.where(sole, 0.0, factor)
    return torch.where(torch.isinf(nll), 1.0, factor) * nll  # p_y = 0: the factor is 1, and has no slope


def gce(logits: Rows, labels: Labels, *, alpha: float = 0.7) -> PerToken:
    """Generalised cross entropy: L = (1 - p_y^a) / a (arXiv 1805.07836).

    Exactly `beyond_log` under an older name, with another default: a is the paper's q in (0, 1], 0.7 there.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        alpha: a in [0, 1]; 0 is SFT, 1 the p-loss.

    Returns:
        [N] in [0, 1/a].

    Examples:
        >>> import torch
        >>> gce(torch.zeros(1, 2), torch.tensor([0]), alpha=0.5)
        tensor([0.5858])
    """
    return beyond_log(logits, labels, alpha=alpha)


def symmetric_ce(
    logits: Rows, labels: Labels, *, ce_weight: float = 0.1, reverse_weight: float = 1.0, log_zero: float = -4.0
) -> PerToken:
    """Symmetric cross entropy: L = c CE(onehot(y), p) + r CE(p, onehot(y)), log 0 := A (arXiv 1908.06112).

    The reverse term is -A (1 - p_y), so the label trust is c + r |A| p_y: SFT and the p-loss, weighted. Widely used
    code cuts the one-hot at 1e-4 instead, which is A = -9.21.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        ce_weight: c >= 0, the paper's alpha.
        reverse_weight: r >= 0, the paper's beta.
        log_zero: A <= 0, what stands for log 0.

    Returns:
        [N] nats, >= 0.

    Examples:
        >>> import torch
        >>> symmetric_ce(torch.zeros(1, 2), torch.tensor([0]))
        tensor([2.0693])
    """
    other_mass = 1 + p_loss(logits, labels)
    return ce_weight * negative_log_likelihood(logits, labels) - reverse_weight * log_zero * other_mass


def poly_1(logits: Rows, labels: Labels, *, poly_weight: float = 1.0) -> PerToken:
    """Poly-1: L = -log p_y + w (1 - p_y) (arXiv 2204.12511).

    The first coefficient of cross-entropy's expansion in 1 - p_y, changed by w. The label trust is 1 + w p_y, above 1
    for w > 0: Q has negative mass there.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        poly_weight: w, the paper's epsilon; 0 is SFT, -1 takes the first term away.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> poly_1(torch.zeros(1, 2), torch.tensor([0]))
        tensor([1.1931])
    """
    return negative_log_likelihood(logits, labels) + poly_weight * (1 + p_loss(logits, labels))
