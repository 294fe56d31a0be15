"""Calling: lay tokens out as a loss wants them, bind its parameters by name, pick the loss from what it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import LossError

if TYPE_CHECKING:
    from qtarget_inspect.engine.adapter import TokenLoss

IGNORE_INDEX = -100
"""The label of positions without one, as torch's cross entropy and the HF losses have it."""

HIDDEN_MAX_VOCABULARY = 8192
"""Losses of hidden states are called with an identity lm_head [V, V]; beyond this V it would not fit."""

DEFAULT_PIECES = 2
"""Into how many pieces logits are cut for a loss that takes a list and does not say how many."""

LABEL_NAMES = ("labels", "label", "target", "targets", "y", "y_true", "shift_labels", "gold")
HF_NAMES = ("outputs", "output", "model_output", "model_outputs")
LOG_PROB_NAMES = ("log_probs", "logprobs", "log_prob", "logprob", "logps", "log_p", "lprobs")
_HIDDEN_NAMES = ("hidden", "hidden_states", "_input", "input", "x", "e", "embeddings", "h")
_HEAD_NAMES = (
    "weight",
    "lm_head",
    "lm_head_weight",
    "lin_weight",
    "linear_weight",
    "head",
    "w",
    "c",
    "output_projection",
)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ModelOutputs(dict):
    """What HF-style losses read their logits from: an attribute, a key, `.get`, or the first entry."""

    def __getattr__(self, name: str) -> Any:
        """Entries as attributes; an absent one is an AttributeError, so that `getattr(outputs, x, None)` works."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        """Entries by name, or by number or slice as in a tuple."""
        return tuple(self.values())[key] if isinstance(key, (int, slice)) else super().__getitem__(key)


def call(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> Tensor:
    """Call a loss on some tokens.

    Labels are always a copy, and so are logits and context where the loss writes into its arguments.

    Args:
        loss: the adapted loss; a layout of "auto" is taken as "flat".
        logits: [n, V] what is differentiated.
        batch: labels and context of the same tokens.

    Returns:
        What the loss returns, after `output`: [n], a scalar, or something that the engine will refuse.
    """
    context = {
        parameter: _context(getattr(batch, name), logits.dtype, loss.private)
        for parameter, name in loss.context.items()
        if getattr(batch, name) is not None
    }
    if loss.layout == "token":
        return _call_on_single_tokens(loss, logits, batch.labels, context)
    if loss.private:
        logits = logits * 1  # not the leaf, which refuses to be written to
    labels = batch.labels.clone()
    if loss.layout == "causal":  # [1, n + 1, V]: the last logits and the first label are fillers that every shift drops
        logits = torch.cat([logits, logits.new_zeros(1, logits.shape[1])]).unsqueeze(0)
        labels = torch.cat([labels.new_full((1,), IGNORE_INDEX), labels]).unsqueeze(0)
        context = {key: _causal(value, loss.context[key]) for key, value in context.items()}
    elif loss.layout == "batched":
        logits, labels = logits.unsqueeze(0), labels.unsqueeze(0)
        context = {key: value.unsqueeze(0) for key, value in context.items()}
    arguments, keywords = bind(loss, logits, labels, context)
    return _pick_output(loss, loss.function(*arguments, **keywords))


def bind(
    loss: TokenLoss, logits: Tensor, labels: Tensor, context: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of one call, positional where the signature has them in front.

    Args:
        loss: the adapted loss.
        logits: the logits, laid out.
        labels: the labels, laid out.
        context: parameter name -> value.

    Returns:
        Positional and keyword arguments.
    """
    parameters = parameters_of(loss.function)
    given: dict[str, Any] = {**context, **loss.fixed}
    if "num_items_in_batch" in parameters:
        given.setdefault("num_items_in_batch", 1)
    if "vocab_size" in parameters:
        given.setdefault("vocab_size", logits.shape[-1])
    main = _main_values(loss, logits, labels)
    roles = roles_of(loss.function, loss.inputs, loss.context)
    if None in roles.values():  # names are not to be had (a builtin, *args): by place
        return list(main.values()), given
    given |= {name: main[role] for role, name in roles.items() if name is not None and role in main}
    arguments = []
    for name, parameter in parameters.items():
        if parameter.kind not in _POSITIONAL or name not in given:
            break
        arguments.append(given.pop(name))
    return arguments, given


def roles_of(function: Callable[..., Any], inputs: str, taken: Collection[str] = ()) -> dict[str, str | None]:
    """Which parameter takes the logits, the labels, and the lm_head weight.

    Args:
        function: the loss.
        inputs: what its first argument is.
        taken: parameters that get context.

    Returns:
        role -> parameter name, None where it goes by place. A loss of one parameter has no role "labels".
    """
    parameters = parameters_of(function)
    names = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    names += [name for name in parameters if name not in names]  # those without default first
    if inputs == "hidden":
        known = (_HIDDEN_NAMES, _HEAD_NAMES, LABEL_NAMES)
        order: list[str | None] = [next((name for name in names[:3] if name in options), None) for options in known]
        if None in order or len(set(order)) < 3:
            in_place: list[str | None] = list(parameters)
            order = in_place[:3] if len(in_place) >= 3 else [None] * 3
        return dict(zip(("first", "head", "labels"), order, strict=True))
    labels = next((name for name in names if name in LABEL_NAMES and name not in taken), None)
    others = [name for name in names if name != labels]
    if labels is None and len(others) > 1 and others[1] not in {*CONTEXT_NAMES, *taken}:
        labels = others[1]
    if not others:
        return {"first": None, "labels": None}
    if labels is None and (len(others) > 1 or not _takes_more(function)):
        return {"first": others[0]}  # it has no use for labels
    return {"first": others[0] if labels is not None else None, "labels": labels}


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Named parameters that can still be filled.

    Args:
        function: a function, `nn.Module`, `functools.partial` or instance with `__call__`.

    Returns:
        name -> parameter; empty where the signature is not to be had.
    """
    try:
        parameters = inspect.signature(_signature_source(function)).parameters
    except (TypeError, ValueError):
        return {}
    filled = function.keywords if isinstance(function, functools.partial) else {}
    return {key: value for key, value in parameters.items() if value.kind not in _VARIABLE and key not in filled}


def has_default(function: Callable[..., Any], name: str) -> bool:
    """Whether a parameter may be left out."""
    parameters = parameters_of(function)
    return name in parameters and parameters[name].default is not inspect.Parameter.empty


def _signature_source(function: Callable[..., Any]) -> Callable[..., Any]:
    """What has the signature: a module's forward, also behind a partial."""
    if isinstance(function, torch.nn.Module):
        return function.forward
    if isinstance(function, functools.partial) and isinstance(function.func, torch.nn.Module):
        return functools.partial(function.func.forward, *function.args, **function.keywords)
    return function


def _takes_more(function: Callable[..., Any]) -> bool:
    """Whether it has *args, where the labels can go."""
    kinds = [parameter.kind for parameter in inspect.signature(_signature_source(function)).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _main_values(loss: TokenLoss, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """The values of the roles, in the order in which they go by place."""
    if loss.inputs == "hidden":
        return {"first": logits, "head": _identity_head(loss, logits), "labels": labels}
    first: Any = logits
    if loss.inputs == "hf":
        first = ModelOutputs(logits=logits)
    elif loss.inputs == "logprobs":
        first = logits.log_softmax(-1)
    elif loss.inputs == "chunks":
        first = list(logits.chunk(_pieces(loss.function), dim=-2))
    return {"first": first, "labels": labels}


def _pieces(function: Callable[..., Any]) -> int:
    """How many pieces a loss of chunks cuts its labels into, as it says itself."""
    for name in ("num_output_chunks", "num_chunks"):
        if isinstance(getattr(function, name, None), int):
            return int(getattr(function, name))
    return DEFAULT_PIECES


def _identity_head(loss: TokenLoss, logits: Tensor) -> Tensor:
    """hidden = logits, lm_head = identity: then hidden @ lm_head.T are the logits, and the gradients are the same."""
    vocabulary = logits.shape[-1]
    if vocabulary > HIDDEN_MAX_VOCABULARY:
        raise LossError(
            f"{loss.name} takes hidden states; it is inverted with an identity lm_head [V, V], and V = {vocabulary} "
            f"is above the limit of {HIDDEN_MAX_VOCABULARY}. Inspect it on the built-in probe states (no batch), or "
            "on a cut vocabulary."
        )
    return torch.eye(vocabulary, dtype=logits.dtype, device=logits.device)


def _call_on_single_tokens(loss: TokenLoss, logits: Tensor, labels: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    """A loss of one token, ([V], scalar) -> scalar, on each of n tokens."""
    values = []
    for index, row in enumerate(logits.unbind(0)):  # unbind: one stack in the backward pass, not n writes of [n, V]
        one = {key: value[index] for key, value in context.items()}
        arguments, keywords = bind(loss, row * 1 if loss.private else row, labels[index].clone(), one)
        values.append(_pick_output(loss, loss.function(*arguments, **keywords)).reshape(()))
    return torch.stack(values)


def _context(value: Tensor, dtype: torch.dtype, private: bool) -> Tensor:
    """One context tensor in the compute type; a copy where the loss writes, or where autograd could not save it."""
    converted = value.to(dtype) if value.is_floating_point() else value
    if converted is value and (private or value.is_inference()):
        return value.clone()
    return converted


def _causal(value: Tensor, name: str) -> Tensor:
    """Context in the causal layout: logits get a filler behind, values a token (which go with labels) one before."""
    if name in LOGIT_CONTEXT:
        return torch.cat([value, value.new_zeros(1, value.shape[1])]).unsqueeze(0)
    return torch.cat([value[:1], value]).unsqueeze(0)


def _pick_output(loss: TokenLoss, value: Any) -> Tensor:
    """The part of what a loss returned that is the loss."""
    if callable(loss.output):
        value = loss.output(value)
    elif isinstance(loss.output, str):
        value = value[loss.output] if isinstance(value, Mapping) else getattr(value, loss.output)
    elif loss.output is not None:
        value = value[loss.output]
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        raise LossError(f"{loss.name} returns {len(value)} things: say which is the loss, e.g. qt.adapt(fn, output=0).")
    if isinstance(value, Mapping):
        keys = ", ".join(map(repr, value))
        raise LossError(
            f"{loss.name} returns a mapping with {keys}: say which is the loss, qt.adapt(fn, output='loss')."
        )
    raise LossError(
        f"{loss.name} returns {type(value).__name__}, not a tensor: a number has no gradient. Return the loss before "
        ".item()."
    )
