"""Regularised likelihood: confidence penalty, z-loss, squared logits, logit normalisation."""

import torch

from qtarget_inspect.core.numerics import expectation
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import negative_log_likelihood


def confidence_penalty(logits: Rows, labels: Labels, *, entropy_weight: float = 0.1) -> PerToken:
    """Confidence penalty: L = -log p_y - b H(p) (arXiv 1701.06548).

    A tilt by log p beside the label: mass moves from likely to unlikely tokens in proportion to p. Label smoothing
    pulls toward the uniform instead, which reaches tokens that the model finds impossible.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        entropy_weight: b, the paper's beta; 0 is SFT, below 0 sharpens.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> confidence_penalty(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6238])
    """
    log_p = logits.log_softmax(-1)
    return negative_log_likelihood(logits, labels) + entropy_weight * expectation(log_p.exp(), log_p)


def z_loss(logits: Rows, labels: Labels, *, z_weight: float = 1e-4) -> PerToken:
    """SFT with z-loss: L = -log p_y + c (log Z)^2, log Z = logsumexp(z) (arXiv 2204.02311).

    Not shift invariant: it keeps log Z near 0. Its gradient 2 c log Z p pulls nowhere, so Q sums to 1 - 2 c log Z.

    Args:
        logits: [N, V] logits, whose offset matters.
        labels: [N] labels.
        z_weight: c >= 0; 0 is SFT.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> z_loss(torch.zeros(1, 2), torch.tensor([0]), z_weight=0.1)
        tensor([0.7412])
    """
    largest = logits.detach().amax(-1, keepdim=True)  # large logits would cost digits of the slope
    log_partition = (logits - largest).logsumexp(-1) + largest.squeeze(-1)
    return negative_log_likelihood(logits, labels) + z_weight * log_partition.square()


def squared_logits(logits: Rows, labels: Labels, *, logit_weight: float = 1e-3) -> PerToken:
    """SFT with squared logits: L = -log p_y + c sum_k z_k^2 (arXiv 1803.06373, there called logit squeezing).

    The gradient of the penalty is 2 c z: it sees logits, not probabilities, so it is no pull toward anything, depends
    on the offset of the logits, and moves mass to tokens that the model excludes. Q is signed where logits are large.

    A token masked by a logit of -inf makes the loss and its gradient infinite, and inversion refuses it: take masked
    entries out of the vocabulary first.

    Args:
        logits: [N, V] logits, finite.
        labels: [N] labels.
        logit_weight: c >= 0; 0 is SFT.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> squared_logits(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), logit_weight=0.1)
        tensor([0.8931])
    """
    return negative_log_likelihood(logits, labels) + logit_weight * logits.square().sum(-1)


def logit_norm(logits: Rows, labels: Labels, *, temperature: float = 0.04) -> PerToken:
    """Logit normalisation: L = -log softmax(z / (tau |z|))_y, |z| the Euclidean norm (arXiv 2205.09310).

    The loss sees the direction of z alone, so its gradient is orthogonal to z and 1/|z| in size: no pull of p, and not
    shift invariant. The released code adds 1e-7 to the norm; without it the loss is undefined at z = 0, as it is where
    entries are masked by logits of -inf: the direction of z then depends on how they get there.

    Args:
        logits: [N, V] logits, finite and not all 0.
        labels: [N] labels.
        temperature: tau > 0, 0.04 in the paper.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> logit_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([0]), temperature=1.0)
        tensor([0.7981])
    """
    norm = torch.linalg.vector_norm(logits, dim=-1, keepdim=True)
    return negative_log_likelihood(logits / (temperature * norm), labels)
