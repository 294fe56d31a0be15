"""Alignment: whether a label trains the logits of its own row. An off-by-one raises no error of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.calling import IGNORE_INDEX
from qtarget_inspect.engine.gradients import loss_and_gradient, own_random_numbers

TOLERANCE = 1e-5
"""Share of a gradient that has to turn before it counts as moved."""

LABELS_TRIED = 4
"""How many labels are changed before they count as without effect."""


def is_aligned(loss: TokenLoss, sample: TokenBatch, gradient: Tensor) -> bool | None:
    """Whether changing a label turns the gradient of its own row.

    A loss that shifts inside trains token i on label i + 1 in a flat layout; one that does not shift trains token i on
    label i - 1 in the causal one; both without any error. A weight of the batch may scale every row; only the trained
    one turns. Where labels turn nothing (distillation), one is masked by -100 and the row that falls silent is looked
    for.

    Args:
        loss: the loss in the layout to judge.
        sample: tokens with gradients well above rounding.
        gradient: [m, V] the loss's gradient on them.

    Returns:
        True or False; None where labels have no visible effect.
    """
    tried = range(1, min(len(sample), LABELS_TRIED + 1))
    likeliest = sample.logits.topk(min(2, sample.vocabulary), dim=-1).indices
    for index in tried:
        other = likeliest[index][likeliest[index] != sample.labels[index]]
        if other.numel() == 0:
            continue
        moved = _turned(gradient, _gradient_with_label(loss, sample, index, int(other[0])), index)
        # a row that was silent has no direction to turn: a label may have woken its whole sequence
        if moved is not None and (moved == index or bool((gradient[moved] != 0).any())):
            return moved == index
    for index in tried:
        moved = _silenced(gradient, _gradient_with_label(loss, sample, index, IGNORE_INDEX))
        if moved is not None:
            return moved == index
    silent = gradient.abs().amax(-1) == 0
    if len(sample) > 2 and bool(silent[-1]) and not bool(silent[:-1].any()):
        return False  # the last row is cut off, as by logits[:-1]
    return None


def _gradient_with_label(loss: TokenLoss, sample: TokenBatch, index: int, label: int) -> Tensor | None:
    """The gradient with one label changed; None where the loss refuses it."""
    labels = sample.labels.clone()
    labels[index] = label
    fields = {name: value.clone() for name, value in sample.context.items()}
    changed = TokenBatch.unchecked({"logits": sample.logits, "labels": labels, **fields})
    with own_random_numbers(sample.logits.device, seed=0):
        try:
            return loss_and_gradient(loss, sample.logits.clone(), changed, "autograd")[1]
        except QTargetError:
            return None


def _turned(before: Tensor, after: Tensor | None, own: int) -> int | None:
    """The row whose gradient turned most; its own where that did half as much, since others may avoid its label."""
    if after is None or not bool(torch.isfinite(after).all()):
        return None
    before, after = before.double(), after.double()
    scale = (before * after).sum(-1, keepdim=True) / before.square().sum(-1, keepdim=True).clamp(min=1e-300)
    change = (after - scale.clamp(min=0) * before).abs().amax(-1)  # a reversed row has turned
    row = own if bool(change[own] > 0.5 * change.max()) else int(change.argmax())
    size = torch.maximum(before.abs().amax(), after.abs().amax())
    return row if bool(change[row] > TOLERANCE * size) else None


def _silenced(before: Tensor, after: Tensor | None) -> int | None:
    """The one row whose gradient went; None where that cannot be said."""
    if after is None or not bool(torch.isfinite(after).all()):
        return None
    gone = ((before != 0).any(-1) & (after == 0).all(-1)).nonzero().flatten()
    return int(gone[0]) if gone.numel() == 1 else None
