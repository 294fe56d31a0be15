"""Locating: the state at which a weight turns, bisected to rounding on straight lines between two known states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.observation import BlackBox, Observation
from qtarget_inspect.analysis.identification.switches import Locate, Turns
from qtarget_inspect.analysis.identification.weights import weights_over
from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.quantities import Quantity

SECTIONS = 24
"""Parts that a stretch is cut into at each call of the loss."""

RESOLUTION = {torch.float64: 4e-16, torch.float32: 2e-6}
"""Part of a stretch below which its ends are the same state to the loss."""

ROUNDS = 12
"""24^12 is beyond the digits of float64."""


def make_locate(box: BlackBox, states: Sequence[State], support: Sequence[Direction], name: str) -> Locate:
    """How to ask a loss where the weight of one of its pulls turns on.

    Two states with the same label are joined by a straight line in logits and context; the loss is asked on points of
    it, and the stretch in which the weight turns is cut again until rounding stops it.

    Args:
        box: the loss.
        states: the states of the samples.
        support: the directions of its pulls.
        name: whose weight.

    Returns:
        The function.
    """
    sizes = np.cumsum([0, *(len(state.batch) for state in states)])

    def row(token: int) -> TokenBatch:
        place = int(np.searchsorted(sizes, token, side="right")) - 1
        return states[place].batch.select(token - int(sizes[place]))

    def locate(pairs: Sequence[tuple[int, int]], quantity: Quantity, lit: Law, unlit: Law) -> Turns | None:
        ends = [(row(on), _with_label_of(row(on), row(off))) for on, off in pairs]
        low, high = np.zeros(len(ends)), np.ones(len(ends))  # the weight is on at low, off at high
        for _ in range(ROUNDS):
            shares = [np.linspace(a, b, SECTIONS + 1) for a, b in zip(low, high, strict=True)]
            batch = _join([_on_line(*end, torch.from_numpy(t)) for end, t in zip(ends, shares, strict=True)])
            try:
                on = _is_on(box, batch, support, name, lit, unlit)
            except QTargetError:
                return None
            for i, (t, is_on) in enumerate(zip(shares, on.reshape(len(ends), -1), strict=True)):
                if not is_on[0] or is_on[-1]:
                    return None  # on a line of its own the token behaves otherwise: it depends on its company
                turn = int(np.argmin(is_on))
                low[i], high[i] = t[turn - 1], t[turn]
            if bool((high - low <= RESOLUTION[box.precision]).all()):
                break
        # rounding may turn the loss a bit apart from the quantity, where that jumps most of all
        margin = 10 * RESOLUTION[torch.float64] if box.precision == torch.float64 else RESOLUTION[box.precision]
        low, high = low - margin, high + margin
        batch = _join([_on_line(*end, torch.tensor([a, b])) for end, a, b in zip(ends, low, high, strict=True)])
        log = quantity.log(State(batch, torch.float64)).reshape(-1, 2)
        return [(float(a), float(b)) for a, b in log.tolist()]

    return locate


def _is_on(
    box: BlackBox, batch: TokenBatch, support: Sequence[Direction], name: str, lit: Law, unlit: Law
) -> np.ndarray:
    """[n] bool, where a weight is nearer to its law when on than to that when off."""
    observed = Observation(State(batch, torch.float64), box.gradient(batch), box.eps, None)
    values = weights_over(observed, support).values[name]
    on, off = lit(observed.state).numpy(), unlit(observed.state).numpy()
    return np.abs(values - on) < np.abs(values - off)


def _with_label_of(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """The second token with two vocabulary entries swapped, so that its label is the first one's."""
    order = torch.arange(second.vocabulary)
    mine, other = int(first.labels), int(second.labels)
    order[mine], order[other] = other, mine
    fields = {name: getattr(second, name)[:, order] for name in LOGIT_CONTEXT if getattr(second, name) is not None}
    return TokenBatch.unchecked({
        "logits": second.logits[:, order],
        "labels": first.labels,
        **fields,
        **_by_token(second),
    })


def _by_token(batch: TokenBatch) -> dict[str, Tensor]:
    names = ("advantages", "weights", "critical")
    return {name: getattr(batch, name) for name in names if getattr(batch, name) is not None}


def _on_line(first: TokenBatch, second: TokenBatch, shares: Tensor) -> TokenBatch:
    """[n] tokens on the line from one state to another; whole numbers and truth values are the first one's."""
    column = shares.to(torch.float64).unsqueeze(-1)
    fields = {}
    for name in ("logits", *LOGIT_CONTEXT):
        a, b = getattr(first, name), getattr(second, name)
        if a is not None and b is not None:
            fields[name] = (1 - column) * a + column * b
    for name, value in _by_token(first).items():
        other = getattr(second, name)
        straight = value.is_floating_point() and bool((value * other > 0).all())
        fields[name] = (1 - shares) * value + shares * other if straight else value.expand(len(shares))
    return TokenBatch.unchecked({**fields, "labels": first.labels.expand(len(shares))})


def _join(parts: Sequence[TokenBatch]) -> TokenBatch:
    """All points as one batch, each a sequence of its own."""
    names = ("logits", "labels", *parts[0].context)
    fields = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return TokenBatch.unchecked({**fields, "sequence_ids": torch.arange(len(fields["labels"]))})
