"""Checks of targets: a target worked out by hand, and a loss that should have a target written down as a claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.analysis.decomposition import Decomposition, decompose
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.teaching.check import Check, is_empty, not_filled_in, not_yet, right, unusable_loss
from qtarget_inspect.teaching.states import exercise_states
from qtarget_inspect.vocabulary.pulls import LABEL

TOLERANCE = 5e-4
"""How far an entry worked out by hand may be off: three decimals."""

CLAIM_TOLERANCE = 1e-6
"""How far Q of a loss may lie from a claim."""


def check_target(q: Any, loss: Any, batch: TokenBatch, *, token: int = 0) -> Check:
    """Is a target that was worked out by hand the induced target Q = p - g (unit gauge) of a loss?

    Args:
        q: what the student worked out: V numbers; None, or a list with None in it, is not filled in.
        loss: the loss of the exercise, as `invert` takes it.
        batch: the token it is about.
        token: which token of the batch.

    Returns:
        Right, or what is off: the number of entries, the sum, the sign of the step, or which entries are too large.

    Raises:
        QTargetError: `loss` cannot be inverted on the batch.

    Examples:
        >>> batch = TokenBatch(torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log(), torch.tensor([1]))
        >>> check_target([0, 1, 0, 0], "sft", batch)
        right: Q of sft to three decimals.
        >>> check_target([0.4, -0.7, 0.2, 0.1], "sft", batch)
        not yet: that is the gradient g itself. Q is p minus it.
    """
    if is_empty(q) or (isinstance(q, (list, tuple)) and any(is_empty(entry) for entry in q)):
        return not_filled_in("write down the entries of Q")
    target = invert(loss, batch.select(torch.tensor([token])), dtype=torch.float64)
    wanted, p, g = target.q[0], target.p[0], target.g[0]
    try:
        given = torch.as_tensor(q, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return not_yet(f"Q is a list of {len(wanted)} numbers; yours is {q!r:.60}.")
    if given.shape != wanted.shape:
        return not_yet(f"Q has one entry for each of the {len(wanted)} tokens; yours has shape {list(given.shape)}.")
    if not bool(torch.isfinite(given).all()):
        return not_yet("an entry is not a finite number.")
    if _near(given, wanted):
        return right(f"Q of {target.loss} to three decimals.")
    told = [(g, "that is the gradient g itself. Q is p minus it."), (-g, "that is -g. Where does p come in?")]
    told += [
        (p, "that is the model p: Q would not move it."),
        (p + g, "you went along the gradient. Which way is down?"),
    ]
    for other, text in told:
        if _near(given, other):
            return not_yet(text)
    if abs(float(given.sum() - wanted.sum())) > len(wanted) * TOLERANCE:
        return not_yet(f"your entries sum to {float(given.sum()):.4g}, and this Q sums to {float(wanted.sum()):.4g}.")
    label = int(target.batch.labels[0])
    words = [
        f"entry {k}{' (the label)' if k == label else ''} is too {'large' if given[k] > wanted[k] else 'small'}"
        for k in range(len(wanted))
        if abs(float(given[k] - wanted[k])) > TOLERANCE
    ]
    return not_yet(f"{', '.join(words)}; the sum is right.")


def check_claim(
    loss: Any, gamma: Callable[[State], Tensor], residual: Callable[[State], Tensor], *, of: str = "the residual"
) -> Check:
    """Does a student's loss have the target that a claim writes down?

        Q = p - g = gamma onehot(y) + (1 - gamma) residual      (unit gauge)

    Args:
        loss: what the student wrote, as `invert` takes it; one that returns None is not filled in.
        gamma: the label trust claimed, a state -> [N].
        residual: the residual claimed, a state -> [N, V].
        of: what the residual is, in words for the hints.

    Returns:
        Right, or what is off: the pull to the label, the total pull, or the place the residual is in.

    Examples:
        >>> from qtarget_inspect import losses
        >>> check_claim(lambda z, y: losses.sft(z, y), lambda s: s.p_label, lambda s: s.p, of="the model")
        not yet: the pull to the label is 1 at p_y = 0.25, where gamma should be 0.25.
    """
    states = exercise_states()
    unusable = unusable_loss(loss, states)
    if unusable is not None:
        return unusable
    try:
        target = invert(callable_loss(loss), states, dtype=torch.float64)
    except QTargetError as error:
        return not_yet(f"the engine cannot invert this loss: {error}")
    state = State(states, torch.float64)
    trust = gamma(state)
    claimed = (1 - trust).unsqueeze(-1) * residual(state)
    claimed = claimed.scatter_add(-1, states.labels.unsqueeze(-1), trust.unsqueeze(-1))
    distance = (target.q - claimed).abs().amax(-1)
    if float(distance.max()) <= CLAIM_TOLERANCE:
        return right(
            f"Q is gamma onehot(y) + (1 - gamma) times {of}, to {CLAIM_TOLERANCE:.0e} on {len(states)} states."
        )
    first = f"Q is off by up to {float(distance.max()):.2g}"
    if _value_is(loss, states, -(claimed * state.log_p).sum(-1)):
        return not_yet(
            f"{first}. The value of your loss is the cross-entropy to the claimed target, but gradient flows through a "
            "weight as well."
        )
    return not_yet(_what_is_off(decompose(target), trust, state.p_label, of, first))


def _what_is_off(found: Decomposition, trust: Tensor, p_y: Tensor, of: str, first: str) -> str:
    """The first of these that is true: unexplained, pull to the label, total pull, the residual's place."""
    if not explains(found):
        return (
            f"{first}, and your gradient is no sum of pulls to the label, the uniform and the other models: what else "
            "does your loss pull to, or away from?"
        )
    pull = found.pulls[LABEL]
    off = (pull - trust).abs()
    if float(off.max()) > CLAIM_TOLERANCE:
        quarter = int((p_y - 0.25).abs().argmin())
        at = quarter if float(off[quarter]) > CLAIM_TOLERANCE else int(off.argmax())
        return (
            f"the pull to the label is {float(pull[at]):.3g} at p_y = {float(p_y[at]):.2g}, where gamma should be "
            f"{float(trust[at]):.3g}."
        )
    if float((found.total_pull - 1).abs().max()) > CLAIM_TOLERANCE:
        low, high = float(found.total_pull.min()), float(found.total_pull.max())
        size = f"{low:.3g}" if high - low < CLAIM_TOLERANCE else f"{low:.3g} to {high:.3g}"
        return (
            f"the pull to the label is right, and the total pull is {size}. In the unit gauge the model itself fills "
            "up what is missing to 1."
        )
    others = [name for name, weight in found.pulls.items() if name != LABEL and float(weight.abs().max()) > 1e-4]
    return f"the pull to the label and the total pull are right, but the rest goes to {', '.join(others)}, not to {of}."


def _value_is(loss: Any, states: TokenBatch, wanted: Tensor) -> bool:
    """Whether a loss returns certain values [N], whatever its gradient."""
    value = callable_loss(loss)(states.logits, states)
    if not isinstance(value, Tensor) or value.numel() != len(wanted):
        return False
    return float((value.detach().flatten() - wanted).abs().max()) <= CLAIM_TOLERANCE


def _near(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) <= TOLERANCE
