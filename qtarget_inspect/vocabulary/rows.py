"""Rows: the distributions and scores [n, V] that directions are made of, and how they add up in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qtarget_inspect.core import numerics
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.core.top_tokens import top_tokens

_STEEP = 30.0  # a pull to the label this strong makes its entry of Q the difference of two large numbers

_SMALL = 64.0  # logits below this keep their digits when they are mixed as they are


def label_rows(state: State) -> Tensor:
    """[n, V] one-hot rows of the labels."""
    return numerics.one_hot(state.labels, state.p)


def uniform_rows(state: State) -> Tensor:
    """[n, V] 1 / V everywhere."""
    return torch.full_like(state.p, 1 / state.p.shape[-1])


def context_rows(state: State, name: str, temperature: float) -> Tensor:
    """[n, V] softmax(context logits / temperature)."""
    if temperature == 1.0:
        return state.probabilities(name)
    scaled = state.context(name) / temperature
    return torch.softmax(scaled, -1, out=scaled) if state.fast else scaled.softmax(-1)


def power_rows(state: State, exponent: float) -> Tensor:
    """[n, V] p^a / sum p^a."""
    if state.fast and exponent > 0:
        logits = state.context(MODEL)
        centre = _label_logits(logits, state.labels) * -exponent
        scaled = torch.add(centre, logits, alpha=exponent)
        return torch.softmax(scaled, -1, out=scaled)
    return scaled_log_probs(state.log_p, exponent).softmax(-1)


def path_rows(state: State, eta: float, to: str) -> Tensor:
    """[n, V] p^(1 - eta) other^eta / Z."""
    if state.fast and 0 < eta < 1:
        logits, other = state.context(MODEL), state.context(to)
        at_label, others_at_label = _label_logits(logits, state.labels), _label_logits(other, state.labels)
        if float(torch.maximum(at_label.abs(), others_at_label.abs()).max()) <= _SMALL:
            mixed = torch.lerp(logits, other, eta)
            torch.softmax(mixed, -1, out=mixed)
            if not bool(torch.isnan(mixed[:, 0]).any()):  # -inf in both makes its whole row NaN
                return mixed
        centre = at_label * (eta - 1) - others_at_label * eta
        mixed = torch.add(centre, logits, alpha=1 - eta).add_(other, alpha=eta)
        return torch.softmax(mixed, -1, out=mixed)
    return geometric_path(state.log_p, state.log_probs(to), eta).exp()


def _label_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """[N, 1] the labels' logits, 0 where the label is impossible: an offset that keeps scaled logits small."""
    own = logits.gather(-1, labels.unsqueeze(-1))
    return own.masked_fill(torch.isneginf(own), 0.0)


def others_rows(state: State) -> Tensor:
    """[n, V] p without the label, renormalised."""
    return state.context(MODEL).scatter(-1, state.labels.unsqueeze(-1), float("-inf")).softmax(-1)


def top_k_rows(state: State, k: int, of: str) -> Tensor:
    """[n, V] the top k of a model, renormalised."""
    logits = state.context(of)
    values, indices = top_tokens(logits, k)
    return torch.zeros_like(logits).scatter_(-1, indices, values.softmax(-1))


def mixture_rows(state: State, share: float, of: str) -> Tensor:
    """[n, V] log(share * other + (1 - share) * p), nats."""
    log_other = state.log_probs(of)
    if share == 1:
        return log_other
    return torch.logaddexp(state.log_p + math.log1p(-share), log_other + math.log(share))


def sign_rows(state: State, of: str) -> Tensor:
    """[n, V] sign(p - other)."""
    return torch.sign(state.p - state.probabilities(of))  # computed alike: 0 where the two agree


def log_prob_rows(state: State, name: str) -> Tensor:
    """[n, V] log-probabilities of a model, nats."""
    return state.log_probs(name)


def scaled_log_probs(log_p: Tensor, exponent: float) -> Tensor:
    """exponent * log p; impossible tokens stay impossible at every exponent, 0 included.

    Args:
        log_p: [..., V] log-probabilities.
        exponent: the power.

    Returns:
        [..., V] unnormalised log-probabilities.
    """
    return torch.where(torch.isneginf(log_p), log_p, exponent * log_p)


def geometric_path(log_p: Tensor, log_b: Tensor, eta: float) -> Tensor:
    """Log-probabilities of p^(1-eta) b^eta / Z, its ends exact.

    Args:
        log_p: [..., V] log-probabilities at eta = 0.
        log_b: [..., V] log-probabilities at eta = 1.
        eta: the point on the path.

    Returns:
        [..., V] log-probabilities.
    """
    if eta == 0:
        return log_p
    if eta == 1:
        return log_b
    return ((1 - eta) * log_p + eta * log_b).log_softmax(-1)


def add_label(rows: Tensor, weight: Tensor, elsewhere: Sequence[Tensor], state: State, beside_model: bool) -> None:
    """Add the label's pull a to the rows (1 - S) p: (1 - S) p_y + a at the label, exact also at p_y -> 1.

    There a strong pull makes it the difference of two large numbers; with the pull elsewhere, S - a, it is
    (1 - (S - a)) p_y + a (1 - p_y), which has none.

    Args:
        rows: [n, V] what to add to.
        weight: [n, 1] a.
        elsewhere: the other pulls [n, 1], S - a together.
        state: the state.
        beside_model: whether (1 - S) p is in the rows already.
    """
    index = state.labels.unsqueeze(-1)
    if float(torch.linalg.vector_norm(weight, torch.inf)) <= _STEEP:
        rows.scatter_add_(-1, index, weight)
        return
    rest = state.one_minus_p_label.unsqueeze(-1)
    entry = (1 - sum(elsewhere)) * (1 - rest) + weight * rest
    if beside_model:
        rows.scatter_(-1, index, entry)
    else:
        rows.scatter_add_(-1, index, entry)
