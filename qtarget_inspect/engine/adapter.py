"""Adapter: one way of calling for every signature that public loss code has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import LossError, MissingContextError

Inputs = Literal["logits", "hf", "logprobs", "hidden", "chunks"]
Shift = Literal["auto", "none", "slice", "pad", "roll"]
Layout = Literal["auto", "flat", "batched", "causal", "token"]

IGNORE_INDEX = -100
"""The label of positions without one, as torch's cross entropy and the HF losses have it."""

HIDDEN_MAX_VOCABULARY = 8192
"""Losses of hidden states are called with an identity lm_head [V, V]; beyond this V it would not fit."""

_HF_NAMES = ("outputs", "output", "model_output", "model_outputs")
_LABEL_NAMES = ("labels", "label", "target", "targets", "y", "shift_labels", "gold")
_HIDDEN_NAMES = ("hidden", "hidden_states", "_input", "input", "x", "embeddings", "h")
_HEAD_NAMES = ("weight", "lm_head", "lm_head_weight", "lin_weight", "linear_weight", "head", "w", "output_projection")


class ModelOutputs(dict):
    """What HF-style losses read their logits from: an attribute, a key, `.get`, or the first entry."""

    def __getattr__(self, name: str) -> Any:
        """Entries as attributes; an absent one is an AttributeError, so that `getattr(outputs, x, None)` works."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        """Entries by name, or by number as in a tuple."""
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


@dataclass(frozen=True)
class TokenLoss:
    """A loss with everything known about how to call it. Make one with `adapt`.

    Args:
        function: the user's callable.
        name: how to call it in tables and messages.
        inputs: what its first argument is.
        shift: which shift convention it applies inside; "auto" is found out by calling it.
        layout: "flat" [N, V], "batched" [1, N, V], "causal" [1, N + 1, V], "token" [V]; "auto" is found out.
        output: which part of what it returns is the loss: None (all), an index, a key, or a function.
        context: parameter name -> batch field, passed by keyword.
        missing: required parameters that are neither context nor fixed.
        fixed: keyword arguments to pass as they are.
        private: whether it writes into its arguments, so that it is handed copies.
    """

    function: Callable[..., Any]
    name: str
    inputs: Inputs = "logits"
    shift: Shift = "auto"
    layout: Layout = "auto"
    output: int | str | Callable[[Any], Any] | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False

    def required_context(self, batch: TokenBatch) -> None:
        """Check that the batch holds what the loss asks for.

        Raises:
            MissingContextError: it does not; the message names the context and the loss.
            LossError: a required parameter is no known context.
        """
        if self.missing:
            names = ", ".join(self.missing)
            raise LossError(
                f"{self.name} has required parameters that are no known context: {names}. Fill them with functools.partial, or map "
                f"them with qt.adapt(fn, context={{{self.missing[0]!r}: 'reference_logits'}}). Known context: "
                f"{', '.join(CONTEXT_NAMES)}."
            )
        for parameter, name in self.context.items():
            if getattr(batch, name) is None and not _has_default(self.function, parameter):
                shape = "[N, V]" if name in LOGIT_CONTEXT else "[N]"
                flag = {"reference_logits": "--reference MODEL", "teacher_logits": "--teacher MODEL"}.get(name)
                hint = f", or {flag} on the command line" if flag else ""
                raise MissingContextError(
                    f"{self.name} needs {name} {shape}, and the batch has none.\nPass TokenBatch(..., {name}=...){hint}."
                )

    def __call__(self, logits: Tensor, batch: TokenBatch) -> Tensor:
        """Call the loss on some tokens.

        Args:
            logits: [n, V] what is differentiated; stands in for `batch.logits`.
            batch: the tokens' labels and context.

        Returns:
            Whatever the loss returns, after `output`: [n], a scalar, or something that the engine will refuse.
        """
        return call(self, logits, batch)


def adapt(
    fn: Callable[..., Any],
    inputs: Inputs | None = None,
    shift: Shift = "auto",
    output: int | str | Callable[[Any], Any] | None = None,
    *,
    layout: Layout = "auto",
    context: Mapping[str, str] | None = None,
    name: str | None = None,
    **fixed: Any,
) -> TokenLoss:
    """Say how a loss wants to be called, where its signature does not say it by itself.

    Recognised without help: `(logits, labels)` on a batch or on one token, an `nn.Module` of that form, and
    `(outputs, labels, num_items_in_batch)`.

    Args:
        fn: the loss.
        inputs: what its first argument is: "logits"; "hf", an object with `.logits`; "logprobs", log-probabilities [n, V];
            "hidden", hidden states and an lm_head weight (called with the logits and an identity matrix, so V is limited to 8192);
            "chunks", a list of pieces of the logits.
        shift: the shift it applies inside: "none", "slice" (logits[:-1] against labels[1:]), "pad" (labels padded at the end),
            "roll" (labels rolled), or "auto": found out by changing a label and looking whose gradient changes.
        output: which part of a tuple or dict it returns is the loss: an index, a key, or a function of the result.
        layout: shape of what it takes: "flat" [N, V], "batched" [1, N, V], "causal" [1, N + 1, V], "token" [V].
        context: parameter name -> batch field where they differ, e.g. {"ref_logits": "reference_logits"}.
        name: how to call it.
        **fixed: keyword arguments passed as they are.

    Returns:
        A loss that `invert`, `inspect` and the rest take.

    Raises:
        LossError: `inputs` or `shift` is none of the above, or `context` names an unknown field.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> def nll(log_probs, targets):
        ...     return -log_probs.gather(-1, targets[:, None]).mean(), {"tokens": len(targets)}
        >>> loss = qt.adapt(nll, inputs="logprobs", output=0)
        >>> target = qt.invert(loss, qt.TokenBatch(torch.zeros(2, 4), torch.tensor([0, 3])))
        >>> target.reduction.text
        'mean over 2 tokens, undone'
    """
    if isinstance(fn, TokenLoss):
        return fn
    for label, value, options in (("inputs", inputs, get_args(Inputs)), ("shift", shift, get_args(Shift)), ("layout", layout, get_args(Layout))):
        if value is not None and value not in options:
            raise LossError(f"adapt: {label} must be one of {', '.join(options)}, not {value!r}.")
    unknown = sorted(set((context or {}).values()) - set(CONTEXT_NAMES))
    if unknown:
        raise LossError(f"adapt: unknown context {', '.join(unknown)}; known are {', '.join(CONTEXT_NAMES)}.")
    parameters = _parameters(fn)
    names = list(parameters)
    if inputs is None:
        inputs = "hf" if names and names[0] in _HF_NAMES else "logits"
    consumed = set(_main_arguments(inputs, names))
    mapping = {key: key for key in names if key in CONTEXT_NAMES and key not in fixed}
    mapping |= dict(context or {})
    automatic = {"num_items_in_batch", "vocab_size", *_LABEL_NAMES} if inputs != "hidden" else {"num_items_in_batch"}
    missing = tuple(
        key
        for key, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and key not in consumed | automatic | set(mapping) | set(fixed)
    )
    if shift in ("slice", "pad", "roll") and layout == "auto":
        layout = "causal"
    return TokenLoss(fn, name or _name(fn), inputs, shift, layout, output, mapping, missing, fixed)


def call(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> Tensor:
    """Lay the tokens out as the loss wants them, call it, and pick the loss from what it returns.

    Args:
        loss: the adapted loss, its layout known.
        logits: [n, V].
        batch: labels and context of the same tokens.

    Returns:
        The value.
    """
    if loss.layout == "token":
        return _call_on_single_tokens(loss, logits, batch)
    if loss.private:
        logits = logits * 1  # not the leaf, which refuses to be written to
    labels = batch.labels.clone()
    context = {key: getattr(batch, field_) for key, field_ in loss.context.items() if getattr(batch, field_) is not None}
    if loss.private:
        context = {key: value.clone() for key, value in context.items()}
    context = {
        key: value.to(logits.dtype) if value.is_floating_point() else value for key, value in context.items()
    }
    if loss.layout == "causal":  # [1, n + 1, V]: the last logits and the first label are fillers that every shift drops
        logits = torch.cat([logits, logits.new_zeros(1, logits.shape[1])]).unsqueeze(0)
        labels = torch.cat([labels.new_full((1,), IGNORE_INDEX), labels]).unsqueeze(0)
        context = {key: _causal(value, loss.context[key]) for key, value in context.items()}
    elif loss.layout == "batched":
        logits, labels = logits.unsqueeze(0), labels.unsqueeze(0)
        context = {key: value.unsqueeze(0) for key, value in context.items()}
    arguments, keywords = _arguments(loss, logits, labels)
    return _pick_output(loss, loss.function(*arguments, **{**keywords, **context, **loss.fixed}))


def _arguments(loss: TokenLoss, logits: Tensor, labels: Tensor) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments besides context."""
    names = list(_parameters(loss.function))
    keywords: dict[str, Any] = {}
    if "num_items_in_batch" in names and "num_items_in_batch" not in loss.fixed:
        keywords["num_items_in_batch"] = 1
    if "vocab_size" in names and "vocab_size" not in loss.fixed:
        keywords["vocab_size"] = logits.shape[-1]
    if loss.inputs == "hidden":
        return _hidden_arguments(loss, names, logits, labels), keywords
    first: Any = logits
    if loss.inputs == "hf":
        first = ModelOutputs(logits=logits)
    elif loss.inputs == "logprobs":
        first = logits.log_softmax(-1)
    elif loss.inputs == "chunks":
        first = list(logits.tensor_split(2, dim=-2))
    return [first, labels], keywords


def _hidden_arguments(loss: TokenLoss, names: list[str], logits: Tensor, labels: Tensor) -> list[Any]:
    """hidden = logits, lm_head = identity: then hidden @ lm_head.T are the logits, and the gradients are the same."""
    vocabulary = logits.shape[-1]
    if vocabulary > HIDDEN_MAX_VOCABULARY:
        raise LossError(
            f"{loss.name} takes hidden states; it is inverted with an identity lm_head [V, V], and V = {vocabulary} is above the "
            f"limit of {HIDDEN_MAX_VOCABULARY}. Inspect it on the built-in probe states (no batch), or on a cut vocabulary."
        )
    head = torch.eye(vocabulary, dtype=logits.dtype, device=logits.device)
    values: list[Any] = [logits, head, labels]
    order = [next((i for i, known in enumerate((_HIDDEN_NAMES, _HEAD_NAMES, _LABEL_NAMES)) if n in known), -1) for n in names[:3]]
    return [values[i] for i in order] if sorted(order) == [0, 1, 2] else values


def _call_on_single_tokens(loss: TokenLoss, logits: Tensor, batch: TokenBatch) -> Tensor:
    """A loss of one token, ([V], scalar) -> scalar, on each of n tokens."""
    fields = {key: name for key, name in loss.context.items() if getattr(batch, name) is not None}

    def one(row: Tensor, index: int) -> Tensor:
        context = {key: getattr(batch, name)[index] for key, name in fields.items()}
        context = {key: value.to(row.dtype) if value.is_floating_point() else value for key, value in context.items()}
        row = row * 1 if loss.private else row
        label = batch.labels[index].clone()
        value = loss.function(row.log_softmax(-1) if loss.inputs == "logprobs" else row, label, **context, **loss.fixed)
        return _pick_output(loss, value).reshape(())

    return torch.stack([one(logits[index], index) for index in range(len(batch))])


def _causal(value: Tensor, name: str) -> Tensor:
    """Context in the causal layout: logits get a filler behind, values a token (which go with labels) one before."""
    if name in LOGIT_CONTEXT:
        return torch.cat([value, value.new_zeros(1, value.shape[1])]).unsqueeze(0)
    return torch.cat([value[:1], value]).unsqueeze(0)


def _pick_output(loss: TokenLoss, value: Any) -> Tensor:
    if callable(loss.output):
        value = loss.output(value)
    elif loss.output is not None:
        value = value[loss.output] if not isinstance(loss.output, str) or isinstance(value, Mapping) else getattr(value, loss.output)
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        raise LossError(f"{loss.name} returns {len(value)} things: say which is the loss, qt.adapt(fn, output=0).")
    if isinstance(value, Mapping):
        keys = ", ".join(map(repr, value))
        raise LossError(f"{loss.name} returns a mapping with {keys}: say which is the loss, qt.adapt(fn, output='loss').")
    raise LossError(
        f"{loss.name} returns {type(value).__name__}, not a tensor: a number has no gradient. Return the loss before .item()."
    )


def with_layout(loss: TokenLoss, layout: Layout, shift: Shift) -> TokenLoss:
    """The loss with its layout and shift settled.

    Args:
        loss: the loss.
        layout: the layout found.
        shift: the shift found.

    Returns:
        A new `TokenLoss`.
    """
    return replace(loss, layout=layout, shift=shift)


def _parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Named parameters that can still be filled; empty where the signature is not to be had."""
    target = fn.forward if isinstance(fn, torch.nn.Module) else fn
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    filled = target.keywords if isinstance(target, functools.partial) else {}
    return {key: value for key, value in parameters.items() if value.kind not in variable and key not in filled}


def _has_default(fn: Callable[..., Any], name: str) -> bool:
    parameters = _parameters(fn)
    return name in parameters and parameters[name].default is not inspect.Parameter.empty


def _main_arguments(inputs: Inputs, names: list[str]) -> list[str]:
    return names[: 3 if inputs == "hidden" else 2]


def _name(fn: Callable[..., Any]) -> str:
    if isinstance(fn, functools.partial):
        filled = ", ".join(f"{key}={value!r:.20}" for key, value in fn.keywords.items())
        return f"{_name(fn.func)}({filled})" if filled else _name(fn.func)
    return getattr(fn, "__name__", None) or type(fn).__name__
