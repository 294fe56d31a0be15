"""Likelihood with a forward KL to a reference: SFT + KL, ASFT."""

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.reweighted import dft
from qtarget_inspect.losses.terms import kl_to, negative_log_likelihood


def sft_kl(logits: Rows, labels: Labels, reference_logits: Rows, *, kl_weight: float = 0.1) -> PerToken:
    """SFT with a forward KL to a reference: L = -log p_y + l KL(ref || p).

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the reference.
        kl_weight: l >= 0.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> z = torch.zeros(1, 2)
        >>> sft_kl(z, torch.tensor([0]), z)
        tensor([0.6931])
    """
    return negative_log_likelihood(logits, labels) + kl_weight * kl_to(reference_logits.log_softmax(-1), logits)


def asft(logits: Rows, labels: Labels, reference_logits: Rows, *, kl_weight: float = 0.05) -> PerToken:
    """Anchored SFT: L = -sg[p_y] log p_y + l KL(ref || p) (arXiv 2509.23753).

    The paper uses l = 0.05, its code 0.1. Another paper calls the term reverse KL where its code computes the forward
    one.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the base model.
        kl_weight: l >= 0; 0 is DFT.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> z = torch.zeros(1, 2)
        >>> asft(z, torch.tensor([0]), z)
        tensor([0.3466])
    """
    return dft(logits, labels) + kl_weight * kl_to(reference_logits.log_softmax(-1), logits)
