"""Preference laws: label pulls of losses over pairs of sequences, one value a sequence, of both signs.

Sequences are paired two by two in the order of their ids; the one with the larger mean advantage is the chosen one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from qtarget_inspect.core.errors import LossError
from qtarget_inspect.core.state import State, sequence_mean
from qtarget_inspect.vocabulary.formula import DIGITS, Binding, Law
from qtarget_inspect.vocabulary.numerals import rounded
from qtarget_inspect.vocabulary.policy_laws import label_log_ratio

_PAIRS = ("advantages", "sequence_ids")


def dpo_pull(beta: float) -> Law:
    """DPO: +-b sigmoid(-b D), D the chosen sequence's sum of log(p_y / ref_y) less the rejected one's.

    Args:
        beta: b.

    Returns:
        The law: plus on chosen tokens, minus on rejected ones, 0 where both models exclude the token.
    """

    def value(state: State) -> Tensor:
        log_ratio = label_log_ratio(state, "reference_logits")
        impossible = torch.isneginf(state.log_p_label) & (log_ratio == 0)
        length, sign = _lengths(state), _signs(state)
        margin = over_pair(state, sign * _mean(state, log_ratio) * length)
        return (sign * beta * torch.sigmoid(-beta * margin)).where(~impossible, 0.0)

    b = rounded(beta, DIGITS)
    return Law(f"+-{b} sigmoid(-{b} D)", rf"\pm {b}\,\sigma(-{b}\Delta)", value, ("reference_logits", *_PAIRS))


def simpo_pull(beta: float, margin: float) -> Law:
    """SimPO: +-(b / n) sigmoid(-(b M - g)), n the own sequence's length, M the difference of the mean log p_y.

    Args:
        beta: b.
        margin: g.

    Returns:
        The law: plus on chosen tokens, minus on rejected ones.
    """

    def value(state: State) -> Tensor:
        sign = _signs(state)
        difference = over_pair(state, sign * _mean(state, state.log_p_label))
        return sign * beta / _lengths(state) * torch.sigmoid(margin - beta * difference)

    b, g = rounded(beta, DIGITS), rounded(margin, DIGITS)
    return Law(f"+-{b}/n sigmoid({g} - {b} M)", rf"\pm \tfrac{{{b}}}{{n}}\,\sigma({g} - {b}M)", value, _PAIRS)


def orpo_pull(odds_weight: float) -> Law:
    """ORPO: (1[chosen] +- w sigmoid(-O) / (1 - P)) / n, O the log odds' difference, P = exp(mean log p_y) of the own.

    Args:
        odds_weight: w.

    Returns:
        The law: plus on chosen tokens, minus on rejected ones.
    """

    def value(state: State) -> Tensor:
        sign = _signs(state)
        chosen = (sign > 0).to(sign.dtype)
        if odds_weight == 0:
            return chosen / _lengths(state)
        near_one = torch.log1p(-state.one_minus_p_label)
        mean = _mean(state, near_one.where(state.p_label > 0.5, state.log_p_label))
        log_other = (-torch.expm1(mean)).log()  # log(1 - P)
        log_odds = mean - log_other
        log_lost = logsigmoid(-over_pair(state, sign * log_odds))
        rejected_odds = over_pair(state, log_odds.exp().where(sign < 0, 0.0))
        won = (sign > 0) & (mean == 0)  # P = 1, and the limit of sigmoid(-O) / (1 - P) there
        slope = rejected_odds.where(won, (log_lost - log_other).exp())
        return (chosen + sign * odds_weight * slope) / _lengths(state)

    w = rounded(odds_weight, DIGITS)
    latex = rf"(\mathbf{{1}}_w \pm {w}\,\sigma(-O)/(1-P))/n"
    return Law(f"(1[chosen] +- {w} sigmoid(-O) / (1-P)) / n", latex, value, _PAIRS, Binding.QUOTIENT)


def _mean(state: State, values: Tensor) -> Tensor:
    """[N] the mean over each token's sequence."""
    return sequence_mean(values, state.context("sequence_ids"))


def _sequences(state: State) -> tuple[Tensor, Tensor]:
    """[N] rank of each token's sequence, [N] its length."""
    _, rank, counts = torch.unique(state.context("sequence_ids"), return_inverse=True, return_counts=True)
    return rank, counts[rank]


def _lengths(state: State) -> Tensor:
    """[N] length of each token's sequence."""
    return _sequences(state)[1].to(state.dtype)


def is_preference(law: Law) -> bool:
    """Whether a law compares a chosen and a rejected sequence: its formula has +-, for one and for the other.

    Args:
        law: any law.

    Returns:
        True or False.
    """
    return "+-" in law.text


def over_pair(state: State, values: Tensor) -> Tensor:
    """A number a sequence, added over the two sequences of each token's pair.

    Args:
        state: the tokens, with `sequence_ids`.
        values: [N] the number of each token's sequence.

    Returns:
        [N] sums.
    """
    rank, length = _sequences(state)
    pair = rank // 2
    return torch.zeros_like(values).index_add(0, pair, values / length)[pair]


def _signs(state: State) -> Tensor:
    """[N] 1 on chosen, -1 on rejected sequences; refused where a sequence has no partner or a pair is undecided."""
    rank, _ = _sequences(state)
    sequences = int(rank.max()) + 1
    if sequences % 2:
        raise LossError(
            f"a preference is about pairs of sequences, but sequence_ids holds {sequences}: the last has no partner. "
            "Give an even number of sequences, the tokens of both of a pair in one batch."
        )
    mean = torch.zeros(sequences, dtype=state.dtype, device=rank.device)
    mean[rank] = _mean(state, state.context("advantages"))  # the same number for all tokens of a sequence
    first, second = mean.view(-1, 2).unbind(-1)
    if bool((first == second).any()):
        pair = int((first == second).nonzero()[0])
        raise LossError(
            f"the two sequences of pair {pair} have the same mean advantage, which leaves open which is chosen. Give "
            "the chosen one the larger advantages, e.g. 1 and -1."
        )
    return torch.stack([(first - second).sign(), (second - first).sign()], -1).flatten()[rank]
