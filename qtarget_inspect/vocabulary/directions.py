"""Directions that a loss can pull in: each a value and a formula.

A direction d [N, V] is of one of three kinds:

    toward   d = p - b              b a distribution: the label, a reference, a power of p ...
    tilt     d = p * (s - E_p s)    s a score: log p, log teacher ...
    nowhere  d = p                  mass is lost
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from qtarget_inspect.core import numerics
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.vocabulary import rows
from qtarget_inspect.vocabulary.numerals import exact, finite, rounded, rounded_latex, short_name

Kind = Literal["toward", "tilt", "nowhere"]

_LATEX = {
    MODEL: "p",
    "reference_logits": r"\pi_{\mathrm{ref}}",
    "teacher_logits": r"\pi_T",
    "old_logits": r"\pi_{\mathrm{old}}",
}
_TEXT = {MODEL: "p", "reference_logits": "reference", "teacher_logits": "teacher", "old_logits": "old policy"}
_NAME = {MODEL: "p", "reference_logits": "reference", "teacher_logits": "teacher", "old_logits": "old_policy"}


@dataclass(frozen=True)
class RowFunction:
    """Rows [N, V] as a function of a state and of numbers or names; equal where function and arguments are.

    Args:
        function: (state, *arguments) -> [N, V].
        arguments: what the function takes besides the state.
    """

    function: Callable[..., Tensor]
    arguments: tuple[Any, ...] = ()

    def __call__(self, state: State) -> Tensor:
        """[N, V] the rows in this state."""
        return self.function(state, *self.arguments)


@dataclass(frozen=True)
class Direction:
    """One direction of pull. Two are equal where all fields are, `rows` included.

    Args:
        name: short unique name, the key of weights in results; numbers stand in it with all their digits.
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

    @property
    def short(self) -> str:
        """The name with long numbers rounded, for printing."""
        return short_name(self.name)

    def values(self, state: State) -> Tensor:
        """[N, V] the distribution b (toward) or the score s (tilt)."""
        if self.rows is None:
            return torch.zeros_like(state.p)
        return self.rows(state)

    def write_to(self, out: Tensor, weight: Tensor, state: State) -> None:
        """Write weight * b; for directions toward a distribution.

        Args:
            out: [N, V] where to.
            weight: [N, 1] the weights.
            state: the state.
        """
        torch.mul(self.values(state), weight, out=out)

    def add_to(self, sums: Tensor, weight: Tensor, state: State) -> None:
        """Add weight * b in place; for directions toward a distribution.

        Args:
            sums: [N, V] what to add to.
            weight: [N, 1] the weights.
            state: the state.
        """
        sums.addcmul_(weight, self.values(state))

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


@dataclass(frozen=True)
class UniformDirection(Direction):
    """The pull to the uniform, whose rows need not be written out to be added."""

    def write_to(self, out: Tensor, weight: Tensor, state: State) -> None:
        """Write weight / V to every entry."""
        out.copy_((weight / out.shape[-1]).expand_as(out))

    def add_to(self, sums: Tensor, weight: Tensor, state: State) -> None:
        """Add weight / V to every entry."""
        sums.add_(weight, alpha=1 / sums.shape[-1])


def label() -> Direction:
    """Toward the observed token: b = onehot(y)."""
    return LabelDirection("label", "onehot(y)", r"\mathbf{1}_y", "toward", RowFunction(rows.label_rows))


def uniform() -> Direction:
    """Toward the uniform over the vocabulary, label included: b = 1 / V."""
    return UniformDirection("uniform", "uniform", "u", "toward", RowFunction(rows.uniform_rows))


def context_model(name: str, temperature: float = 1.0) -> Direction:
    """Toward another model: b = softmax(context logits / temperature).

    Args:
        name: "reference_logits", "teacher_logits" or "old_logits".
        temperature: softens (> 1) or sharpens (< 1) it.

    Returns:
        The direction, named "reference", "teacher" or "old_policy" (with the temperature where it is not 1).

    Raises:
        QTargetError: there is no such model, or the temperature is not above 0.
    """
    _check_model(name, LOGIT_CONTEXT)
    short, text, latex = _NAME[name], _TEXT[name], _LATEX[name]
    if finite(temperature, "the temperature") <= 0:
        raise QTargetError(f"the temperature must be above 0, not {temperature!r}.")
    if temperature != 1.0:
        short, text = f"{short}@{exact(temperature)}", f"{text}^(1/{rounded(temperature)})"
        latex = rf"{latex}^{{1/{rounded_latex(temperature)}}}"
    return Direction(short, text, latex, "toward", RowFunction(rows.context_rows, (name, float(temperature))), (name,))


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
        The direction, named "p^a".
    """
    exponent = finite(exponent, "the exponent")
    latex = rf"p^{{{rounded_latex(exponent)}}}/Z"
    name, text = f"p^{exact(exponent)}", f"p^{rounded(exponent)} / Z"
    return Direction(name, text, latex, "toward", RowFunction(rows.power_rows, (exponent,)))


def path(eta: float, to: str = "teacher_logits") -> Direction:
    """Toward a point on the geometric path from the model to another: b proportional to p^(1-eta) other^eta.

    Args:
        eta: 0 is the model, 1 the other.
        to: which context model the path leads to.

    Returns:
        The direction, named "path(eta to other)".
    """
    eta = finite(eta, "eta")
    _check_model(to, LOGIT_CONTEXT)
    text = f"p^{rounded(1 - eta)} {_TEXT[to]}^{rounded(eta)} / Z"
    latex = rf"p^{{{rounded_latex(1 - eta)}}}{_LATEX[to]}^{{{rounded_latex(eta)}}}/Z"
    return Direction(
        f"path({exact(eta)} to {_NAME[to]})", text, latex, "toward", RowFunction(rows.path_rows, (eta, to)), (to,)
    )


def others() -> Direction:
    """Toward the model without the label, renormalised: b_k = p_k / (1 - p_y) for k != y, 0 at y."""
    return Direction("others", "p without y", r"p_{\setminus y}", "toward", RowFunction(rows.others_rows))


def top_k(k: int, of: str = MODEL) -> Direction:
    """Toward the top k of the model, or of another one, renormalised.

    Args:
        k: how many tokens, cut to V.
        of: "logits" (the model itself) or a context model.

    Returns:
        The direction, named "top_k" or "top_k of other".

    Raises:
        QTargetError: k is not a whole number above 0, or there is no such model.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise QTargetError(f"k must be a whole number above 0, not {k!r}.")
    _check_model(of, (MODEL, *LOGIT_CONTEXT))
    name = f"top_{k}" if of == MODEL else f"top_{k} of {_NAME[of]}"
    latex = rf"{_LATEX[of]}_{{\mathrm{{top}}\,{k}}}"
    found = RowFunction(rows.top_k_rows, (k, of))
    return Direction(name, f"top {k} of {_TEXT[of]}", latex, "toward", found, () if of == MODEL else (of,))


def tilt(by: str = MODEL) -> Direction:
    """Tilt by a log-probability: d = p * (log b - E_p log b). Reverse KL and entropy terms are made of these.

    Args:
        by: "logits" (log p) or a context model.

    Returns:
        The direction.
    """
    _check_model(by, (MODEL, *LOGIT_CONTEXT))
    return Direction(
        f"tilt log {_NAME[by]}",
        f"tilt by log {_TEXT[by]}",
        rf"\nabla \log {_LATEX[by]}",
        "tilt",
        RowFunction(rows.log_prob_rows, (by,)),
        () if by == MODEL else (by,),
    )


def mixture_tilt(share: float, of: str = "teacher_logits") -> Direction:
    """Tilt by the log of a mixture: d = p * (log m - E_p log m), m = share * other + (1 - share) * p.

    With a tilt by log p it makes the Jensen-Shannon divergences.

    Args:
        share: the other model's share of the mixture, in (0, 1].
        of: which context model is mixed in.

    Returns:
        The direction.

    Raises:
        QTargetError: the share is outside (0, 1], or there is no such model.
    """
    _check_model(of, LOGIT_CONTEXT)
    if not 0 < finite(share, "the share") <= 1:
        raise QTargetError(f"the share must lie in (0, 1], not {share!r}.")
    number, rest = rounded(share), rounded(1 - share)
    return Direction(
        f"tilt log mixture({exact(share)} {_NAME[of]})",
        f"tilt by log({number} {_TEXT[of]} + {rest} p)",
        rf"\nabla \log({rounded_latex(share)}\,{_LATEX[of]} + {rounded_latex(1 - share)}\,p)",
        "tilt",
        RowFunction(rows.mixture_rows, (float(share), of)),
        (of,),
    )


def sign_tilt(of: str = "teacher_logits") -> Direction:
    """Tilt by a sign: d = p * (s - E_p s), s = sign(p - other). Total variation is made of it.

    Args:
        of: which context model p is compared with.

    Returns:
        The direction.

    Raises:
        QTargetError: there is no such model.
    """
    _check_model(of, LOGIT_CONTEXT)
    return Direction(
        f"tilt sign({_NAME[MODEL]} - {_NAME[of]})",
        f"tilt by sign(p - {_TEXT[of]})",
        rf"\nabla\,\mathrm{{sign}}(p - {_LATEX[of]})",
        "tilt",
        RowFunction(rows.sign_rows, (of,)),
        (of,),
    )


def nowhere() -> Direction:
    """Nowhere: d = p. Mass leaves every token in proportion; the target's sum is below 1 (z-loss)."""
    return Direction("nowhere", "nowhere", r"\emptyset", "nowhere", None)


def _check_model(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise QTargetError(f"the model must be one of {', '.join(known)}, not {name!r:.60}.")
