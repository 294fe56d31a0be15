"""Decoys: losses whose weight has no known law, or one that agrees with a law almost everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .judging import entropy, label_prob, nll, weighted

Loss = Callable[..., Tensor]


def _rank(logits: Tensor, labels: Tensor) -> Tensor:
    own = logits.gather(-1, labels.unsqueeze(-1))
    return (logits > own).sum(-1).to(logits.dtype).detach()


def _gap(logits: Tensor) -> Tensor:
    top = logits.detach().softmax(-1).topk(2, -1).values
    return top[:, 0] - top[:, 1]


def _own_prob(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.detach().softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def _piecewise_linear(p: Tensor) -> Tensor:
    return torch.where(p < 0.2, 3 * p, torch.where(p < 0.7, 0.5 + 0.5 * p, 1.9 - 1.5 * p))


SMOOTH: dict[str, Loss] = {
    "sine": weighted(lambda p: 1 + 0.5 * torch.sin(7 * p)),
    "tanh": weighted(lambda p: torch.tanh(3 * p)),
    "sigmoid": weighted(lambda p: torch.sigmoid(5 * (p - 0.5))),
    "exponential": weighted(lambda p: torch.exp(-p)),
    "logarithm": weighted(torch.log1p),
    "lorentzian": weighted(lambda p: 1 / (1 + p**2)),
    "cubic": weighted(lambda p: 1 + p - 2 * p**2 + 0.5 * p**3),
    "p to the p": weighted(lambda p: p**p),
    "square root of a sum": weighted(lambda p: (0.3 + p) ** 0.5),
    "narrow bump": weighted(lambda p: 1 + torch.exp(-(((p - 0.3) / 0.002) ** 2))),
    "logit of p_y": weighted(torch.logit),
    "exponential of the entropy": lambda z, y: torch.exp(-entropy(z)) * nll(z, y),
    "Renyi entropy": lambda z, y: -z.detach().softmax(-1).square().sum(-1).log() * nll(z, y),
    "cosine of the entropy": lambda z, y: torch.cos(entropy(z)) * nll(z, y),
}
"""Weights that are smooth in p_y or the entropy."""

ALMOST: dict[str, Loss] = {
    "sft but for a window": weighted(lambda p: 1 - 0.5 * ((p > 0.495) & (p < 0.505))),
    "dft doubled in a window": weighted(lambda p: p * (1 + ((p > 0.713) & (p < 0.723)))),
    "dft, nothing in a window": weighted(lambda p: p * ((p < 0.1) | (p > 0.11))),
    "dft and sine, 1e-5": weighted(lambda p: p * (1 + 1e-5 * torch.sin(20 * p))),
    "sft and sine, 1e-5": weighted(lambda p: 1 + 1e-5 * torch.sin(20 * p)),
    "sft and 1e-5 p^2": weighted(lambda p: 1 + 1e-5 * p**2),
    "dft, 1 above 0.97": weighted(lambda p: torch.where(p > 0.97, torch.ones_like(p), p)),
    "sft, nothing above 0.999": weighted(lambda p: (p < 0.999).to(p)),
    "sft, double below 1e-6": weighted(lambda p: 1 + (p < 1e-6).to(p)),
    "square root, then p": weighted(lambda p: torch.where(p < 0.5, p.sqrt(), p)),
    "exponent 0.5 or 0.50001": weighted(lambda p: torch.where(p < 0.5, p**0.5, p**0.50001)),
    "p_y to three decimals": weighted(lambda p: (p * 1000).round() / 1000),
    "temperature 1.00001": lambda z, y: nll(z / 1.00001, y),
    "sft but for an entropy window": lambda z, y: (1 - 0.5 * ((entropy(z) - 1.5).abs() < 0.02)) * nll(z, y),
    "sft but for one in 500": lambda z, y: (1 + (_own_prob(z, y) * 1e4).frac().lt(0.002)) * nll(z, y),
}
"""Weights that agree with a law almost everywhere."""

STEPS: dict[str, Loss] = {
    "piecewise linear": weighted(_piecewise_linear),
    "tent": weighted(lambda p: torch.minimum(2 * p, 2 - 2 * p)),
    "staircase": weighted(lambda p: (p * 10).floor() / 10),
    "saw": weighted(lambda p: (p * 10).frac()),
    "three levels": weighted(lambda p: 0.2 + 0.3 * (p > 0.3) + 0.5 * (p > 0.6)),
    "between two thresholds": weighted(lambda p: ((p > 0.2) & (p < 0.8)).to(p)),
    "larger of p_y and 1 - p_y": weighted(lambda p: torch.maximum(p, 1 - p)),
    "threshold at 1 / V": lambda z, y: (label_prob(z, y) > 1 / z.shape[-1]) * nll(z, y),
    "threshold at 2 / V": lambda z, y: (label_prob(z, y) > 2 / z.shape[-1]) * nll(z, y),
    "threshold on two quantities": lambda z, y: ((label_prob(z, y) > 0.3) & (entropy(z) < 2)) * nll(z, y),
    "threshold on either quantity": lambda z, y: ((label_prob(z, y) > 0.3) | (entropy(z) < 1)) * nll(z, y),
    "threshold on a sum": lambda z, y: (label_prob(z, y) + 0.1 * entropy(z) > 0.4) * nll(z, y),
    "another law in small vocabularies": lambda z, y: (label_prob(z, y) if z.shape[-1] < 50 else 1.0) * nll(z, y),
}
"""Weights with edges."""

TOKENS: dict[str, Loss] = {
    "class weights": lambda z, y: (1 + (y % 7) / 10) * nll(z, y),
    "even labels": lambda z, y: (y % 2 == 0) * nll(z, y),
    "first half of the vocabulary": lambda z, y: (y < z.shape[-1] // 2) * nll(z, y),
    "rank of the label": lambda z, y: nll(z, y) / (1 + _rank(z, y)),
    "label among the top 5": lambda z, y: (_rank(z, y) < 5) * nll(z, y),
    "gap between the top two": lambda z, y: _gap(z) * nll(z, y),
    "tokens above 1 %": lambda z, y: (z.detach().softmax(-1) > 0.01).sum(-1) * nll(z, y),
    "logit of the label": lambda z, y: torch.sigmoid(z.gather(-1, y.unsqueeze(-1)).squeeze(-1).detach()) * nll(z, y),
    "largest logit": lambda z, y: z.amax(-1).detach().abs() * nll(z, y),
    "Tsallis entropy": lambda z, y: (1 - (z.detach().softmax(-1) ** 1.7).sum(-1)) / 0.7 * nll(z, y),
    "place in the batch": lambda z, y: (1 + torch.arange(len(y)) % 3) * nll(z, y),
    "step clipped by its norm": lambda z, y: nll(z, y) / _step(z, y).clamp(min=0.5),
}
"""Weights by what the vocabulary of laws does not look at."""


def _step(logits: Tensor, labels: Tensor) -> Tensor:
    p = logits.detach().softmax(-1)
    return (p - functional.one_hot(labels, p.shape[-1])).norm(dim=-1)


DIRECTIONS: dict[str, Loss] = {
    "hinge": lambda z, y: functional.multi_margin_loss(z, y, reduction="none"),
    "Brier": lambda z, y: (z.softmax(-1) - functional.one_hot(y, z.shape[-1])).square().sum(-1),
    "SFT and a tenth of Brier": lambda z, y: (
        nll(z, y) + 0.1 * (z.softmax(-1) - functional.one_hot(y, z.shape[-1])).square().sum(-1)
    ),
    "label plus one": lambda z, y: nll(z, (y + 1) % z.shape[-1]),
    "label of the next token": lambda z, y: nll(z, y.roll(1)),
    "smoothing by neighbours": lambda z, y: 0.9 * nll(z, y) + 0.1 * nll(z, (y + 1) % z.shape[-1]),
    "label permuted now and then": lambda z, y: nll(z, torch.where(y % 13 == 0, (y + 1) % z.shape[-1], y)),
    "squared error of logits": lambda z, y: (z - functional.one_hot(y, z.shape[-1])).square().sum(-1),
    "binary cross-entropy": lambda z, y: functional.binary_cross_entropy_with_logits(
        z, functional.one_hot(y, z.shape[-1]).to(z), reduction="none"
    ).sum(-1),
    "Zipf smoothing": lambda z, y: 0.9 * nll(z, y) - 0.1 * (_zipf(z) * z.log_softmax(-1)).sum(-1),
    "nucleus": lambda z, y: 0.5 * nll(z, y) - 0.5 * (_nucleus(z) * z.log_softmax(-1)).sum(-1),
}
"""Gradients in directions that no vocabulary holds."""


def _zipf(logits: Tensor) -> Tensor:
    weight = 1 / torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype)
    return weight / weight.sum()


def _nucleus(logits: Tensor) -> Tensor:
    p, order = logits.detach().softmax(-1).sort(-1, descending=True)
    kept = torch.where(p.cumsum(-1) - p < 0.9, p, 0.0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def _product_with(name: str, weight: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Loss:
    """A loss that asks for one context by name; weight(logits, labels, context) -> [N]."""
    by_name: dict[str, Loss] = {
        "reference_logits": lambda z, y, reference_logits: weight(z, y, reference_logits) * nll(z, y),
        "teacher_logits": lambda z, y, teacher_logits: weight(z, y, teacher_logits) * nll(z, y),
        "advantages": lambda z, y, advantages: weight(z, y, advantages) * nll(z, y),
        "weights": lambda z, y, weights: weight(z, y, weights) * nll(z, y),
        "sequence_ids": lambda z, y, sequence_ids: weight(z, y, sequence_ids) * nll(z, y),
    }
    return by_name[name]


def _by_sequence(values: Tensor, ids: Tensor, how: str) -> Tensor:
    place = ids.unique(return_inverse=True)[1]
    start = torch.zeros(int(place.max()) + 1, dtype=values.dtype)
    return start.scatter_reduce(0, place, values, how, include_self=False)[place]


CONTEXT: dict[str, Loss] = {
    "window on the reference": _product_with(
        "reference_logits", lambda z, y, r: 1 - 0.5 * (_own_prob(r, y) - 0.3).abs().lt(0.005)
    ),
    "window on the ratio": _product_with(
        "reference_logits", lambda z, y, r: 1 - 0.5 * ((nll(r, y) - nll(z, y)).detach() - 0.5).abs().lt(0.01)
    ),
    "smaller of two": _product_with(
        "reference_logits", lambda z, y, r: torch.minimum(_own_prob(r, y), label_prob(z, y))
    ),
    "difference of two": _product_with("reference_logits", lambda z, y, r: (label_prob(z, y) - _own_prob(r, y)).abs()),
    "harmonic mean": _product_with("teacher_logits", lambda z, y, t: 2 / (1 / label_prob(z, y) + 1 / _own_prob(t, y))),
    "teacher agrees": _product_with("teacher_logits", lambda z, y, t: (t.argmax(-1) == y).to(z)),
    "KL to the teacher": _product_with(
        "teacher_logits",
        lambda z, y, t: (t.softmax(-1) * (t.log_softmax(-1) - z.detach().log_softmax(-1))).sum(-1),
    ),
    "tanh of the advantage": _product_with("advantages", lambda z, y, a: torch.tanh(a)),
    "square of the advantage": _product_with("advantages", lambda z, y, a: a * a.abs()),
    "clipped advantage": _product_with("advantages", lambda z, y, a: a.clamp(-1.5, 1.5)),
    "advantage if far from 0": _product_with("advantages", lambda z, y, a: a * (a.abs() > 0.3)),
    "whitened advantage": _product_with("advantages", lambda z, y, a: (a - a.mean()) / a.std()),
    "window on the advantage": _product_with("advantages", lambda z, y, a: a * (1 - 0.5 * (a - 0.7).abs().lt(0.003))),
    "largest of a sequence": _product_with(
        "sequence_ids", lambda z, y, ids: _by_sequence(label_prob(z, y), ids, "amax")
    ),
    "sine of a weight": _product_with("weights", lambda z, y, w: torch.sin(3 * w)),
    "smallest of a sequence": _product_with(
        "sequence_ids", lambda z, y, ids: _by_sequence(label_prob(z, y), ids, "amin")
    ),
    "mean of a sequence": _product_with("sequence_ids", lambda z, y, ids: _by_sequence(label_prob(z, y), ids, "mean")),
}
"""Weights by context."""


def _normalised(logits: Tensor, labels: Tensor) -> Tensor:
    p = label_prob(logits, labels)
    return p / p.mean() * nll(logits, labels)


def _softmax_over_batch(logits: Tensor, labels: Tensor) -> Tensor:
    values = nll(logits, labels)
    return len(labels) * values.detach().softmax(0) * values


def _top_half(logits: Tensor, labels: Tensor) -> Tensor:
    values = nll(logits, labels)
    return values * (values >= values.detach().median())


def _whitened(logits: Tensor, labels: Tensor) -> Tensor:
    values = nll(logits, labels)
    return values * ((values.detach() - values.detach().mean()) / (values.detach().std() + 1e-6)).sigmoid()


BATCH: dict[str, Loss] = {
    "batch-normalised p_y": _normalised,
    "softmax over the batch": _softmax_over_batch,
    "harder half of the batch": _top_half,
    "whitened over the batch": _whitened,
}
"""Weights that couple the tokens of a batch."""


def noisy(share: float) -> Loss:
    """SFT with a weight that is random by a share."""
    return lambda z, y: (1 + share * torch.rand(len(y), dtype=z.dtype)) * nll(z, y)


def dropped(logits: Tensor, labels: Tensor) -> Tensor:
    """SFT that forgets one token in a hundred at random."""
    return (torch.rand(len(labels)) > 0.01) * nll(logits, labels)


def growing() -> Loss:
    """SFT whose weight grows with every call."""
    calls = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return (1 + 0.01 * len(calls)) * nll(logits, labels)

    return loss


def turning(after: int) -> Loss:
    """SFT that becomes DFT after some calls."""
    calls = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return (label_prob(logits, labels) if len(calls) > after else 1.0) * nll(logits, labels)

    return loss


def annealed() -> Loss:
    """A power of p_y whose exponent moves by a little with every call."""
    calls = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return label_prob(logits, labels) ** (1 + 0.5 * math.exp(-len(calls) / 10)) * nll(logits, labels)

    return loss


def _top_k_entropy(logits: Tensor, top_k: int) -> Tensor:
    top = logits.detach().topk(min(top_k, logits.shape[-1]), -1).values
    return entropy(top)


def _apart(logits: Tensor, other: Tensor) -> Tensor:
    return (logits.detach() - other).abs().amax(-1)


REACH: dict[str, Loss] = {
    "entropy of the top 70": lambda z, y: _top_k_entropy(z, 70) * nll(z, y),
    "entropy of the top 100": lambda z, y: _top_k_entropy(z, 100) * nll(z, y),
    "entropy clipped at 4.17": lambda z, y: entropy(z).clamp(max=4.17) * nll(z, y),
    "sft but for flat rows": lambda z, y: (entropy(z) / math.log(z.shape[-1]) < 0.995) * nll(z, y),
    "dft beyond 70 entries": lambda z, y: (label_prob(z, y) if z.shape[-1] > 70 else 1.0) * nll(z, y),
    "label 70 twice": lambda z, y: (1 + (y == 70).to(z)) * nll(z, y),
    "logits clipped at 25": lambda z, y: nll(z.clamp(-25, 25), y),
    "logits capped at 1000": lambda z, y: nll(1000 * torch.tanh(z / 1000), y),
    "advantage clipped at 2.5": _product_with("advantages", lambda z, y, a: a.clamp(-2.5, 2.5)),
    "advantage, dead near 0": _product_with("advantages", lambda z, y, a: a * (a.abs() > 0.1)),
    "weight clipped at 2.5": _product_with("weights", lambda z, y, w: w.clamp(max=2.5)),
    "ratio clipped at 1e4": _product_with(
        "reference_logits", lambda z, y, r: (nll(r, y) - nll(z, y)).exp().detach().clamp(max=1e4)
    ),
    "twice where the reference is the model": _product_with(
        "reference_logits", lambda z, y, r: 1 + (_apart(z, r) < 1e-9).to(z)
    ),
    "long sequences only": _product_with("sequence_ids", lambda z, y, ids: (_length(ids) > 6).to(z)),
}
"""Laws with an edge where few states lie: large vocabularies, flat rows, far models, large advantages."""


def _length(ids: Tensor) -> Tensor:
    return _by_sequence(torch.ones(len(ids), dtype=torch.float64), ids, "sum")


def _cast(weight: Callable[[Tensor], Tensor]) -> Loss:
    """-sg[weight(p_y)] log p_y in float32."""
    return lambda z, y: weight(label_prob(z.float(), y)) * nll(z.float(), y)


FLOAT32: dict[str, Loss] = {
    "sine": _cast(lambda p: 1 + 0.5 * torch.sin(7 * p)),
    "sine, 1e-3": _cast(lambda p: 1 + 1e-3 * torch.sin(20 * p)),
    "tanh": _cast(lambda p: torch.tanh(3 * p)),
    "smooth step": _cast(lambda p: p * p * (3 - 2 * p)),
    "window": _cast(lambda p: 1 - 0.5 * ((p - 0.5).abs() < 0.002)),
    "two powers": _cast(lambda p: torch.where(p < 0.5, p**0.5, p**0.501)),
    "staircase": _cast(lambda p: (p * 10).floor() / 10),
    "double below 1e-6": _cast(lambda p: 1 + (p < 1e-6).to(p)),
    "p_y floored at 1e-6": lambda z, y: -nll(z.float(), y).neg().exp().clamp(min=1e-6).log(),
    "log(p_y + 1e-8)": lambda z, y: -(nll(z.float(), y).neg().exp() + 1e-8).log(),
    "log(p_y + 1e-10)": lambda z, y: -(nll(z.float(), y).neg().exp() + 1e-10).log(),
    "squared logits, 1e-5": lambda z, y: nll(z.float(), y) + 1e-5 * z.float().square().sum(-1),
    "bfloat16": lambda z, y: nll(z.bfloat16(), y),
}
"""Decoys that hide in the rounding of float32."""

FAMILIES = {
    "smooth": SMOOTH,
    "almost a law": ALMOST,
    "steps": STEPS,
    "tokens": TOKENS,
    "directions": DIRECTIONS,
    "context": CONTEXT,
    "batch": BATCH,
    "reach": REACH,
}
