"""Releases that differ from the paper of their method: EAFT's divisor, iw-SFT per token, GEM's sigmoid, ASFT's KL."""

import torch

from qtarget_inspect.core.numerics import expectation
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.divergence import reverse_kl
from qtarget_inspect.losses.reweighted import dft
from qtarget_inspect.losses.terms import label_log_ratio, negative_log_likelihood, top_k_entropy, weighted_likelihood


def eaft_llama_factory(logits: Rows, labels: Labels, *, top_k: int = 20, divisor: float = 3.0) -> PerToken:
    """EAFT as LLaMA-Factory has it: L = -sg[H_k / 3.0] log p_y (arXiv 2601.02151).

    The paper divides the entropy of the renormalised top k by ln k (`eaft`); here the divisor is a constant, 3.0 for
    ln 20 = 2.996, and does not follow k. The 1e-10 inside its logarithm is left out.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        top_k: k, a whole number >= 2, cut to V.
        divisor: what the entropy is divided by, > 0.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> eaft_llama_factory(torch.zeros(1, 20), torch.tensor([0]))
        tensor([2.9915])
    """
    return weighted_likelihood(top_k_entropy(logits, top_k) / divisor, negative_log_likelihood(logits, labels))


def eaft_axolotl(logits: Rows, labels: Labels, *, top_k: int = 20) -> PerToken:
    """EAFT as Axolotl first had it: L = -sg[H_k] log p_y, the entropy in nats, divided by nothing (arXiv 2601.02151).

    The label trust goes up to ln k = 3.0 where the paper's goes up to 1: three times the step, and negative mass in Q.
    Later releases divide by ln k, which is `eaft`.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        top_k: k, a whole number >= 2, cut to V.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> eaft_axolotl(torch.zeros(1, 20), torch.tensor([0]))
        tensor([8.9744])
    """
    return weighted_likelihood(top_k_entropy(logits, top_k), negative_log_likelihood(logits, labels))


def iw_sft_per_token(logits: Rows, labels: Labels, reference_logits: Rows, *, epsilon: float = 0.8) -> PerToken:
    """iw-SFT with a weight a token: L = -sg[clip(p_y / ref_y, 1-e, 1+e)] log p_y (arXiv 2507.12856, released code).

    The branch that the released code takes without its sum over time. `iw_sft` has one weight a sequence, clipped at 16
    and coupling its tokens; here nothing is coupled, and no token is dropped.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the reference.
        epsilon: e in [0, 1]; 0 is SFT.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> iw_sft_per_token(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[-9.0, 0.0]]))
        tensor([1.2477])
    """
    nll = negative_log_likelihood(logits, labels)
    ratio = label_log_ratio(logits.detach(), reference_logits, labels).exp()
    return weighted_likelihood(ratio.clamp(1 - epsilon, 1 + epsilon), nll)


def gem_sigmoid(logits: Rows, labels: Labels, *, beta: float = 0.7, scale: float = 0.01) -> PerToken:
    """GEM as its script runs by default: L = -sum_k sg[q_k w_k] (log p_y - log p_k) (arXiv 2408.16673).

        q proportional to p^(1/b),    w_k = sigmoid(c (z_k - z_y))

    With w = 1 it is `gem`. Here w is about one half, so the step is about half of it, and a little smaller for tokens
    less likely than the label.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        beta: b > 0.
        scale: c >= 0; 0 is half of `gem`.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> gem_sigmoid(torch.tensor([[2.0, 0.0]]), torch.tensor([1]))
        tensor([0.9551])
    """
    detached = logits.detach()
    q = (detached.log_softmax(-1) / beta).softmax(-1)
    margin = detached - detached.gather(-1, labels.unsqueeze(-1))
    weight = torch.where(q == 0, 0.0, q * (scale * margin).sigmoid())  # -inf less -inf is of no weight
    nll = negative_log_likelihood(logits, labels)
    return weight.sum(-1) * nll + expectation(weight, logits.log_softmax(-1))


def asft_reverse_kl(logits: Rows, labels: Labels, reference_logits: Rows, *, kl_weight: float = 0.05) -> PerToken:
    """ASFT with the KL turned round: L = -sg[p_y] log p_y + l KL(p || ref) (arXiv 2509.23753).

    Its text speaks of a reverse KL where its code computes the forward one (`asft`); Unsloth offers both. The reverse
    KL is no pull toward the reference but two tilts, so it does not trade off against the label trust.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the base model.
        kl_weight: l >= 0; 0 is DFT.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> asft_reverse_kl(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2))
        tensor([0.3466])
    """
    return dft(logits, labels) + kl_weight * reverse_kl(logits, labels, reference_logits)
