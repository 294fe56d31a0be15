"""Preference losses over pairs of sequences: DPO, SimPO, ORPO.

A batch of N tokens holds whole sequences. Their ids, in rising order, are taken two by two: the first and the second
make a pair, the third and the fourth, and so on. The sequence with the larger mean advantage is the chosen one. The
loss of a pair is spread evenly over its tokens, so that it is the sum over them; gradient flows between all of them.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.shapes import Ids, Labels, PerToken, Rows
from qtarget_inspect.losses.terms import label_log_ratio, log_likelihood, negative_log_likelihood


def dpo(
    logits: Rows,
    labels: Labels,
    reference_logits: Rows,
    advantages: PerToken,
    sequence_ids: Ids,
    *,
    beta: float = 0.1,
) -> PerToken:
    """Direct preference optimisation: L = -log sigmoid(b D) a pair of sequences (arXiv 2305.18290).

        D = sum_{t in chosen} log(p_y / ref_y) - sum_{t in rejected} log(p_y / ref_y)

    Every token of the chosen sequence is pulled to its label by b sigmoid(-b D), every rejected one is pushed away by
    as much, whatever its own p_y. A token that both models find impossible is left out.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        reference_logits: [N, V] logits of the reference.
        advantages: [N] A; the sequence with the larger mean is the chosen one.
        sequence_ids: [N] which sequence each token belongs to, an even number of them.
        beta: b > 0.

    Returns:
        [N] values, the pair's loss over its number of tokens; their sum is that of the pairs' losses.

    Raises:
        LossError: the number of sequences is odd, or two of a pair have the same mean advantage.

    Examples:
        >>> import torch
        >>> z, ids = torch.zeros(2, 2), torch.tensor([0, 1])
        >>> dpo(z, torch.tensor([0, 0]), z, torch.tensor([1.0, -1.0]), ids)
        tensor([0.3466, 0.3466])
    """
    sequence, chosen, lengths = _pairs(advantages, sequence_ids, "dpo")
    score = _sums(label_log_ratio(logits, reference_logits, labels), sequence, lengths)
    return _spread(-logsigmoid(beta * _margin(score, chosen)), sequence, lengths)


def simpo(
    logits: Rows,
    labels: Labels,
    advantages: PerToken,
    sequence_ids: Ids,
    *,
    beta: float = 2.0,
    margin: float = 1.0,
) -> PerToken:
    """SimPO: L = -log sigmoid(b (m_chosen - m_rejected) - g), m the mean of log p_y over a sequence (arXiv 2405.14734).

    `dpo` without a reference, with means for sums and a margin g that the chosen sequence must win by. The pull of a
    token is b sigmoid(-...) over the length of its own sequence.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        advantages: [N] A; the sequence with the larger mean is the chosen one.
        sequence_ids: [N] which sequence each token belongs to, an even number of them.
        beta: b > 0, 2 to 2.5 in the paper.
        margin: g >= 0, the paper's gamma.

    Returns:
        [N] values, the pair's loss over its number of tokens; their sum is that of the pairs' losses.

    Raises:
        LossError: the number of sequences is odd, or two of a pair have the same mean advantage.

    Examples:
        >>> import torch
        >>> z, ids = torch.zeros(2, 2), torch.tensor([0, 1])
        >>> simpo(z, torch.tensor([0, 0]), torch.tensor([1.0, -1.0]), ids, margin=0.0)
        tensor([0.3466, 0.3466])
    """
    sequence, chosen, lengths = _pairs(advantages, sequence_ids, "simpo")
    mean = _sums(-negative_log_likelihood(logits, labels), sequence, lengths) / lengths
    return _spread(-logsigmoid(beta * _margin(mean, chosen) - margin), sequence, lengths)


def orpo(
    logits: Rows, labels: Labels, advantages: PerToken, sequence_ids: Ids, *, odds_weight: float = 0.1
) -> PerToken:
    """ORPO: L = -m_chosen - w log sigmoid(log odds_chosen - log odds_rejected) (arXiv 2403.07691).

        odds = P / (1 - P),    P = exp(m),    m the mean of log p_y over a sequence

    SFT on the chosen sequence, with its mean over that sequence as in the paper (common code takes the mean over all
    tokens of the batch, prompt included), and a push away from the rejected one that needs no reference.

    Where the chosen sequence is certain (P = 1), nothing moves. Where the rejected one is, the loss is infinite and
    inversion refuses its tokens, as it does where both sequences hold a label of probability 0.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        advantages: [N] A; the sequence with the larger mean is the chosen one.
        sequence_ids: [N] which sequence each token belongs to, an even number of them.
        odds_weight: w >= 0, the paper's lambda; 0 is SFT on the chosen sequences, divided by their lengths.

    Returns:
        [N] values, the pair's loss over its number of tokens; their sum is that of the pairs' losses.

    Raises:
        LossError: the number of sequences is odd, or two of a pair have the same mean advantage.

    Examples:
        >>> import torch
        >>> z, ids = torch.zeros(2, 2), torch.tensor([0, 1])
        >>> orpo(z, torch.tensor([0, 0]), torch.tensor([1.0, -1.0]), ids, odds_weight=1.0)
        tensor([0.6931, 0.6931])
    """
    sequence, chosen, lengths = _pairs(advantages, sequence_ids, "orpo")
    mean = _sums(log_likelihood(logits, labels), sequence, lengths) / lengths
    likelihood = torch.where(chosen, mean, 0.0).view(-1, 2).sum(-1)
    if odds_weight == 0:
        return _spread(-likelihood, sequence, lengths)
    won = chosen & (mean == 0)  # P = 1: infinite odds, in favour; the loss is flat there
    other = torch.where(won, 1.0, -torch.expm1(mean))
    log_odds = torch.where(won, float("inf"), mean - other.log())
    preference = logsigmoid(_margin(log_odds, chosen))
    return _spread(-likelihood - odds_weight * preference, sequence, lengths)


def _pairs(advantages: PerToken, sequence_ids: Ids, loss: str) -> tuple[Tensor, Tensor, Tensor]:
    """[N] the sequence of each token, [S] whether a sequence is the chosen one of its pair, [S] lengths."""
    ids, sequence, counts = torch.unique(sequence_ids, return_inverse=True, return_counts=True)
    if len(ids) % 2:
        raise LossError(
            f"{loss}: sequence_ids holds {len(ids)} sequence{'s' if len(ids) > 1 else ''}, so that sequence "
            f"{int(ids[-1])} has no partner. Sequences make pairs two by two, in the order of their ids: give an even "
            "number of them, the tokens of both of a pair in one batch."
        )
    lengths = counts.to(advantages.dtype)
    mean = _sums(advantages, sequence, lengths) / lengths
    first, second = mean.view(-1, 2).unbind(-1)
    if bool((first == second).any()):
        pair = int((first == second).nonzero()[0])
        raise LossError(
            f"{loss}: the sequences {int(ids[2 * pair])} and {int(ids[2 * pair + 1])} have the same mean advantage, "
            "which leaves open which of the two is chosen. Give the chosen one the larger advantages, e.g. 1 and -1."
        )
    chosen = torch.stack([first > second, second > first], -1).flatten()
    return sequence, chosen, lengths


def _sums(values: PerToken, sequence: Tensor, lengths: Tensor) -> Tensor:
    """[S] sums over each sequence."""
    return torch.zeros_like(lengths, dtype=values.dtype).index_add(0, sequence, values)


def _margin(score: Tensor, chosen: Tensor) -> Tensor:
    """[S / 2] the chosen sequence's score less the rejected one's."""
    return torch.where(chosen, score, -score).view(-1, 2).sum(-1)


def _spread(pair_loss: Tensor, sequence: Tensor, lengths: Tensor) -> PerToken:
    """[N] a pair's loss over the number of its tokens."""
    return (pair_loss / lengths.view(-1, 2).sum(-1))[sequence // 2]
