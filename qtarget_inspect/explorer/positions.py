"""Positions: what the page's sliders can stand at, and the token that they fix, which assets/state.js makes as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.sweeps.geometric import geometric_log_probs, geometric_rate
from qtarget_inspect.analysis.sweeps.states import OLD_POLICY_FLATNESS, REFERENCE_FLATNESS
from qtarget_inspect.core.batch import TokenBatch

SENTENCE = "She poured the coffee into a"
TOKENS = ("mug", "cup", "glass", "bowl", "thermos", "jug", "pot", "vase", "bucket", "shoe")
"""What may follow; the first is the label, the others in the order in which the model believes in them."""

VOCABULARY = len(TOKENS)

POSITIONS: dict[str, tuple[float, ...]] = {
    "p": tuple(1 / (1 + math.exp(-step / 4)) for step in range(-28, 29)),
    "shape": (*(round(0.2 * step, 1) for step in range(1, 11)), 2.15),
    "teacher": (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 0.8, 0.9, 0.95, 0.98),
    "favourite": (0, 1, 2, 3, 4),
    "reference": (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0),
    "old": (-0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5),
    "advantage": (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0),
    "critical": (0, 1),
    "log_z": (-10.0, -5.0, 0.0, 5.0, 10.0, 20.0),
}
"""Slider -> where it can stand.

p: p_y, in steps of 1/4 in log-odds. shape: the others' entropy in nats, below ln 9, where they would tie. teacher: the
teacher's p_y. favourite: how many of the model's first others stand before the teacher's favourite. reference, old:
log-odds of the label under these models, less the model's own. log_z: the log-partition of the logits.
"""

DEFAULTS = {
    "p": POSITIONS["p"][25],
    "shape": 1.4,
    "teacher": 0.8,
    "favourite": 3,
    "reference": -1.0,
    "old": -0.2,
    "advantage": 1.0,
    "critical": 1,
    "log_z": 10.0,
}
"""Where the sliders stand at first; with favourite 3 the token is one of `sweep_states`, its offset aside."""

TRIANGLE_STEPS = 11
"""Arrows stand at the points (i + 1/3, j + 1/3, k + 1/3) / 12 of the simplex, i + j + k = 11: all of them inside it."""

TRIANGLE_FAVOURITE = 0.8
"""On the triangle the teacher's favourite takes this share of what the label leaves it."""


def every_position(axes: Mapping[str, Sequence[float]], held: Mapping[str, float]) -> dict[str, Tensor]:
    """All positions of some sliders together, as `tokens_at` takes them.

    Args:
        axes: slider -> its positions, the slowest first.
        held: slider -> where it stands; all others stand at their defaults.

    Returns:
        Every slider of `POSITIONS` (and what else `axes` names) -> [n] float64, n the product of the axes' lengths.
    """
    values = [torch.tensor(axis, dtype=torch.float64) for axis in axes.values()]
    grid = torch.meshgrid(*values, indexing="ij")
    at = {name: axis.flatten() for name, axis in zip(axes, grid, strict=True)}
    size = grid[0].numel()
    for name, value in {**DEFAULTS, **held}.items():
        at.setdefault(name, torch.full((size,), float(value), dtype=torch.float64))
    return at


def tokens_at(at: Mapping[str, Tensor]) -> TokenBatch:
    """The page's token at many positions of the sliders.

        z_0 = log p_y + log Z,    z_k = log(1 - p_y) - rate k - c + log Z,    the rate fixed by the others' entropy.

    The teacher sees the model's first favourite + 1 others in the opposite order. Reference and old policy are flatter.

    Args:
        at: every axis of `POSITIONS` -> [n] float64.

    Returns:
        n tokens, each its own sequence.

    Examples:
        >>> batch = tokens_at(every_position({"teacher": (0.05, 0.9)}, {"favourite": 4}))
        >>> batch.logits.softmax(-1)[0, :3], [TOKENS[k] for k in batch.teacher_logits.argmax(-1)]
        (tensor([0.3208, 0.3330, 0.1701], dtype=torch.float64), ['jug', 'mug'])
    """
    size, rest = len(at["p"]), VOCABULARY - 1
    rate = geometric_rate(at["shape"], rest)
    others = geometric_log_probs(rate, rest)  # [n, V - 1]
    order = torch.stack([_turned(int(favourite), rest) for favourite in at["favourite"]])
    own = torch.logit(at["p"])
    return TokenBatch(
        with_label(own, others) + at["log_z"].unsqueeze(-1),
        torch.zeros(size, dtype=torch.long),
        teacher_logits=with_label(torch.logit(at["teacher"]), others.gather(-1, order)),
        reference_logits=with_label(own + at["reference"], geometric_log_probs(REFERENCE_FLATNESS * rate, rest)),
        old_logits=with_label(own + at["old"], geometric_log_probs(OLD_POLICY_FLATNESS * rate, rest)),
        **_per_token(at, size),
    )


def triangle_points() -> Tensor:
    """[M, 3] probabilities of the triangle's points, rows of falling p_0."""
    n = TRIANGLE_STEPS
    found = [(n - low, low - k, k) for low in range(n + 1) for k in range(low + 1)]
    return (torch.tensor(found, dtype=torch.float64) + 1 / 3) / (n + 1)


def triangle_tokens(p: Tensor, at: Mapping[str, Tensor]) -> TokenBatch:
    """Tokens of three: the label, the model's favourite on the page, and a third.

    Args:
        p: [n, 3] probabilities, all above 0.
        at: teacher, favourite, reference, old, advantage, critical, log_z -> [n] float64.

    Returns:
        n tokens. The teacher favours the second token where it agrees with the model there, else the third.
    """
    log_p, size = p.log(), len(p)
    own = log_p[:, 0] - p[:, 1:].sum(-1).log()
    agrees = (at["favourite"] == 0).to(torch.float64)
    share = agrees * TRIANGLE_FAVOURITE + (1 - agrees) * (1 - TRIANGLE_FAVOURITE)
    teacher_others = torch.stack([share, 1 - share], -1).log()

    def others(power: float) -> Tensor:
        return (power * log_p[:, 1:]).log_softmax(-1)

    return TokenBatch(
        log_p + at["log_z"].unsqueeze(-1),
        torch.zeros(size, dtype=torch.long),
        teacher_logits=with_label(torch.logit(at["teacher"]), teacher_others),
        reference_logits=with_label(own + at["reference"], others(REFERENCE_FLATNESS)),
        old_logits=with_label(own + at["old"], others(OLD_POLICY_FLATNESS)),
        **_per_token(at, size),
    )


def with_label(log_odds: Tensor, log_others: Tensor) -> Tensor:
    """Log-probabilities from the label's log-odds and what a model makes of the others among themselves.

    Args:
        log_odds: [n] of the label.
        log_others: [n, V - 1] log-probabilities of the others, renormalised.

    Returns:
        [n, V] log-probabilities, the label first.
    """
    log_label, log_rest = (torch.nn.functional.logsigmoid(sign * log_odds) for sign in (1, -1))
    return torch.cat([log_label.unsqueeze(-1), log_rest.unsqueeze(-1) + log_others], -1)


def _per_token(at: Mapping[str, Tensor], size: int) -> dict[str, Any]:
    return {
        "advantages": at["advantage"],
        "critical": at["critical"] > 0,
        "weights": torch.ones(size, dtype=torch.float64),
        "sequence_ids": torch.arange(size),
    }


def _turned(favourite: int, size: int) -> Tensor:
    """Order in which the teacher has the model's others: the first favourite + 1 of them turned round."""
    order = torch.arange(size)
    order[: favourite + 1] = order[: favourite + 1].flip(0)
    return order
