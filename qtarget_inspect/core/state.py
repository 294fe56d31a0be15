"""State: log p, p_y, 1 - p_y and entropies of a batch, computed once; weights and attractors are functions of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core import numerics, row_statistics
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import row_chunks, rows_per_chunk
from qtarget_inspect.core.errors import MissingContextError
from qtarget_inspect.core.fast_paths import fast_paths_enabled

MODEL = "logits"
"""The name under which the student's own logits are asked for."""


class State:
    """The model's state on a batch, read in log-space.

    Everything of shape [N] is computed in row chunks on first use and kept, so that a weight that needs a whole
    sequence is known before rows are cut. What has shape [N, V] (`log_p`, `p`, `log_probs`) is meant for the chunks
    that `rows` gives.

    Args:
        batch: the tokens.
        dtype: the floating type to compute in; default the logits' own, float32 for half precision.
        fast: whether quantities share one softmax; default what `fast_paths` says. Inside torch.func.vmap, which cannot
            look at values, pass False.
    """

    def __init__(self, batch: TokenBatch, dtype: torch.dtype | None = None, fast: bool | None = None) -> None:
        self.batch = batch
        self.dtype = dtype or compute_dtype(batch.logits.dtype)
        self.fast = fast_paths_enabled() if fast is None else fast
        self._per_token: dict[Any, Tensor] = {}
        self._probabilities: dict[str, Tensor] = {}

    def rows(self, index: slice | Tensor) -> State:
        """The state of some of the rows."""
        return State(self.batch.select(index), self.dtype, self.fast)

    @property
    def labels(self) -> Tensor:
        """[N] labels."""
        return self.batch.labels

    def context(self, name: str) -> Tensor:
        """A context tensor of the batch, in the compute type.

        Args:
            name: a field of `TokenBatch`, or "logits".

        Returns:
            The tensor, [N, V] or [N].

        Raises:
            MissingContextError: the batch does not hold it.
        """
        value = getattr(self.batch, name)
        if value is None:
            raise MissingContextError(
                f"{name} is needed here, and the batch has none. Pass TokenBatch(..., {name}=...)."
            )
        return value.to(self.dtype) if value.is_floating_point() else value

    @cached_property
    def log_p(self) -> Tensor:
        """[N, V] log-probabilities of the model, nats."""
        return self.context(MODEL).log_softmax(-1)

    @property
    def p(self) -> Tensor:
        """[N, V] probabilities of the model."""
        return self.probabilities(MODEL)

    def probabilities(self, name: str) -> Tensor:
        """[N, V] probabilities of the model or of a context model, computed once; not to be changed.

        Args:
            name: "logits", "reference_logits", "teacher_logits" or "old_logits".

        Returns:
            [N, V] probabilities.
        """
        if name not in self._probabilities:
            self._probabilities[name] = self.context(name).softmax(-1)
        return self._probabilities[name]

    def lend(self, probabilities: Tensor) -> None:
        """Use probabilities of the model that lie somewhere already.

        Args:
            probabilities: [N, V] softmax of the logits, in the compute type; must not change before `take_back`.
        """
        self._probabilities[MODEL] = probabilities

    def take_back(self) -> None:
        """Forget the model's probabilities: they are computed again where they are asked for."""
        self._probabilities.pop(MODEL, None)

    def log_probs(self, name: str) -> Tensor:
        """[N, V] log-probabilities of the model or of a context model.

        Args:
            name: "logits", "reference_logits", "teacher_logits" or "old_logits".

        Returns:
            [N, V] log-probabilities, nats.
        """
        return self.log_p if name == MODEL else self.context(name).log_softmax(-1)

    @cached_property
    def p_label(self) -> Tensor:
        """[N] p_y."""
        if MODEL in self._probabilities and self.fast:
            return self.p.gather(-1, self.labels.unsqueeze(-1)).squeeze(-1)
        return self.log_p_label.exp()

    @cached_property
    def log_p_label(self) -> Tensor:
        """[N] log p_y, nats."""
        return self.log_prob_of_label(MODEL)

    @cached_property
    def one_minus_p_label(self) -> Tensor:
        """[N] 1 - p_y, exact where p_y rounds to 1."""

        def compute(rows: State) -> Tensor:
            if rows.fast:
                return row_statistics.one_minus_label_prob(rows.context(MODEL), rows.p, rows.labels)
            return numerics.log_one_minus_label_prob(rows.context(MODEL), rows.labels).exp()

        return self.per_token("one_minus_p_label", compute)

    @cached_property
    def entropy(self) -> Tensor:
        """[N] entropy of p, nats."""

        def compute(rows: State) -> Tensor:
            if rows.fast:
                return row_statistics.entropy(rows.context(MODEL), rows.p)
            return numerics.entropy(rows.log_p)

        return self.per_token("entropy", compute)

    def top_k_entropy(self, top_k: int) -> Tensor:
        """[N] entropy of the renormalised top k of p, nats; k is cut to V."""
        return self.per_token(("top_k_entropy", top_k), lambda rows: numerics.top_k_entropy(rows.context(MODEL), top_k))

    def log_prob_of_label(self, name: str) -> Tensor:
        """[N] log-probability of the label under the model or a context model, nats."""

        def compute(rows: State) -> Tensor:
            if rows.fast:
                return row_statistics.label_log_prob(rows.context(name), rows.probabilities(name), rows.labels)
            return numerics.label_log_prob_from_logits(rows.context(name), rows.labels)

        return self.per_token(("log_prob_of_label", name), compute)

    def per_token(self, key: Any, compute: Callable[[State], Tensor]) -> Tensor:
        """A [N] quantity, computed chunk by chunk once and then remembered.

        Args:
            key: its name.
            compute: a function of the state of some rows to [n] values.

        Returns:
            [N] values.
        """
        if key not in self._per_token:
            rows = len(self.batch)
            size = rows_per_chunk(self.batch.vocabulary, self.dtype, self.batch.logits.device)
            if size >= rows or self._probabilities:  # p of all rows is at hand
                self._per_token[key] = compute(self)
            else:
                self._per_token[key] = torch.cat([compute(self.rows(chunk)) for chunk in row_chunks(rows, size)])
        return self._per_token[key]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type to compute in for logits of a type: half precision goes to float32.

    bfloat16 logits leave errors of 2e-3 in Q, negative entries among them.

    Args:
        dtype: the logits' type.

    Returns:
        float32 for half precision, else `dtype`.
    """
    return torch.float32 if dtype.itemsize < 4 else dtype


def sequence_mean(values: Tensor, sequence_ids: Tensor) -> Tensor:
    """Each token's value replaced by the mean over its sequence.

    Args:
        values: [N] values.
        sequence_ids: [N] integers.

    Returns:
        [N] means.

    Examples:
        >>> sequence_mean(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([7, 7, 2]))
        tensor([2., 2., 5.])
    """
    _, index, counts = torch.unique(sequence_ids, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=values.dtype, device=values.device).index_add(0, index, values)
    return (sums / counts)[index]
