"""HiddenStates: N tokens before the lm_head, whose logits are made piece by piece and never all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from qtarget_inspect.core import checks
from qtarget_inspect.core.batch import LOGIT_CONTEXT, TOKEN_CONTEXT, TokenBatch
from qtarget_inspect.core.chunks import CHUNK_BYTES, CUDA_CHUNK_BYTES, row_chunks
from qtarget_inspect.core.errors import BatchError

Head: TypeAlias = Tensor | Callable[[Tensor], Tensor]
"""What makes logits of hidden states: a weight [V, d], or a callable [n, d] -> [n, V]."""


@dataclass(frozen=True, eq=False, repr=False)
class HiddenStates:
    """N tokens as hidden states and an lm_head: logits are made chunk by chunk, so [N, V] never exists.

        z_i = lm_head(h_i),    [n, V] for the n rows of a chunk

    A `TokenBatch` holds the logits of all tokens at once: 20 GB for 32,000 tokens of a vocabulary of 151,936. Where
    that is too much, hand these to `measure`.

    Args:
        hidden: [N, d] floating point, what the lm_head is applied to (after the last norm).
        lm_head: the weight [V, d], or a callable [n, d] -> [n, V]: an nn.Linear, with soft-capping or a temperature
            inside if the model has that. It is called without gradients, on a few rows at a time.
        labels: [N] integers in [0, V).
        reference_logits: (hidden, lm_head) of a reference model, or its logits [N, V].
        teacher_logits: the same of a teacher.
        old_logits: the same of the policy before the update.
        advantages: [N] signed advantages of policy-gradient losses.
        weights: [N] weights given from outside.
        critical: [N] bool, True for critical tokens (CFT).
        sequence_ids: [N] integers; equal ids belong to one sequence.
        tokens: N texts of the labels, for tables.
        vocabulary: V, as many logits as the lm_head returns.

    Raises:
        BatchError: a shape, type or value is wrong; the message names the argument, the shapes and the remedy. Values
            of logits are looked at when they are made.

    Examples:
        >>> import torch
        >>> states = HiddenStates(torch.eye(4), torch.zeros(6, 4), torch.tensor([0, 1, 2, 5]))
        >>> states, [len(batch) for batch in states.chunks(3)]
        (HiddenStates(N=4, d=4, V=6, float32), [3, 1])
    """

    hidden: Tensor
    lm_head: Head
    labels: Tensor
    _: KW_ONLY
    reference_logits: tuple[Tensor, Head] | Tensor | None = None
    teacher_logits: tuple[Tensor, Head] | Tensor | None = None
    old_logits: tuple[Tensor, Head] | Tensor | None = None
    advantages: Tensor | None = None
    weights: Tensor | None = None
    critical: Tensor | None = None
    sequence_ids: Tensor | None = None
    tokens: Sequence[str] | None = None
    vocabulary: int = field(init=False)

    def __post_init__(self) -> None:
        """Check every field and store it in its proper type."""
        _check_hidden("hidden", self.hidden)
        _check_head("lm_head", self.lm_head, self.hidden)
        object.__setattr__(self, "hidden", self.hidden.detach())
        first = _logits_of("lm_head", self.hidden[:1], self.lm_head)
        object.__setattr__(self, "vocabulary", first.shape[1])
        like = first.expand(len(self.hidden), -1)  # the shape, type and device of all logits, without their memory
        object.__setattr__(self, "labels", checks.check_labels(self.labels, like))
        for name in LOGIT_CONTEXT:
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _checked_context(name, given, like))
        for name in TOKEN_CONTEXT:
            if getattr(self, name) is not None:
                value = checks.check_token_context(name, getattr(self, name), like)
                object.__setattr__(self, name, value.detach())
        if self.tokens is not None:
            object.__setattr__(self, "tokens", checks.check_texts(self.tokens, len(self)))

    def __len__(self) -> int:
        """Number of tokens N."""
        return self.hidden.shape[0]

    def __repr__(self) -> str:
        """Sizes, type and which context is there."""
        held = [f"+{name}" for name in (*LOGIT_CONTEXT, *TOKEN_CONTEXT) if getattr(self, name) is not None]
        dtype = str(self.hidden.dtype).removeprefix("torch.")
        sizes = [f"N={len(self)}", f"d={self.hidden.shape[1]}", f"V={self.vocabulary}", dtype]
        return f"HiddenStates({', '.join([*sizes, *held])})"

    @property
    def default_rows(self) -> int:
        """Rows of one chunk by default: as many as 16 MiB of float32 logits hold, 1 GiB on a GPU."""
        budget = CUDA_CHUNK_BYTES if self.hidden.device.type == "cuda" else CHUNK_BYTES
        return max(1, min(len(self), budget // (4 * self.vocabulary)))

    def chunks(self, rows: int | None = None) -> Iterator[TokenBatch]:
        """The tokens as batches, one after the other; each is checked as it is made.

        Half precision is upcast here, once, after the lm_head.

        Args:
            rows: the most rows of a batch, at least 1; default `default_rows`.

        Yields:
            Batches of consecutive tokens.

        Raises:
            BatchError: `rows` is no such number, or logits are NaN or infinite.
        """
        size = self.default_rows if rows is None else checks.check_whole("rows", rows, 1)
        for part in row_chunks(len(self), size):
            yield self._batch(part)

    def _batch(self, part: slice) -> TokenBatch:
        """Some tokens with their logits."""
        fields: dict[str, Any] = {}
        for name in LOGIT_CONTEXT:
            given = getattr(self, name)
            if isinstance(given, tuple):
                fields[name] = _upcast(_logits_of(name, given[0][part], given[1]))
            elif given is not None:
                fields[name] = given[part]
        fields |= {name: getattr(self, name)[part] for name in TOKEN_CONTEXT if getattr(self, name) is not None}
        if self.tokens is not None:
            fields["tokens"] = self.tokens[part]
        return TokenBatch(_upcast(_logits_of("lm_head", self.hidden[part], self.lm_head)), self.labels[part], **fields)


def _logits_of(name: str, hidden: Tensor, head: Head) -> Tensor:
    """[n, V] logits of some rows."""
    with torch.no_grad():
        if isinstance(head, Tensor):
            return hidden @ head.detach().T
        logits = head(hidden)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != hidden.shape[0]:
        given = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise BatchError(
            f"{name}: the lm_head must turn hidden states [n, d] = {list(hidden.shape)} into logits [n, V], but "
            f"returned {given}. Pass the output layer alone, e.g. model.lm_head."
        )
    return logits.detach()


def _upcast(logits: Tensor) -> Tensor:
    return logits.float() if logits.is_floating_point() and logits.dtype.itemsize < 4 else logits


def _checked_context(name: str, given: Any, like: Tensor) -> tuple[Tensor, Head] | Tensor:
    """Another model's hidden states and head, or its logits."""
    if isinstance(given, Tensor):
        checks.check_logit_context(name, given, like)
        return given.detach()
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise BatchError(
            f"{name} must be a pair (hidden, lm_head) or logits {list(like.shape)}, not {type(given).__name__}. Pass "
            f"e.g. {name}=(hidden_states, model.lm_head)."
        )
    hidden, head = given
    _check_hidden(f"{name}[0]", hidden)
    _check_head(f"{name}[1]", head, hidden)
    if len(hidden) != len(like):
        raise BatchError(
            f"{name} has hidden states of {len(hidden)} tokens, hidden of {len(like)}: both need one row a token."
        )
    first = _logits_of(name, hidden[:1].detach(), head)
    checks.check_logit_context(name, first, like[:1])
    return hidden.detach(), head


def _check_hidden(name: str, hidden: Any) -> None:
    checks.check_tensor(name, "[N, d]", hidden)
    if hidden.ndim != 2 or 0 in hidden.shape or not hidden.is_floating_point():
        remedy = f"Pass e.g. {name}.flatten(0, 1)." if hidden.ndim == 3 else "Pass the hidden states of the tokens."
        raise BatchError(
            f"{name} must be floating point of shape [N, d], but has dtype {str(hidden.dtype).removeprefix('torch.')} "
            f"and shape {list(hidden.shape)}. {remedy}"
        )
    if not checks.has_finite_sum(hidden.detach()):
        bad = ~torch.isfinite(hidden.detach()).all(-1)
        if bool(bad.any()):
            raise BatchError(f"{name} is not finite at {checks.describe_tokens(bad)}. Drop these tokens.")


def _check_head(name: str, head: Any, hidden: Tensor) -> None:
    if isinstance(head, Tensor):
        if head.ndim != 2 or head.shape[1] != hidden.shape[1]:
            turned = head.ndim == 2 and head.shape[0] == hidden.shape[1]
            remedy = f"Pass {name}.T." if turned else "Pass the weight of the output layer, e.g. model.lm_head.weight."
            raise BatchError(
                f"{name} must be a weight [V, d] with d = {hidden.shape[1]}, as hidden {list(hidden.shape)}, but has "
                f"shape {list(head.shape)}. {remedy}"
            )
        if head.dtype != hidden.dtype or head.device != hidden.device:
            raise BatchError(
                f"{name} is {head.dtype} on {head.device}, hidden states are {hidden.dtype} on {hidden.device}: bring "
                "them together, e.g. hidden.to(lm_head.dtype)."
            )
    elif not callable(head):
        raise BatchError(
            f"{name} must be a weight [V, d] or a callable [n, d] -> [n, V], not {type(head).__name__}. Pass e.g. "
            "model.lm_head."
        )
