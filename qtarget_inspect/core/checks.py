"""Checks of a batch's tensors: cheap on good input, exact about what is wrong with bad input."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.errors import BatchError, QTargetError


def check_logits(name: str, logits: Any) -> None:
    """Check that `logits` is a floating [N, V] tensor without NaN, +inf, or rows that are -inf throughout.

    One sum finds every NaN and infinity; only where it is not finite are the entries looked at one by one.

    Args:
        name: the argument's name, for the message.
        logits: what the user passed.

    Raises:
        BatchError: it is something else; the message says where.
    """
    check_tensor(name, "[N, V]", logits)
    if not logits.is_floating_point():
        raise BatchError(
            f"{name} must be floating point, but has dtype {_dtype(logits)}. Pass the logits themselves, "
            f"e.g. {name}.float()."
        )
    if logits.ndim != 2:
        remedy = (
            "use TokenBatch.from_causal_lm for [B, T, V] logits"
            if logits.ndim == 3
            else "add the missing axis, e.g. logits[None]"
        )
        raise BatchError(f"{name} must have shape [N, V], but has {_shape(logits)}; {remedy}.")
    if logits.shape[0] == 0 or logits.shape[1] == 0:
        raise BatchError(f"{name} has shape {_shape(logits)}: an empty batch has no induced target.")
    if logits.device.type == "meta":
        raise BatchError(f"{name} lies on the meta device and holds no numbers.")
    if not has_finite_sum(logits.detach()):
        _check_entries(name, logits.detach())


def has_finite_sum(values: Tensor) -> bool:
    """Whether all entries sum up to a finite number: then none is NaN or infinite. One read, and no copy.

    Args:
        values: floating-point numbers of any shape.

    Returns:
        False where an entry is not finite, or the sum overflows.
    """
    # a sum of another type than the values' own would copy them; bfloat16 has the range of float32, float16 has not
    total = values.amax() - values.amin() if values.dtype == torch.float16 else values.sum()
    return bool(torch.isfinite(total))


def _check_entries(name: str, logits: Tensor) -> None:
    """Tell the harmless (-inf in some columns) from the rest, entry by entry."""
    nan_rows = torch.isnan(logits).any(-1)
    if nan_rows.any():
        raise BatchError(f"{name} holds NaN at {_rows(nan_rows)}. Drop these tokens or mend the model that made them.")
    infinite_rows = torch.isposinf(logits).any(-1)
    if infinite_rows.any():
        raise BatchError(
            f"{name} holds +inf at {_rows(infinite_rows)}: softmax is undefined there. "
            "Clip the logits before you pass them."
        )
    empty_rows = torch.isneginf(logits).all(-1)
    if empty_rows.any():
        raise BatchError(f"{name} is -inf throughout at {_rows(empty_rows)}: no token is possible there.")


def check_labels(labels: Any, logits: Tensor) -> Tensor:
    """Check that `labels` are N integers in [0, V); returns them as int64.

    Args:
        labels: what the user passed.
        logits: [N, V] the checked logits.

    Returns:
        [N] int64 labels.

    Raises:
        BatchError: they are something else.
    """
    check_tensor("labels", "[N]", labels)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise BatchError(
            f"labels must be integers, but have dtype {_dtype(labels)}. Pass token ids, e.g. labels.long(); "
            "soft labels belong in teacher_logits."
        )
    if labels.shape != logits.shape[:1]:
        raise BatchError(
            f"labels must have shape [{logits.shape[0]}] to match logits {_shape(logits)}, but have {_shape(labels)}."
        )
    if labels.device != logits.device:
        raise BatchError(
            f"labels lie on {labels.device}, logits on {logits.device}: move one, e.g. labels.to(logits.device)."
        )
    vocabulary = logits.shape[1]
    if labels.min() < 0 or labels.max() >= vocabulary:
        outside = (labels < 0) | (labels >= vocabulary)
        example = int(labels[outside][0])
        remedy = (
            "TokenBatch.from_causal_lm drops ignored positions, or index the valid tokens yourself"
            if example == -100
            else "are these labels of another tokenizer?"
        )
        raise BatchError(
            f"labels must lie in [0, {vocabulary}), but {_rows(outside)} do not (the first is {example}); {remedy}."
        )
    return labels.long()


def check_logit_context(name: str, context: Any, logits: Tensor) -> None:
    """Check another model's logits against the student's.

    Args:
        name: the context's name, e.g. "teacher_logits".
        context: what the user passed.
        logits: [N, V] the student's logits.

    Raises:
        BatchError: shape, vocabulary, device or values do not fit.
    """
    check_logits(name, context)
    if context.shape[0] != logits.shape[0]:
        raise BatchError(
            f"{name} has {context.shape[0]} rows, logits have {logits.shape[0]}: both need one row a token "
            f"({_shape(context)} against {_shape(logits)})."
        )
    if context.shape[1] != logits.shape[1]:
        smaller = min(context.shape[1], logits.shape[1])
        raise BatchError(
            f"vocabulary mismatch: {name} has V = {context.shape[1]}, logits have V = {logits.shape[1]}. "
            f"If the first {smaller} tokens are the same in both (padding of the embedding), cut the wider one, "
            f"e.g. {name}[:, :{smaller}]; its softmax then is the renormalised distribution. "
            "Otherwise the two models do not share a tokenizer."
        )
    _check_device(name, context, logits)


def check_token_context(name: str, context: Any, logits: Tensor) -> Tensor:
    """Check one value a token; returns it as bool (critical), int64 (sequence_ids) or floating point.

    Args:
        name: the context's name, e.g. "advantages".
        context: what the user passed.
        logits: [N, V] the student's logits.

    Returns:
        [N] the context in its proper type.

    Raises:
        BatchError: it is not N finite numbers of that type.
    """
    check_tensor(name, "[N]", context)
    if context.shape != logits.shape[:1]:
        raise BatchError(f"{name} must have shape [{logits.shape[0]}] (one value a token), but has {_shape(context)}.")
    _check_device(name, context, logits)
    if context.is_complex():
        raise BatchError(f"{name} must be real, but has dtype {_dtype(context)}. Pass e.g. {name}.real.")
    if name == "sequence_ids":
        if context.is_floating_point() or context.dtype == torch.bool:
            raise BatchError(
                f"sequence_ids must be integers, but have dtype {_dtype(context)}. Pass e.g. sequence_ids.long()."
            )
        return context.long()
    if name == "critical":
        if context.dtype != torch.bool and not ((context == 0) | (context == 1)).all():
            raise BatchError("critical must be a mask: bool, or 0 and 1. Soft weights belong in `weights`.")
        return context.bool()
    if not context.is_floating_point():
        context = context.to(logits.dtype)
    if not torch.isfinite(context).all():
        raise BatchError(f"{name} is not finite at {_rows(~torch.isfinite(context))}.")
    return context


def check_texts(tokens: Any, rows: int) -> tuple[str, ...]:
    """Check that `tokens` are N texts.

    Args:
        tokens: what the user passed.
        rows: N.

    Returns:
        The texts.

    Raises:
        BatchError: they are something else, or not N.
    """
    remedy = "Pass e.g. [tokenizer.decode([label]) for label in labels.tolist()]."
    if isinstance(tokens, (str, bytes, Tensor)) or not hasattr(tokens, "__len__") or not hasattr(tokens, "__iter__"):
        raise BatchError(f"tokens must be {rows} texts, one a label, not {_named(tokens)}. {remedy}")
    if len(tokens) != rows:
        raise BatchError(f"tokens must be {rows} texts, one a label, but {len(tokens)} were given. {remedy}")
    return tuple(str(token) for token in tokens)


def check_places(positions: Any, grid: Any, logits: Tensor) -> tuple[Tensor | None, tuple[int, int] | None]:
    """Check where the tokens stood: N (sequence, position) pairs, within a grid of B rows and T columns if it is known.

    Args:
        positions: what the user passed as `positions`, or None.
        grid: what the user passed as `grid`, or None.
        logits: [N, V] the student's logits.

    Returns:
        [N, 2] int64 positions and (B, T), None where they were not given.

    Raises:
        BatchError: they are something else, or lie outside the grid.
    """
    if grid is not None:
        sizes = tuple(grid) if isinstance(grid, (tuple, list)) else ()
        if len(sizes) != 2 or not all(is_whole(size) and size > 0 for size in sizes):
            raise BatchError(f"grid must be (B, T), two positive integers, not {grid!r}.")
        grid = (operator.index(sizes[0]), operator.index(sizes[1]))
    if positions is None:
        return None, grid
    check_tensor("positions", "[N, 2]", positions)
    rows = logits.shape[0]
    if positions.shape != (rows, 2):
        raise BatchError(
            f"positions must have shape [{rows}, 2] ((sequence, position) of each of the {rows} tokens in logits "
            f"{_shape(logits)}), but have {_shape(positions)}. Leave them out, or use TokenBatch.from_causal_lm, "
            "which sets them."
        )
    if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
        raise BatchError(f"positions must be integers, but have dtype {_dtype(positions)}. Pass e.g. positions.long().")
    _check_device("positions", positions, logits)
    if grid is not None:
        outside = ((positions < 0) | (positions >= positions.new_tensor(grid))).any(-1)
        if outside.any():
            raise BatchError(
                f"positions lie outside the grid {grid} at {_rows(outside)}: pass the grid they belong to."
            )
    return positions.detach().long(), grid


def check_index(index: Any, rows: int) -> slice | Tensor:
    """Check what picks rows out of N; an integer becomes a slice of one row.

    Args:
        index: what the user passed.
        rows: N.

    Returns:
        A slice or a 1-d tensor of integers or booleans.

    Raises:
        BatchError: it is something else, or a row does not exist.
    """
    if isinstance(index, slice):
        if index.step is not None and index.step < 1:
            raise BatchError(
                f"select: a slice needs a positive step, not {index.step}. For another order pass row numbers, "
                "e.g. torch.arange(len(batch)).flip(0)."
            )
        return index
    if isinstance(index, Tensor) and index.ndim == 0 and index.dtype != torch.bool and not index.is_floating_point():
        index = int(index)
    if is_whole(index):
        row = operator.index(index)
        if not -rows <= row < rows:
            raise BatchError(f"select: row {row} does not exist; the batch has rows 0 to {rows - 1}.")
        return slice(row % rows, row % rows + 1)
    if not isinstance(index, Tensor):
        raise BatchError(
            f"select takes an integer, a slice, or a tensor of row numbers or booleans, not {_named(index)}. "
            "Pass e.g. torch.tensor([0, 2])."
        )
    if index.dtype == torch.bool:
        if index.shape != (rows,):
            raise BatchError(f"select: a mask must have shape [{rows}] (one truth value a token), not {_shape(index)}.")
        return index
    if index.ndim != 1 or index.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8):
        raise BatchError(
            f"select: row numbers must be integers of shape [n], not {_dtype(index)} of shape {_shape(index)}. "
            "Pass e.g. index.long(), or index.bool() for a mask."
        )
    if index.numel() and (int(index.min()) < -rows or int(index.max()) >= rows):
        outside = index[(index < -rows) | (index >= rows)]
        raise BatchError(f"select: row {int(outside[0])} does not exist; the batch has rows 0 to {rows - 1}.")
    return index.long()


def check_whole(name: str, value: Any, least: int | None = None, why: str = "") -> int:
    """Check an argument that is an integer.

    Args:
        name: the argument's name, for the message.
        value: what the user passed.
        least: the smallest value allowed, or None.
        why: what a smaller value would mean, or what to pass.

    Returns:
        The integer.

    Raises:
        BatchError: it is no integer, or too small.
    """
    if not is_whole(value) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise BatchError(f"{name} must be an integer{bound}, not {value!r}{why and f': {why}'}.")
    return operator.index(value)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer: Python's or numpy's, no truth value and no tensor."""
    return hasattr(value, "__index__") and not isinstance(value, (bool, Tensor)) and getattr(value, "ndim", 0) == 0


def check_tensor(name: str, shape: str, value: Any) -> None:
    """Check that a value is a tensor, not a list or a numpy array.

    Args:
        name: the argument's name.
        shape: the shape that is wanted, for the message.
        value: what the user passed.

    Raises:
        BatchError: it is something else.
    """
    if not isinstance(value, Tensor):
        remedy = f"torch.as_tensor({name})" if hasattr(value, "__len__") else "torch.tensor([...])"
        raise BatchError(
            f"{name} must be a torch.Tensor of shape {shape}, not {type(value).__name__}. "
            f"Pass torch tensors, e.g. {remedy}."
        )


def _check_device(name: str, tensor: Tensor, logits: Tensor) -> None:
    if tensor.device != logits.device:
        raise BatchError(f"{name} lies on {tensor.device}, logits on {logits.device}: move one of them.")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _named(value: Any) -> str:
    text = repr(value) if not isinstance(value, Tensor) else f"of shape {_shape(value)}"
    return f"{type(value).__name__} ({text if len(text) <= 40 else text[:37] + '...'})"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def is_list(value: Any) -> bool:
    """Whether a value is a list or the like, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def check_names_differ(operation: str, names: Sequence[str]) -> None:
    """Refuse losses of one name where rows are told apart by name.

    Args:
        operation: who asks.
        names: the losses' names.

    Raises:
        QTargetError: two are the same.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QTargetError(
            f"{operation}: {sum(name in twice for name in names)} losses are named {', '.join(twice)}, and rows are "
            "told apart by name. Leave one out, or name a callable: qt.adapt(fn, name='my loss')."
        )


def describe_tokens(mask: Tensor, limit: int = 5) -> str:
    """Name the tokens where a mask is true: "token 3", "tokens 0, 4, 9 and 12 more".

    Args:
        mask: [N] bool.
        limit: how many to name.

    Returns:
        A phrase for messages.
    """
    where = mask.nonzero().flatten().tolist()
    named = ", ".join(map(str, where[:limit]))
    more = f" and {len(where) - limit} more" if len(where) > limit else ""
    return f"token{'s' if len(where) > 1 else ''} {named}{more}"


_rows = describe_tokens
