"""Made-up tokens for sweeps: fixed by a few numbers, with every other model that a loss may ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.sweeps.geometric import geometric_log_probs, geometric_rate
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import check_whole
from qtarget_inspect.core.errors import BatchError

LABEL_TOKEN = 0
"""The label of every made-up token."""

OTHER_TOKEN = 1
"""The model's favourite among the tokens that are not the label."""

REFERENCE_BEHIND = 1.0
"""How far the reference's log-odds of the label lie below the model's, where nothing else is said."""

OLD_POLICY_BEHIND = 0.2
"""The same for the old policy."""

REFERENCE_FLATNESS = 0.5
"""The reference's others are the model's to this power, renormalised: it knows less."""

OLD_POLICY_FLATNESS = 0.9
"""The same for the old policy, which lies near."""

PROBABILITIES = ("p_y", "teacher_p_y", "reference_p_y", "old_p_y")

STATE_NUMBERS = (*PROBABILITIES, "entropy", "others_entropy", "vocabulary")
"""What a made-up state can be swept over; anything else is a parameter of the losses."""

_REORDERED = 4
"""The teacher sees the model's first four others in the opposite order."""

Numbers = float | Sequence[float] | np.ndarray
"""One number for all tokens, or one a token."""


def teacher_token(vocabulary: int) -> int:
    """The teacher's favourite among the tokens that are not the label: the model's fourth, or its last.

    Args:
        vocabulary: V, at least 3.

    Returns:
        A token.

    Examples:
        >>> teacher_token(32), teacher_token(3)
        (4, 2)
    """
    return min(_REORDERED, vocabulary - 1)


def sweep_states(
    p_y: Numbers,
    *,
    others_entropy: Numbers = 2.0,
    teacher_p_y: Numbers = 0.8,
    reference_p_y: Numbers | None = None,
    old_p_y: Numbers | None = None,
    vocabulary: int = 32,
) -> TokenBatch:
    """Made-up tokens whose label is token 0, fixed by a few numbers.

        p_0 = p_y,    p_k = (1 - p_y) exp(-rate k) / Z  for k = 1 .. V - 1,    the rate fixed by the others' entropy.

    The teacher sees the model's first four others in the opposite order, so its favourite is another token. The
    reference's others are the model's to the power 0.5, the old policy's to the power 0.9: flatter, so that no two
    models are mixtures of one another and the label, and a fit can tell them apart. (It cannot where the others are
    flat, at ln(V-1).) `probe_batch` has random states that cover more; these can be drawn against one number.

    Args:
        p_y: the model's probability of the label, in (0, 1).
        others_entropy: entropy in nats of p without the label, renormalised, in [0, ln(V-1)].
        teacher_p_y: the teacher's probability of the label, in (0, 1).
        reference_p_y: the reference's; None: log-odds 1 below the model's.
        old_p_y: the old policy's; None: log-odds 0.2 below the model's.
        vocabulary: V, at least 3: the label, and a favourite each for model and teacher.

    Returns:
        n tokens in float64, n the length of the sequences given. Every token is a sequence of its own; advantages and
        weights are 1, critical is True.

    Raises:
        BatchError: a number is outside its range, or lengths differ.

    Examples:
        >>> batch = sweep_states([0.1, 0.5], others_entropy=1.0, vocabulary=4)
        >>> batch.logits.softmax(-1)
        tensor([[0.1000, 0.4759, 0.2704, 0.1537],
                [0.5000, 0.2644, 0.1502, 0.0854]], dtype=torch.float64)
        >>> batch.teacher_logits.softmax(-1)[0]
        tensor([0.8000, 0.0341, 0.0601, 0.1058], dtype=torch.float64)
    """
    vocabulary = check_whole("vocabulary", vocabulary, 3, "the label, and a favourite each for model and teacher")
    given: dict[str, Any] = {"p_y": p_y, "others_entropy": others_entropy, "teacher_p_y": teacher_p_y}
    given |= {"reference_p_y": reference_p_y, "old_p_y": old_p_y}
    numbers = _broadcast({name: value for name, value in given.items() if value is not None})
    for name, values in numbers.items():
        high = math.log(vocabulary - 1) if name == "others_entropy" else 1.0
        _check_between(name, values, high, closed=name == "others_entropy", vocabulary=vocabulary)
    label_log_odds = torch.logit(numbers["p_y"])
    rate = geometric_rate(numbers["others_entropy"], vocabulary - 1)
    others = geometric_log_probs(rate, vocabulary - 1)  # [n, V - 1]
    order = torch.arange(vocabulary - 1)
    order[:_REORDERED] = order[:_REORDERED].flip(0)

    def model(name: str, behind: float, log_others: Tensor) -> Tensor:
        """[n, V] log-probabilities of a model, from its probability of the label and what it makes of the others."""
        log_odds = torch.logit(numbers[name]) if name in numbers else label_log_odds - behind
        log_label, log_rest = (torch.nn.functional.logsigmoid(sign * log_odds) for sign in (1, -1))
        return torch.cat([log_label.unsqueeze(-1), log_rest.unsqueeze(-1) + log_others], -1)

    def flatter(power: float) -> Tensor:
        return geometric_log_probs(power * rate, vocabulary - 1)

    size = len(rate)
    return TokenBatch(
        model("p_y", 0.0, others),
        torch.full((size,), LABEL_TOKEN),
        teacher_logits=model("teacher_p_y", 0.0, others[:, order]),
        reference_logits=model("reference_p_y", REFERENCE_BEHIND, flatter(REFERENCE_FLATNESS)),
        old_logits=model("old_p_y", OLD_POLICY_BEHIND, flatter(OLD_POLICY_FLATNESS)),
        advantages=torch.ones(size, dtype=torch.float64),
        weights=torch.ones(size, dtype=torch.float64),
        critical=torch.ones(size, dtype=torch.bool),
        sequence_ids=torch.arange(size),
    )


def _broadcast(given: dict[str, Any]) -> dict[str, Tensor]:
    """Each number as [n] float64; one number counts for all tokens."""
    numbers = {}
    for name, value in given.items():
        try:
            numbers[name] = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BatchError(
                f"sweep_states: {name} must be a number or a list of numbers, not {value!r:.60}."
            ) from error
    shapes = {name: list(value.shape) for name, value in numbers.items() if value.ndim}
    if any(len(shape) != 1 for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        words = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise BatchError(f"sweep_states: lists must have one axis and one length, but are {words}.")
    size = next((shape[0] for shape in shapes.values()), 1)
    if size == 0:
        raise BatchError("sweep_states: an empty list makes no token; pass at least one number.")
    return {name: value.expand(size) for name, value in numbers.items()}


def _check_between(name: str, values: Tensor, high: float, closed: bool, vocabulary: int) -> None:
    inside = (values >= 0) & (values <= high) if closed else (values > 0) & (values < high)
    if not bool(inside.all()):
        bad = float(values[~inside][0])
        span = f"[0, ln({vocabulary} - 1) = {high:.4g}] nats" if closed else "(0, 1)"
        raise BatchError(f"sweep_states: {name} must lie in {span}, not be {bad:g}.")
