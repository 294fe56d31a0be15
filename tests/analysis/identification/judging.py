"""Judging: what an identification says, held against inversion on states that it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import qtarget_inspect as qt

from .states import dense_states, fresh_states, large_vocabulary

TOLERANCE = 1e-6
"""How far gamma or Q may be off inversion, per unit of a row's size."""

FLOAT32_TOLERANCE = 1e-4
"""The same for losses that cast to float32."""


def row_error(found: Tensor, true: Tensor) -> float:
    """Largest difference between [N, V] rows, per unit of a row's size; inf where one is undefined."""
    size = true.abs().amax(-1).clamp(min=1.0)
    return float(((found - true).abs().amax(-1) / size).nan_to_num(nan=torch.inf).max())


def inverted(loss: object, batch: qt.TokenBatch) -> Tensor:
    """[N, V] Q by differentiation, never by a declared closed form."""
    method = "torch.func" if isinstance(loss, str | qt.Variant) else "auto"
    return qt.invert(loss, batch, method=method, dtype=torch.float64).q


def assert_never_wrong(found: qt.Identification, loss: object, tolerance: float = TOLERANCE) -> None:
    """A law that is named predicts Q on states of three kinds; where none is named, that is said."""
    if not found.has_law:
        assert_says_unknown(found)
        return
    for states in (fresh_states(), dense_states(), large_vocabulary()):
        error = row_error(found.predict_q(states), inverted(loss, states))
        text = found.pulls.text if found.pulls else "no pulls"
        assert error < tolerance, f"{found.name}: {text} is wrong: Q is off by {error:.1e} at V = {states.vocabulary}"


def assert_says_unknown(found: qt.Identification) -> None:
    """No law is named: a warning says why, predictions refuse, and the table holds what was measured."""
    assert not found.has_law, f"{found.name}: {found.pulls.text if found.pulls else 'no pulls'}"
    assert found.warnings
    assert found.category == "unknown" or found.unknown
    for predict in (found.predict_gamma, found.predict_q):
        with pytest.raises(qt.QTargetError, match=r"qt\.invert"):
            predict(fresh_states())
    table = found.table()
    assert len(table) > 100
    assert {"p_y", "entropy", "vocabulary", "unexplained"} <= set(table)
    for name in found.unknown:
        assert table[f"pull {name}"].notna().any()
        assert table[f"law {name}"].isna().all()


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """[N] -log p_y."""
    return functional.cross_entropy(logits, labels, reduction="none")


def label_prob(logits: Tensor, labels: Tensor) -> Tensor:
    """[N] p_y, detached."""
    return nll(logits, labels).neg().exp().detach()


def entropy(logits: Tensor) -> Tensor:
    """[N] entropy of a model in nats, detached."""
    log_p = logits.log_softmax(-1).detach()
    return -(log_p.exp() * log_p).sum(-1)


def kl(first: Tensor, second: Tensor) -> Tensor:
    """[N] KL(first‖second) in nats, of two models given by their logits."""
    log_first, log_second = first.log_softmax(-1), second.log_softmax(-1)
    return (log_first.exp() * (log_first - log_second)).sum(-1)


def weighted(weight: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """-sg[weight(p_y)] log p_y as a loss."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return weight(label_prob(logits, labels)) * nll(logits, labels)

    return loss
