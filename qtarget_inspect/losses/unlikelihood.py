"""Unlikelihood: push tokens away. Of the label itself, and of the earlier tokens of its sequence."""

import torch

from qtarget_inspect.core.numerics import one_hot
from qtarget_inspect.core.shapes import Ids, Labels, PerToken, Rows
from qtarget_inspect.losses.terms import log_other_mass, negative_log_likelihood


def unlikelihood(logits: Rows, labels: Labels) -> PerToken:
    """Unlikelihood of the label: L = -log(1 - p_y), for tokens that are not to be said (arXiv 1908.04319).

    Its target is the model without the label, a distribution. The same as a negative label trust of p_y / (1 - p_y).

    Args:
        logits: [N, V] logits.
        labels: [N] labels to avoid.

    Returns:
        [N] nats, >= 0; infinite, and refused by inversion, where all other tokens have logits of -inf.

    Examples:
        >>> import torch
        >>> unlikelihood(torch.zeros(1, 4), torch.tensor([0]))
        tensor([0.2877])
    """
    return -log_other_mass(logits, labels)


def unlikelihood_tokens(
    logits: Rows, labels: Labels, sequence_ids: Ids, *, unlikelihood_weight: float = 1.0
) -> PerToken:
    """Token-level unlikelihood training: L = -log p_y - w sum_{c in C} log(1 - p_c) (arXiv 1908.04319).

    The candidates C are the earlier labels of the sequence, less the label itself; a token that came twice counts once.
    Which tokens came earlier is read off the order of the rows. Each candidate pushes mass to "p without c", one
    direction a token of the vocabulary: no pull of a fixed list, so no pulls are declared.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, in the order of the text within a sequence.
        sequence_ids: [N] which sequence each token belongs to.
        unlikelihood_weight: w >= 0, the paper's alpha; 0 is SFT.

    Returns:
        [N] nats, >= 0.

    Examples:
        >>> import torch
        >>> unlikelihood_tokens(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([0, 0]))
        tensor([1.3863, 1.6740])
    """
    candidates = _earlier_labels(logits, labels, sequence_ids)
    penalty = torch.where(candidates, _log_one_minus(candidates, logits), 0.0).sum(-1)
    return negative_log_likelihood(logits, labels) - unlikelihood_weight * penalty


def _earlier_labels(logits: Rows, labels: Labels, sequence_ids: Ids) -> torch.Tensor:
    """[N, V] bool: labels of earlier rows of the same sequence, the row's own left out."""
    own = one_hot(labels, logits.detach())  # [N, V]
    _, sequence = torch.unique(sequence_ids, return_inverse=True)
    order = sequence.argsort(stable=True)
    before = own[order].cumsum(0) - own[order]  # of earlier rows, other sequences included
    starts = torch.searchsorted(sequence[order], sequence[order])  # the first row of each one's sequence
    counts = torch.empty_like(before)
    counts[order] = before - before[starts]
    return (counts > 0) & (own == 0)


def _log_one_minus(candidates: torch.Tensor, logits: Rows) -> Rows:
    """[N, V] log(1 - p_k) of candidates, exact also where p_k rounds to 1, which only the likeliest token can."""
    best = logits.argmax(-1)
    likeliest = one_hot(best, logits) == 1
    needed = (candidates & likeliest).any(-1, keepdim=True)  # elsewhere its slope, which may be infinite, is not asked
    log_rest = log_other_mass(torch.where(needed, logits, 0.0), best)
    p = torch.where(likeliest, 0.0, logits.softmax(-1))
    return torch.where(likeliest, log_rest.unsqueeze(-1), torch.log1p(-p))
