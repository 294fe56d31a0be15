"""Reading: some rows read once: every source's softmax, and its sums over the tokens that are not the label."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core import numerics
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.row_statistics import FAINT
from qtarget_inspect.core.state import MODEL


@dataclass
class Scratch:
    """Reused memory: one [rows, V] tensor a name.

    Args:
        rows: the most rows that are read at once.
        vocabulary: V.
        dtype: type of all tensors.
        device: where they lie.
    """

    rows: int
    vocabulary: int
    dtype: torch.dtype
    device: torch.device
    _held: dict[object, Tensor] = field(default_factory=dict, repr=False)

    def get(self, name: object, rows: int) -> Tensor:
        """[rows, V] the tensor of that name, with whatever it last held."""
        if name not in self._held:
            self._held[name] = torch.empty(self.rows, self.vocabulary, dtype=self.dtype, device=self.device)
        return self._held[name][:rows]


@dataclass(frozen=True)
class Source:
    """A distribution on some rows, the label taken apart.

    Args:
        others: [n, V] b with 0 at the label, in scratch; a uniform b is one number, and stands at the label too.
        label: [n] b_y.
    """

    others: Tensor
    label: Tensor


class Reading:
    """Some rows, read on demand and once.

    Sums over the others (k != y) stay exact where p_y -> 1, since no large entry stands among them.

    Args:
        batch: the rows.
        scratch: where the softmaxes go; a reading is valid until the next one takes the same scratch.
        kept: sources that are needed together; each has memory of its own. All others take turns.
        careful: whether logits are centred and -inf is looked after in means of logits. Without it a mean of logits
            with an impossible token among them is NaN.
    """

    def __init__(
        self, batch: TokenBatch, scratch: Scratch, kept: frozenset[Exponents] = frozenset(), careful: bool = False
    ) -> None:
        self.batch = batch
        self.scratch = scratch
        self.careful = careful
        self.index = batch.labels.unsqueeze(-1)
        self._kept = kept | {SELF}
        self._turn: Exponents | None = None
        self._sources: dict[Exponents, Source] = {}
        self._logits: dict[str, Tensor] = {}
        self._finite: dict[str, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of rows."""
        return self.index.shape[0]

    def work(self, name: object = "work") -> Tensor:
        """[n, V] scratch to write into; the next caller overwrites it."""
        return self.scratch.get(name, len(self))

    def logits(self, name: str) -> Tensor:
        """[n, V] a model's logits in the compute type; half precision is upcast once."""
        if name not in self._logits:
            value = getattr(self.batch, name)
            if self.careful:
                value = torch.sub(value, value.amax(-1, keepdim=True), out=self.work(("logits", name)))
            elif value.dtype != self.scratch.dtype:
                value = self.work(("logits", name)).copy_(value)
            self._logits[name] = value
        return self._logits[name]

    def own(self, name: str) -> Tensor:
        """[n] a model's logit of the label."""
        return self.logits(name).gather(-1, self.index).squeeze(-1)

    def source(self, key: Exponents) -> Source:
        """A distribution; one that is not kept is valid until the next one that is not kept."""
        if key not in self._sources:
            if key and key not in self._kept:
                if self._turn is not None:
                    del self._sources[self._turn]
                self._turn = key
            self._sources[key] = self._read(key)
        return self._sources[key]

    def mean_logit(self, key: Exponents, name: str, last: bool = False) -> Tensor:
        """[n] sum over the others of b_k z_k; where it is the last that is asked of b, b is used up."""
        others, logits = self.source(key).others, self.logits(name)
        if not self.careful and not key:
            return (logits.sum(-1) - self.own(name)) / self.scratch.vocabulary
        if not self.careful and last and key == self._turn:
            del self._sources[key]
            self._turn = None
            return others.mul_(logits).sum(-1)
        if not self.careful:
            return torch.mul(others, logits, out=self.work()).sum(-1)
        finite, impossible = self._without_infinities(name)
        others = others if key else others.scatter(-1, self.index, 0.0)
        excluded = torch.mul(others, impossible, out=self.work()).sum(-1) > 0
        return torch.where(excluded, -torch.inf, torch.mul(others, finite, out=self.work()).sum(-1))

    def mass(self, key: Exponents) -> Tensor:
        """[n] sum of b over the others, 1 - b_y: exact where b_y rounds to 1."""
        return self.source(key).others.sum(-1)

    def log_label(self, name: str) -> Tensor:
        """[n] log-probability of the label under a model, float64 nats."""
        source = self.source(((name, 1.0),))
        rest = self.mass(((name, 1.0),))  # alike for all models, so that equal ones give equal numbers
        return log_of_label(source.label, rest, self.logits(name), self.batch.labels)

    def _without_infinities(self, name: str) -> tuple[Tensor, Tensor]:
        """Logits with 0 for -inf, and 1 where there was -inf, else 0; both [n, V]."""
        if name not in self._finite:
            logits = self.logits(name)
            impossible = self.work(("impossible", name)).copy_(torch.isneginf(logits))
            finite = self.work(("finite", name)).copy_(logits).masked_fill_(impossible.bool(), 0.0)
            impossible.scatter_(-1, self.index, 0.0)  # an impossible label is no other token
            self._finite[name] = finite, impossible
        return self._finite[name]

    def scores(self, key: Exponents) -> Tensor:
        """[n, V] the sum of logits that b is the softmax of; the next caller overwrites it."""
        (name, power), *more = key
        if power == 1 and not more:
            return self.logits(name)
        scores = torch.mul(self.logits(name), power, out=self.work())
        for other, share in more:
            scores.add_(self.logits(other), alpha=share)
        return scores

    def _read(self, key: Exponents) -> Source:
        if not key:
            return self._uniform()
        memory = self.work(("source", key) if key in self._kept else "source")
        path = _is_path(key) and not self.careful
        b = torch.softmax(self._mixed(key) if path else self.scores(key), -1, out=memory)
        label = b.gather(-1, self.index)
        if path and bool(torch.isnan(label).any()):  # -inf less -inf made a row NaN
            label = torch.softmax(self.scores(key), -1, out=memory).gather(-1, self.index)
        return Source(b.scatter_(-1, self.index, 0.0), label.squeeze(-1))

    def _mixed(self, key: Exponents) -> Tensor:
        """[n, V] scores of a path in one pass, (1 - eta) z + eta z'; NaN where both are -inf."""
        (name, _), (other, share) = key
        return torch.lerp(self.logits(name), self.logits(other), share, out=self.work())

    def _uniform(self) -> Source:
        one = self.logits(MODEL).new_full((1,), 1 / self.scratch.vocabulary)
        return Source(one.expand(len(self), self.scratch.vocabulary), one.expand(len(self)))


def _is_path(key: Exponents) -> bool:
    """Whether b is a mixture of two models' logits whose shares, in [0, 1], sum to 1."""
    return len(key) == 2 and abs(key[0][1] + key[1][1] - 1) < 1e-15 and 0 <= key[1][1] <= 1


def log_of_label(label: Tensor, rest: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """log b_y from b_y, from 1 - b_y where that is smaller, and from log-space where b_y underflows.

    Args:
        label: [n] b_y.
        rest: [n] 1 - b_y.
        scores: [n, V] what b is the softmax of.
        labels: [n] labels.

    Returns:
        [n] float64, nats.
    """
    near, faint = rest.to(torch.float64), label < FAINT[label.dtype]
    found = torch.where(near < 0.5, torch.log1p(-near), label.to(torch.float64).log())
    if bool(faint.any()):
        found[faint] = numerics.label_log_prob_from_logits(scores[faint], labels[faint]).to(torch.float64)
    return found
