"""Directions that a loss can pull in: each a value and a formula.

A direction d [N, V] is of one of three kinds:

    toward   d = p - b              b a distribution: the label, a reference, a power of p ...
    tilt     d = p * (s - E_p s)    s a score: log p, log teacher ...
    nowhere  d = p                  mass is lost
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core import numerics
from qtarget_inspect.core.state import MODEL, State

Kind = Literal["toward", "tilt", "nowhere"]

_LATEX = {
    MODEL: "p",
    "reference_logits": r"\pi_{\mathrm{ref}}",
    "teacher_logits": r"\pi_T",
    "old_logits": r"\pi_{\mathrm{old}}",
}
_TEXT = {MODEL: "p", "reference_logits": "reference", "teacher_logits": "teacher", "old_logits": "old policy"}


@dataclass(frozen=True)
class Direction:
    """One direction of pull.

    Args:
        name: short unique name, the key of weights in results.
        text: formula in plain text.
        latex: formula in LaTeX.
        kind: "toward", "tilt" or "nowhere".
        rows: the distribution b or score s, [N, V], as a function of a state; None for "nowhere".
        requires: context it needs.
    """

    name: str
    text: str
    latex: str
    kind: Kind
    rows: Callable[[State], Tensor] | None = field(repr=False)
    requires: tuple[str, ...] = ()

    def values(self, state: State) -> Tensor:
        """[N, V] the distribution b (toward) or the score s (tilt)."""
        if self.rows is None:
            return torch.zeros_like(state.p)
        return self.rows(state)

    def gradient(self, state: State) -> Tensor:
        """[N, V] the direction d itself: what one unit of this pull adds to the logit gradient."""
        if self.kind == "nowhere":
            return state.p.clone()
        values = self.values(state)
        if self.kind == "toward":
            return state.p - values
        mean = numerics.expectation(state.p, values).unsqueeze(-1)
        centred = torch.where(state.p == 0, 0.0, values - mean)
        return state.p * centred


@dataclass(frozen=True)
class LabelDirection(Direction):
    """The pull to the observed token, with 1 - p_y taken from log-space."""

    def gradient(self, state: State) -> Tensor:
        """[N, V] p - onehot(y); the label's entry is -(1 - p_y), exact where p_y -> 1."""
        gradient = state.p.clone()
        return gradient.scatter_(-1, state.labels.unsqueeze(-1), -state.one_minus_p_label.unsqueeze(-1))


def label() -> Direction:
    """Toward the observed token: b = onehot(y)."""
    return LabelDirection("label", "onehot(y)", r"\mathbf{1}_y", "toward", lambda s: numerics.one_hot(s.labels, s.p))


def uniform() -> Direction:
    """Toward the uniform over the vocabulary, label included: b = 1 / V."""
    return Direction("uniform", "uniform", "u", "toward", lambda s: torch.full_like(s.p, 1 / s.p.shape[-1]))


def context_model(name: str, temperature: float = 1.0) -> Direction:
    """Toward another model: b = softmax(context logits / temperature).

    Args:
        name: "reference_logits", "teacher_logits" or "old_logits".
        temperature: softens (> 1) or sharpens (< 1) it.

    Returns:
        The direction, named "reference", "teacher" or "old_policy" (with the temperature where it is not 1).
    """
    short = name.removesuffix("_logits") if name != "old_logits" else "old_policy"
    text, latex = _TEXT[name], _LATEX[name]
    if temperature != 1.0:
        short, text = f"{short}@{temperature:g}", f"{text}^(1/{temperature:g})"
        latex = rf"{latex}^{{1/{temperature:g}}}"
    return Direction(short, text, latex, "toward", lambda s: (s.context(name) / temperature).softmax(-1), (name,))


def reference() -> Direction:
    """Toward the reference model."""
    return context_model("reference_logits")


def teacher(temperature: float = 1.0) -> Direction:
    """Toward the teacher at a temperature."""
    return context_model("teacher_logits", temperature)


def old_policy() -> Direction:
    """Toward the policy before the update."""
    return context_model("old_logits")


def power(exponent: float) -> Direction:
    """Toward a power of the model: b = p^a / sum p^a. a > 1 sharpens, a < 1 flattens; a = 0 is the uniform.

    Args:
        exponent: a.

    Returns:
        The direction.
    """
    return Direction(
        f"p^{exponent:.4g}",
        f"p^{exponent:.4g} / Z",
        rf"p^{{{exponent:.4g}}}/Z",
        "toward",
        lambda s: scaled_log_probs(s.log_p, exponent).softmax(-1),
    )


def path(eta: float, to: str = "teacher_logits") -> Direction:
    """Toward a point on the geometric path from the model to another: b proportional to p^(1-eta) other^eta.

    Args:
        eta: 0 is the model, 1 the other.
        to: which context model the path leads to.

    Returns:
        The direction.
    """
    text = f"p^{1 - eta:.4g} {_TEXT[to]}^{eta:.4g} / Z"
    latex = rf"p^{{{1 - eta:.4g}}}{_LATEX[to]}^{{{eta:.4g}}}/Z"
    return Direction(
        f"path({eta:.4g})", text, latex, "toward", lambda s: geometric_path(s.log_p, s.log_probs(to), eta).exp(), (to,)
    )


def others() -> Direction:
    """Toward the model without the label, renormalised: b_k = p_k / (1 - p_y) for k != y, 0 at y."""

    def rows(state: State) -> Tensor:
        masked = state.context(MODEL).scatter(-1, state.labels.unsqueeze(-1), float("-inf"))
        return masked.softmax(-1)

    return Direction("others", "p without y", r"p_{\setminus y}", "toward", rows)


def top_k(k: int) -> Direction:
    """Toward the model's own top k, renormalised.

    Args:
        k: how many tokens, cut to V.

    Returns:
        The direction.
    """

    def rows(state: State) -> Tensor:
        logits = state.context(MODEL)
        best = logits.topk(min(k, logits.shape[-1]), dim=-1)
        return torch.zeros_like(logits).scatter_(-1, best.indices, best.values.softmax(-1))

    return Direction(f"top_{k}", f"top {k} of p", rf"p_{{\mathrm{{top}}\,{k}}}", "toward", rows)


def tilt(by: str = MODEL) -> Direction:
    """Tilt by a log-probability: d = p * (log b - E_p log b). Reverse KL and entropy terms are made of these.

    Args:
        by: "logits" (log p) or a context model.

    Returns:
        The direction.
    """
    return Direction(
        f"tilt log {_TEXT[by]}",
        f"tilt by log {_TEXT[by]}",
        rf"\nabla \log {_LATEX[by]}",
        "tilt",
        lambda s: s.log_probs(by),
        () if by == MODEL else (by,),
    )


def nowhere() -> Direction:
    """Nowhere: d = p. Mass leaves every token in proportion; the target's sum is below 1 (z-loss)."""
    return Direction("nowhere", "nowhere", r"\emptyset", "nowhere", None)


def scaled_log_probs(log_p: Tensor, exponent: float) -> Tensor:
    """exponent * log p with 0 * (-inf) = 0 only where the exponent is 0 and the token possible.

    Args:
        log_p: [..., V] log-probabilities.
        exponent: the power.

    Returns:
        [..., V] unnormalised log-probabilities; impossible tokens stay impossible.
    """
    return torch.where(torch.isneginf(log_p), log_p, exponent * log_p)


def geometric_path(log_p: Tensor, log_b: Tensor, eta: float) -> Tensor:
    """Log-probabilities of p^(1-eta) b^eta / Z, its ends exact.

    Args:
        log_p: [..., V] log-probabilities at eta = 0.
        log_b: [..., V] log-probabilities at eta = 1.
        eta: the point on the path.

    Returns:
        [..., V] log-probabilities.
    """
    if eta == 0:
        return log_p
    if eta == 1:
        return log_b
    return ((1 - eta) * log_p + eta * log_b).log_softmax(-1)
