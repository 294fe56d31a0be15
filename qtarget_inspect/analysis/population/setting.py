"""Setting: a loss at one context with labels drawn from q*, checked; states become batches of (state, label) rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.tolerances import SUMS_TO_ONE
from qtarget_inspect.core.batch import CONTEXT_NAMES, LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.errors import LossError, MissingContextError, QTargetError
from qtarget_inspect.engine.adapter import TokenLoss, adapt
from qtarget_inspect.variants import Variant, resolve

METHODS = ("auto", "closed-form", "torch.func", "autograd")

TOKEN_DEFAULTS = {"advantages": 1.0, "weights": 1.0, "critical": 1.0}
"""Context of a token where the user gives none: every label is wanted, weighs 1 and is critical."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A loss at one context, its labels drawn from q*.

    Args:
        loss: the loss with its calling convention.
        variant: the registered variant, None for other losses.
        q_star: [V] the distribution of the labels.
        labels: [K] the labels that are drawn at all, q*_y > 0.
        context: name -> [V] logits of other models, or [] a number for the token.
        method: how the gradient is taken: "closed-form", or a method of `invert`.
    """

    loss: TokenLoss
    variant: Variant | None
    q_star: Tensor
    labels: Tensor
    context: Mapping[str, Tensor]
    method: str

    @property
    def vocabulary(self) -> int:
        """Vocabulary size V."""
        return self.q_star.numel()

    def batch(self, logits: Tensor) -> TokenBatch:
        """The tokens of some states: each state with each label that is drawn, every token a sequence of its own.

        Args:
            logits: [M, V] the states.

        Returns:
            The batch of M K tokens, labels running fastest. Old logits are the state's own where none are given.
        """
        states, kinds = logits.shape[0], self.labels.numel()
        rows = logits.repeat_interleave(kinds, 0)
        fields: dict[str, Tensor] = {"logits": rows, "labels": self.labels.repeat(states)}
        fields["old_logits"] = rows.clone()
        fields["sequence_ids"] = torch.arange(len(rows))
        for name, value in {**_token_defaults(), **self.context}.items():
            fields[name] = value.expand(len(rows), *value.shape)
        return TokenBatch.unchecked(fields)

    def replaced(self, context: Mapping[str, Tensor]) -> Setting:
        """The same loss and labels in another context."""
        return Setting(self.loss, self.variant, self.q_star, self.labels, context, self.method)


def make_setting(loss: Any, q_star: Any, context: Mapping[str, Any], method: str = "auto") -> Setting:
    """Check a loss, its labels' distribution and its context.

    Args:
        loss: as `invert` takes it.
        q_star: [V] probabilities.
        context: name -> [V] logits, or one number for `advantages`, `weights`, `critical`.
        method: "auto", "closed-form", "torch.func" or "autograd".

    Returns:
        The setting.

    Raises:
        QTargetError: an argument does not fit, or the loss compares sequences and has no view at one context.
        LossError: `method` is unknown, or there is no closed form.
        MissingContextError: the loss needs context that is not given.
    """
    if method not in METHODS:
        raise LossError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    probabilities = check_distribution("q_star", q_star)
    resolved = resolve(loss)
    variant = resolved if isinstance(resolved, Variant) else None
    token_loss = adapt(resolved.bound_loss, name=resolved.label) if isinstance(resolved, Variant) else adapt(resolved)
    if variant is not None and variant.category == "preference":
        raise QTargetError(
            f"fixed_points: {variant.label} compares whole sequences, so labels drawn at one context do not make a "
            "loss: the population view is not defined. Take a loss of single tokens."
        )
    closed = variant is not None and variant.pulls is not None
    if method == "closed-form" and not closed:
        raise LossError(f"{token_loss.name} has no declared pulls, so no closed form; use method='auto'.")
    chosen = "closed-form" if closed and method == "auto" else method
    setting = Setting(
        token_loss,
        variant,
        probabilities,
        (probabilities > 0).nonzero().squeeze(-1),
        _check_context(context, probabilities.numel()),
        chosen,
    )
    try:
        token_loss.required_context(setting.batch(torch.zeros(1, setting.vocabulary, dtype=torch.float64)))
    except MissingContextError as error:
        first = str(error).splitlines()[0].split(", and the batch")[0]
        needed = next((name for name in CONTEXT_NAMES if name in first), "its context")
        raise MissingContextError(
            f"fixed_points: {token_loss.name} needs {needed}, and none is given. "
            f"Pass fixed_points(..., {needed}=...) of shape [V] = [{setting.vocabulary}]."
        ) from error
    return setting


def check_distribution(name: str, value: Any) -> Tensor:
    """Probabilities over at least two tokens.

    Args:
        name: of the argument.
        value: a list, array or tensor [V].

    Returns:
        [V] in float64, as given.

    Raises:
        QTargetError: it is no distribution.

    Examples:
        >>> check_distribution("q_star", [0.5, 0.25, 0.25])
        tensor([0.5000, 0.2500, 0.2500], dtype=torch.float64)
    """
    p = _numbers(name, value)
    if p.ndim != 1 or p.numel() < 2:
        raise QTargetError(f"{name} must have shape [V], V >= 2, but has {list(p.shape)}; pass e.g. [0.5, 0.3, 0.2].")
    if not bool(torch.isfinite(p).all()) or bool((p < 0).any()):
        raise QTargetError(f"{name} must hold probabilities >= 0, but holds {float(p.min()):g}.")
    if abs(float(p.sum()) - 1) > SUMS_TO_ONE:
        raise QTargetError(f"{name} must sum to 1, but sums to {float(p.sum()):.8g}; divide it by its sum.")
    return p


def _check_context(context: Mapping[str, Any], vocabulary: int) -> dict[str, Tensor]:
    """Context as [V] logits or [] numbers, in float64; what the loss does not ask for is carried and ignored."""
    known = [name for name in CONTEXT_NAMES if name != "sequence_ids"]
    unknown = sorted(set(context) - set(known))
    if unknown:
        raise QTargetError(
            f"fixed_points: unknown context {', '.join(unknown)}; known are {', '.join(known)} (every token is a "
            "sequence of its own)."
        )
    checked: dict[str, Tensor] = {}
    for name, value in context.items():
        if value is None:
            continue
        tensor = _numbers(name, value)
        wanted = [vocabulary] if name in LOGIT_CONTEXT else []
        if list(tensor.shape) != wanted:
            raise QTargetError(
                f"fixed_points: {name} must have shape {wanted} (one context), but has {list(tensor.shape)}."
            )
        if bool(torch.isnan(tensor).any()) or bool(torch.isposinf(tensor).any()):
            raise QTargetError(f"fixed_points: {name} must hold finite numbers (or -inf), but holds NaN or +inf.")
        checked[name] = tensor.bool() if name == "critical" else tensor
    return checked


def _token_defaults() -> dict[str, Tensor]:
    made = {name: torch.tensor(value, dtype=torch.float64) for name, value in TOKEN_DEFAULTS.items()}
    return made | {"critical": made["critical"].bool()}


def _numbers(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise QTargetError(f"{name} must hold numbers, not {value!r:.60}; pass a list or a tensor.") from error
