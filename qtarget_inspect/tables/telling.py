"""Telling tokens: the rules, in one place, that find tokens on which losses part ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TokenNumbers:
    """What the rules look at, on N tokens, float64.

    Args:
        p_label: [N] the model's probability of the label.
        teacher_p_label: [N] the teacher's; NaN without one.
        p_top: [N] the model's largest probability.
        negative_mass: [N] the largest negative mass that a loss has there.
    """

    p_label: Tensor
    teacher_p_label: Tensor
    p_top: Tensor
    negative_mass: Tensor


@dataclass(frozen=True)
class Rule:
    """One way in which a token tells losses apart.

    Args:
        name: in one word.
        why: what holds where it applies, in words.
        score: how much it applies, [N] numbers from those of the tokens; NaN where it cannot be said.
        least: the score from which on a token is marked.
    """

    name: str
    why: str
    score: Callable[[TokenNumbers], Tensor]
    least: float


RULES: tuple[Rule, ...] = (
    Rule(
        "rescue",
        "the teacher trusts it far more than the model does",
        lambda token: token.teacher_p_label - token.p_label,
        0.3,
    ),
    Rule(
        "filter",
        "neither the model nor the teacher believes in it",
        lambda token: -torch.maximum(token.p_label, token.teacher_p_label),
        -0.05,
    ),
    Rule(
        "doubted",
        "the teacher trusts it far less than the model does",
        lambda token: token.p_label - token.teacher_p_label,
        0.3,
    ),
    Rule(
        "conflict",
        "the model is surest of another token here",
        lambda token: token.p_top - token.p_label,
        0.3,
    ),
    Rule(
        "signed",
        "a loss takes more from other tokens here than they have: Q < 0",
        lambda token: token.negative_mass,
        0.1,
    ),
)
"""In the order in which they are asked: a token is marked by the first that applies.

rescue: teacher_p_y - p_y >= 0.3; filter: p_y and teacher_p_y <= 0.05; doubted: p_y - teacher_p_y >= 0.3;
conflict: max p - p_y >= 0.3; signed: negative mass >= 0.1 under a loss.
"""


@dataclass(frozen=True)
class TellingToken:
    """A token that shows what sets the losses apart.

    Args:
        index: which, from 0.
        name: "rescue".
        why: the rule that found it.
    """

    index: int
    name: str
    why: str


def telling_marks(numbers: TokenNumbers) -> list[str]:
    """Every token's mark: the first rule whose score reaches its threshold.

    Without a teacher the rules that ask for one mark nothing. Tokens are marked on their own numbers, so a mark does
    not depend on which other tokens are looked at; `telling_tokens` picks one token a rule instead.

    Args:
        numbers: of N tokens.

    Returns:
        N names of rules, "" where none applies.

    Examples:
        >>> p, teacher = torch.tensor([0.1, 0.01, 0.6]), torch.tensor([0.7, 0.02, 0.7])
        >>> telling_marks(TokenNumbers(p, teacher, torch.tensor([0.3, 0.9, 0.6]), torch.zeros(3)))
        ['rescue', 'filter', '']
    """
    marks = [""] * len(numbers.p_label)
    for rule in reversed(RULES):
        for index in (rule.score(numbers) >= rule.least).nonzero().flatten().tolist():
            marks[index] = rule.name
    return marks


def telling_tokens(numbers: TokenNumbers) -> list[TellingToken]:
    """The token for which each rule holds most; no token twice.

    Unlike `telling_marks`, which holds every token against fixed thresholds, this always finds one, however little the
    rule applies. Rules that ask for a teacher are left out where there is none.

    Args:
        numbers: of N tokens.

    Returns:
        In the order of the rules, at most N.

    Examples:
        >>> p, teacher = torch.tensor([0.1, 0.01, 0.6]), torch.tensor([0.7, 0.02, 0.7])
        >>> found = telling_tokens(TokenNumbers(p, teacher, torch.tensor([0.3, 0.9, 0.6]), torch.zeros(3)))
        >>> [(token.index, token.name) for token in found]
        [(0, 'rescue'), (1, 'filter'), (2, 'doubted')]
    """
    found: list[TellingToken] = []
    scores = [(rule, rule.score(numbers)) for rule in RULES]
    for rule, score in [(rule, score) for rule, score in scores if not bool(torch.isnan(score).any())]:
        taken = torch.tensor([token.index for token in found], dtype=torch.long)
        free = score.index_fill(0, taken, -torch.inf)
        found.append(TellingToken(int(free.argmax()), rule.name, rule.why))
    return found[: len(numbers.p_label)]
