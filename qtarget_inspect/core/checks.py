"""Checks of a batch's tensors: cheap on good input, exact about what is wrong with bad input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.core.errors import BatchError


def check_logits(name: str, logits: Any) -> None:
    """Check that `logits` is a floating [N, V] tensor without NaN, +inf, or rows that are -inf throughout.

    One sum finds every NaN and infinity; only where it is not finite are the entries looked at one by one.

    Args:
        name: the argument's name, for the message.
        logits: what the user passed.

    Raises:
        BatchError: it is something else; the message says where.
    """
    if not isinstance(logits, Tensor):
        raise BatchError(f"{name} must be a torch.Tensor of shape [N, V], not {type(logits).__name__}.")
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
    total = logits.detach().sum(dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32)
    if not torch.isfinite(total):
        _check_entries(name, logits.detach())


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
    if not isinstance(labels, Tensor):
        raise BatchError(f"labels must be a torch.Tensor of shape [N], not {type(labels).__name__}.")
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
    if not isinstance(context, Tensor):
        raise BatchError(f"{name} must be a torch.Tensor of shape [N], not {type(context).__name__}.")
    if context.shape != logits.shape[:1]:
        raise BatchError(f"{name} must have shape [{logits.shape[0]}] (one value a token), but has {_shape(context)}.")
    _check_device(name, context, logits)
    if name == "sequence_ids":
        if context.is_floating_point() or context.dtype == torch.bool:
            raise BatchError(f"sequence_ids must be integers, but have dtype {_dtype(context)}.")
        return context.long()
    if name == "critical":
        if context.is_floating_point() and not ((context == 0) | (context == 1)).all():
            raise BatchError("critical must be a mask: bool, or 0 and 1. Soft weights belong in `weights`.")
        return context.bool()
    if not context.is_floating_point():
        context = context.to(logits.dtype)
    if not torch.isfinite(context).all():
        raise BatchError(f"{name} is not finite at {_rows(~torch.isfinite(context))}.")
    return context


def _check_device(name: str, tensor: Tensor, logits: Tensor) -> None:
    if tensor.device != logits.device:
        raise BatchError(f"{name} lies on {tensor.device}, logits on {logits.device}: move one of them.")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
