"""Adapter: everything known about how a loss wants to be called, in one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import LossError, MissingContextError
from qtarget_inspect.engine.calling import HF_NAMES, LOG_PROB_NAMES, call, has_default, parameters_of, roles_of

Inputs = Literal["logits", "hf", "logprobs", "hidden", "chunks"]
Shift = Literal["auto", "none", "slice", "pad", "roll"]
Layout = Literal["auto", "flat", "batched", "causal", "token"]
Output = int | str | Callable[[Any], Any] | None


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
    output: Output = None
    context: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False

    def required_context(self, batch: TokenBatch) -> None:
        """Check that the batch holds what the loss asks for.

        Args:
            batch: the tokens.

        Raises:
            MissingContextError: it does not; the message names the context and the loss.
            LossError: a required parameter is no known context.
        """
        if self.missing:
            names = ", ".join(self.missing)
            raise LossError(
                f"{self.name} has required parameters that are no known context: {names}. Fill them with "
                f"functools.partial or qt.adapt(fn, {self.missing[0]}=...), or map them, qt.adapt(fn, "
                f"context={{{self.missing[0]!r}: 'reference_logits'}}). Known context: {', '.join(CONTEXT_NAMES)}."
            )
        for parameter, name in self.context.items():
            if getattr(batch, name) is None and not has_default(self.function, parameter):
                shape = "[N, V]" if name in LOGIT_CONTEXT else "[N]"
                flag = {"reference_logits": "--reference MODEL", "teacher_logits": "--teacher MODEL"}.get(name)
                hint = f", or {flag} on the command line" if flag else ""
                raise MissingContextError(
                    f"{self.name} needs {name} {shape}, and the batch has none.\nPass TokenBatch(..., "
                    f"{name}=...){hint}."
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
    output: Output = None,
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
        inputs: what its first argument is: "logits"; "hf", an object with `.logits`; "logprobs", log-probabilities [n,
            V]; "hidden", hidden states and an lm_head weight (called with the logits and an identity matrix, so V is
            limited to 8192); "chunks", a list of pieces of the logits (as many as its `num_output_chunks`, else two).
        shift: the shift it applies inside: "none", "slice" (logits[:-1] against labels[1:]), "pad" (labels padded at
            the end), "roll" (labels rolled), or "auto": found out by changing a label and looking whose gradient
            changes.
        output: which part of a tuple or dict it returns is the loss: an index, a key, or a function of the result.
        layout: shape of what it takes: "flat" [N, V], "batched" [1, N, V], "causal" [1, N + 1, V], "token" [V].
        context: parameter name -> batch field where they differ, e.g. {"ref_logits": "reference_logits"}.
        name: how to call it.
        **fixed: keyword arguments passed as they are.

    Returns:
        A loss that `invert`, `inspect` and the rest take.

    Raises:
        LossError: `fn` is a class, `inputs`, `shift` or `layout` is none of the above, or `context` names an unknown
            field.

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
    if isinstance(fn, type):
        raise LossError(f"adapt: {fn.__name__} is a class; pass an instance, {fn.__name__}(...).")
    options = {
        "inputs": (inputs, get_args(Inputs)),
        "shift": (shift, get_args(Shift)),
        "layout": (layout, get_args(Layout)),
    }
    for label, (value, known) in options.items():
        if value is not None and value not in known:
            raise LossError(f"adapt: {label} must be one of {', '.join(known)}, not {value!r}.")
    unknown = sorted(set((context or {}).values()) - set(CONTEXT_NAMES))
    if unknown:
        raise LossError(f"adapt: unknown context {', '.join(unknown)}; known are {', '.join(CONTEXT_NAMES)}.")
    parameters = parameters_of(fn)
    if inputs is None:
        first = next(iter(parameters), "")
        inputs = "hf" if first in HF_NAMES else "logprobs" if first in LOG_PROB_NAMES else "logits"
    mapping = {key: key for key in parameters if key in CONTEXT_NAMES and key not in fixed} | dict(context or {})
    supplied = {"num_items_in_batch", "vocab_size", *roles_of(fn, inputs, mapping).values(), *mapping, *fixed}
    missing = tuple(
        key
        for key, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and key not in supplied
    )
    if shift in ("slice", "pad", "roll") and layout == "auto":
        layout = "causal"
    return TokenLoss(fn, name or name_of(fn), inputs, shift, layout, output, mapping, missing, fixed)


def name_of(fn: Callable[..., Any]) -> str:
    """What a callable is called in tables and messages.

    Args:
        fn: the callable.

    Returns:
        Its name, with what a partial fills in; the class's name for an instance.

    Examples:
        >>> name_of(functools.partial(max, default=0))
        'max(default=0)'
    """
    if isinstance(fn, functools.partial):
        filled = ", ".join(f"{key}={_brief(value)}" for key, value in fn.keywords.items())
        return f"{name_of(fn.func)}({filled})" if filled else name_of(fn.func)
    return getattr(fn, "__name__", None) or type(fn).__name__


def _brief(value: Any) -> str:
    """A filled-in value in a name: a tensor by its shape."""
    return f"tensor{list(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.20}"
