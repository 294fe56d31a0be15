"""TokenBatch: the logits and labels of N tokens, with whatever context a loss may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core import checks
from qtarget_inspect.core.errors import BatchError

LOGIT_CONTEXT = ("reference_logits", "teacher_logits", "old_logits")
"""Context of shape [N, V]: another model's logits for the same tokens."""

TOKEN_CONTEXT = ("advantages", "weights", "critical", "sequence_ids")
"""Context of shape [N]: one value a token."""

CONTEXT_NAMES = LOGIT_CONTEXT + TOKEN_CONTEXT


@dataclass(frozen=True, eq=False, repr=False)
class TokenBatch:
    """N tokens: logits that enter the softmax, labels, and optional context.

    Row i holds the logits z_i [V] from which token y_i is predicted. Everything else is context that a loss may ask for
    by parameter name. Inputs are checked once, here, and never changed. They are not copied either: the batch shares
    memory with the tensors it is made from, so changing the logits in place afterwards changes what lazy results
    (`.p`, `.g`, a decomposition's residual) read. Pass `logits.clone()` if you go on to change them.

    Args:
        logits: [N, V] floating point, finite or -inf (a masked vocabulary entry).
        labels: [N] integers in [0, V).
        reference_logits: [N, V] logits of a reference model.
        teacher_logits: [N, V] logits of a teacher.
        old_logits: [N, V] logits of the policy before the update.
        advantages: [N] signed advantages of policy-gradient losses.
        weights: [N] weights given from outside.
        critical: [N] bool, True for critical tokens (CFT).
        sequence_ids: [N] integers; equal ids belong to one sequence.
        tokens: N texts of the labels, for tables and pictures.
        positions: [N, 2] where each token stood, (sequence, position); set by `from_causal_lm`.
        grid: (B, T) of the causal batch the tokens came from; set by `from_causal_lm`.

    Raises:
        BatchError: a shape, type or value is wrong; the message names the argument, the shapes and the remedy.

    Examples:
        >>> import torch
        >>> batch = TokenBatch(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0]))
        >>> batch
        TokenBatch(N=1, V=3, float32)
        >>> len(batch), batch.vocabulary
        (1, 3)
    """

    logits: Tensor
    labels: Tensor
    _: KW_ONLY
    reference_logits: Tensor | None = None
    teacher_logits: Tensor | None = None
    old_logits: Tensor | None = None
    advantages: Tensor | None = None
    weights: Tensor | None = None
    critical: Tensor | None = None
    sequence_ids: Tensor | None = None
    tokens: Sequence[str] | None = None
    positions: Tensor | None = None
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check every field and store it in its proper type."""
        checks.check_logits("logits", self.logits)
        object.__setattr__(self, "labels", checks.check_labels(self.labels, self.logits))
        for name in LOGIT_CONTEXT:
            if getattr(self, name) is not None:
                checks.check_logit_context(name, getattr(self, name), self.logits)
                object.__setattr__(self, name, getattr(self, name).detach())
        for name in TOKEN_CONTEXT:
            if getattr(self, name) is not None:
                object.__setattr__(
                    self, name, checks.check_token_context(name, getattr(self, name), self.logits).detach()
                )
        object.__setattr__(self, "logits", self.logits.detach())
        if self.tokens is not None:
            object.__setattr__(self, "tokens", checks.check_texts(self.tokens, len(self)))
        positions, grid = checks.check_places(self.positions, self.grid, self.logits)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "grid", grid)

    @classmethod
    def from_causal_lm(
        cls,
        logits: Tensor,
        labels: Tensor,
        shift: bool = True,
        ignore_index: int = -100,
        **context: Any,
    ) -> TokenBatch:
        """Flatten a causal language model's batch to its valid tokens.

        With `shift`, the logits at position t predict the label at t + 1 (the convention of HF models, whose labels are
        the input ids); without, logits and labels are aligned already.

        Args:
            logits: [B, T, V] logits.
            labels: [B, T] labels; `ignore_index` marks positions without one.
            shift: whether logits and labels are one position apart.
            ignore_index: the label of positions to drop.
            **context: `TokenBatch` fields: [B, T, V] logits of other models, [B, T] values aligned with `labels`, [B]
                values a sequence, or `tokens` as B lists of T texts. `sequence_ids` default to the row in the batch.

        Returns:
            The batch of valid tokens; `positions` holds (row, position of the label), `grid` is (B, T).

        Raises:
            BatchError: shapes do not fit, a context is unknown, or no valid token is left.

        Examples:
            >>> import torch
            >>> batch = TokenBatch.from_causal_lm(torch.zeros(1, 4, 5), torch.tensor([[-100, 3, 1, -100]]))
            >>> batch.labels.tolist(), batch.positions.tolist()
            ([3, 1], [[0, 1], [0, 2]])
        """
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise BatchError(f"from_causal_lm: logits must have shape [B, T, V], but have {_shape_of(logits)}.")
        if not isinstance(labels, Tensor) or labels.shape != logits.shape[:2]:
            raise BatchError(
                f"from_causal_lm: labels must have shape {list(logits.shape[:2])} to match logits "
                f"{list(logits.shape)}, but have {_shape_of(labels)}."
            )
        if labels.numel() == 0:
            raise BatchError(f"from_causal_lm: logits have shape {list(logits.shape)}: there is no token to analyse.")
        if labels.device != logits.device:
            raise BatchError(
                f"from_causal_lm: labels lie on {labels.device}, logits on {logits.device}: move one, e.g. "
                "labels.to(logits.device)."
            )
        unknown = sorted(set(context) - set(CONTEXT_NAMES) - {"tokens"})
        if unknown:
            raise BatchError(
                f"from_causal_lm: unknown context {', '.join(unknown)}; known are "
                f"{', '.join(CONTEXT_NAMES)} and tokens."
            )
        valid = labels != ignore_index  # [B, T], where a label stands
        if shift:
            valid = valid.clone()
            valid[:, 0] = False  # nothing predicts the first token
        row, position = valid.nonzero(as_tuple=True)
        if row.numel() == 0:
            raise BatchError(
                f"from_causal_lm: all {labels.numel()} labels are masked (ignore_index = {ignore_index}"
                + (", the first position is never predicted)" if shift else ")")
                + ": there is no token to analyse."
            )
        source = position - 1 if shift else position
        picked: dict[str, Any] = {"sequence_ids": row}
        for name, value in context.items():
            if value is not None:
                picked[name] = _pick(name, value, labels.shape, row, position, source)
        return cls(
            logits[row, source],
            labels[row, position],
            **picked,
            positions=torch.stack([row, position], -1),
            grid=(labels.shape[0], labels.shape[1]),
        )

    def __len__(self) -> int:
        """Number of tokens N."""
        return self.logits.shape[0]

    def __repr__(self) -> str:
        """Sizes, type and which context is there."""
        held = [f"+{name}" for name in self.context]
        dtype = str(self.logits.dtype).removeprefix("torch.")
        return f"TokenBatch({', '.join([f'N={len(self)}', f'V={self.vocabulary}', dtype, *held])})"

    @property
    def vocabulary(self) -> int:
        """Vocabulary size V."""
        return self.logits.shape[1]

    @property
    def context(self) -> dict[str, Tensor]:
        """The context that the batch holds, by name."""
        return {name: getattr(self, name) for name in CONTEXT_NAMES if getattr(self, name) is not None}

    def select(self, index: int | slice | Tensor) -> TokenBatch:
        """The batch of some of the tokens; a slice gives views, and values are not checked again.

        Args:
            index: a slice, a tensor of row numbers or booleans, or an integer for a batch of that one row.

        Returns:
            The smaller batch, without `grid`.

        Raises:
            BatchError: `index` is something else, or names a row that does not exist.

        Examples:
            >>> import torch
            >>> batch = TokenBatch(torch.zeros(3, 4), torch.tensor([0, 1, 2]))
            >>> batch.select(-1).labels, len(batch.select(slice(0, 2)))
            (tensor([2]), 2)
        """
        index = checks.check_index(index, len(self))
        if isinstance(index, Tensor):
            index = index.to(self.logits.device)
        fields: dict[str, Any] = {"logits": self.logits[index], "labels": self.labels[index]}
        fields |= {name: value[index] for name, value in self.context.items()}
        if self.positions is not None:
            fields["positions"] = self.positions[index]
        if self.tokens is not None:
            if isinstance(index, slice):
                fields["tokens"] = self.tokens[index]
            else:
                rows = torch.arange(len(self), device=index.device)[index].tolist()
                fields["tokens"] = tuple(self.tokens[row] for row in rows)
        return self.unchecked(fields)

    def with_logits(self, logits: Tensor, **context: Tensor) -> TokenBatch:
        """The same tokens with other logits, and other context where given; checked.

        Args:
            logits: [N, V] new logits.
            **context: fields to replace.

        Returns:
            The new batch.
        """
        fields = {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}
        return type(self)(**{**fields, "logits": logits, **context})

    def to(self, target: torch.dtype | torch.device | str) -> TokenBatch:
        """The batch in another floating type or on another device.

        Args:
            target: a floating dtype (applied to floating tensors only) or a device.

        Returns:
            The converted batch.

        Raises:
            BatchError: the type is no floating type, or `target` is neither a type nor a device.
        """
        if isinstance(target, torch.dtype):
            if not target.is_floating_point:
                raise BatchError(
                    f"to: logits must stay floating point, so a batch cannot be {_name_of(target)}. Pass a floating "
                    "type, e.g. batch.to(torch.float64)."
                )
        elif not isinstance(target, (str, torch.device)):
            raise BatchError(f"to takes a floating dtype or a device, e.g. torch.float64 or 'cuda', not {target!r}.")
        else:
            try:
                target = torch.device(target)
            except RuntimeError as error:
                raise BatchError(f"to: {target!r} is no device; pass e.g. 'cpu' or 'cuda'.") from error
        fields: dict[str, Any] = {"tokens": self.tokens, "grid": self.grid}
        for name, value in {"logits": self.logits, "labels": self.labels, **self.context}.items():
            keep = isinstance(target, torch.dtype) and not value.is_floating_point()
            fields[name] = value if keep else value.to(target)
        if self.positions is not None:
            fields["positions"] = self.positions if isinstance(target, torch.dtype) else self.positions.to(target)
        return self.unchecked(fields)

    def to_grid(self, values: Tensor, fill: float = float("nan")) -> Tensor:
        """Put [N, ...] values back where the tokens stood.

        Args:
            values: [N, ...] one row a token.
            fill: what to put at masked positions.

        Returns:
            [B, T, ...] values.

        Raises:
            BatchError: the batch was not made by `from_causal_lm`, `values` has not N rows, or its type cannot hold
                `fill`.
        """
        if self.grid is None or self.positions is None:
            raise BatchError("to_grid: this batch does not know where its tokens stood; make it with from_causal_lm.")
        checks.check_tensor("values", "[N, ...]", values)
        if values.shape[:1] != (len(self),):
            raise BatchError(
                f"to_grid: values must have shape [{len(self)}, ...], one row a token, but have {_shape_of(values)}."
            )
        if fill != fill and not (values.is_floating_point() or values.is_complex()):  # NaN
            raise BatchError(
                f"to_grid: values of dtype {_name_of(values.dtype)} cannot hold fill = nan. Pass another fill, e.g. "
                "fill=-100, or values.double()."
            )
        out = values.new_full((*self.grid, *values.shape[1:]), fill)
        row, position = self.positions.to(values.device).unbind(-1)
        out[row, position] = values
        return out

    @classmethod
    def concatenate(cls, batches: Iterable[TokenBatch]) -> TokenBatch:
        """One batch from several; sequences of different batches stay apart.

        Context is kept where every batch holds it. A batch without `sequence_ids` counts as one sequence.

        Args:
            batches: at least one batch, all of one vocabulary.

        Returns:
            The joined batch.

        Raises:
            BatchError: there is none, or vocabularies or devices differ.
        """
        parts = list(batches) if isinstance(batches, Iterable) else [batches]
        if not parts:
            raise BatchError("concatenate: no batch was given.")
        for part in parts:
            if not isinstance(part, TokenBatch):
                raise BatchError(f"concatenate takes a list of TokenBatch, not {type(part).__name__}.")
        devices = sorted({str(part.logits.device) for part in parts})
        if len(devices) > 1:
            raise BatchError(f"concatenate: batches lie on {', '.join(devices)}: move them, e.g. batch.to('cpu').")
        sizes = sorted({part.vocabulary for part in parts})
        if len(sizes) > 1:
            raise BatchError(f"concatenate: vocabularies differ ({', '.join(map(str, sizes))}).")
        fields: dict[str, Any] = {}
        for name in ("logits", "labels", *CONTEXT_NAMES[:-1]):
            values = [getattr(part, name) for part in parts]
            if all(value is not None for value in values):
                fields[name] = torch.cat(values)
        ids, first_free = [], 0
        for part in parts:
            own = part.sequence_ids if part.sequence_ids is not None else torch.zeros_like(part.labels)
            ids.append(torch.unique(own, return_inverse=True)[1] + first_free)
            first_free = int(ids[-1].max()) + 1
        fields["sequence_ids"] = torch.cat(ids)
        if all(part.tokens is not None for part in parts):
            fields["tokens"] = tuple(token for part in parts for token in part.tokens or ())
        return cls.unchecked(fields)

    @classmethod
    def unchecked(cls, fields: Mapping[str, Any]) -> TokenBatch:
        """A batch from fields that were checked before, without checking them again."""
        batch = object.__new__(cls)
        batch.__dict__.update(_NOTHING, **fields)
        return batch


_NOTHING = dict.fromkeys(name for name in TokenBatch.__dataclass_fields__ if name != "_")


def _pick(name: str, value: Any, grid: torch.Size, row: Tensor, position: Tensor, source: Tensor) -> Any:
    """The valid tokens' share of one context, from whichever of its shapes it came in."""
    if name == "tokens":
        lists = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Tensor)) else []
        if len(lists) != grid[0] or not all(isinstance(own, (list, tuple)) and len(own) == grid[1] for own in lists):
            raise BatchError(
                f"from_causal_lm: tokens must be {grid[0]} lists of {grid[1]} texts, one a label, as labels have shape "
                f"{list(grid)}. Pass e.g. [tokenizer.convert_ids_to_tokens(ids) for ids in input_ids.tolist()]."
            )
        return [lists[b][t] for b, t in zip(row.tolist(), position.tolist(), strict=True)]
    checks.check_tensor(name, "[B, T, V]" if name in LOGIT_CONTEXT else "[B, T] or [B]", value)
    if value.device != row.device:
        raise BatchError(f"from_causal_lm: {name} lies on {value.device}, logits on {row.device}: move one of them.")
    if name in LOGIT_CONTEXT:
        if value.ndim != 3 or value.shape[:2] != grid:
            raise BatchError(
                f"from_causal_lm: {name} must have shape [{grid[0]}, {grid[1]}, V], but has {list(value.shape)}."
            )
        return value[row, source]
    if value.shape == grid:
        return value[row, position]
    if value.shape == grid[:1]:
        return value[row]
    raise BatchError(
        f"from_causal_lm: {name} must have shape {list(grid)} (a value a token) or {list(grid[:1])} "
        f"(a value a sequence), but has {list(value.shape)}."
    )


def _shape_of(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
