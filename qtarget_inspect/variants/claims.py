"""Claims: what a paper says a loss teaches, as a callable that is independent of the declared pulls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.numerics import one_hot
from qtarget_inspect.core.state import State

ClaimGauge = Literal["unit", "normalized", "both"]


@dataclass(frozen=True)
class Claim:
    """What is claimed about a loss: Q = gamma onehot(y) + (1 - gamma) residual, in a gauge.

    Args:
        gauge: the gauge in which the claim is meant: "unit", "normalized", or "both".
        gamma_text: claimed label trust in plain text.
        gamma_latex: the same in LaTeX.
        residual_text: claimed residual in plain text, "-" where there is none.
        residual_latex: the same in LaTeX.
        gamma: function of a state to [N]; None where the claim gives no formula (then each token gets the gamma that
            suits the claim best).
        residual: function of a state to [N, V]; None where no residual is claimed (gamma = 1).
        remainder: function of a state to [N, V], Q - gamma onehot(y), for claims with gamma = 1 whose remainder is not
            zero.
        differs_from: the context model that must differ from the model for the residual to say something.
    """

    gauge: ClaimGauge
    gamma_text: str
    gamma_latex: str
    residual_text: str
    residual_latex: str
    gamma: Callable[[State], Tensor] | None = field(repr=False)
    residual: Callable[[State], Tensor] | None = field(default=None, repr=False)
    remainder: Callable[[State], Tensor] | None = field(default=None, repr=False)
    differs_from: str | None = None

    def target(self, state: State, q: Tensor) -> Tensor:
        """The claimed Q.

        Args:
            state: the whole batch.
            q: [N, V] the induced target. It is used only where the claim leaves gamma open: then the gamma is taken
                that suits the claim best, by least squares over the tokens other than the label.

        Returns:
            [N, V] claimed Q.
        """
        label = one_hot(state.labels, state.p)
        residual = self.residual(state) if self.residual is not None else torch.zeros_like(label)
        gamma = self.gamma(state) if self.gamma is not None else _best_gamma(q, residual, state.labels)
        if self.remainder is not None:
            return gamma.unsqueeze(-1) * label + self.remainder(state)
        return gamma.unsqueeze(-1) * label + (1 - gamma).unsqueeze(-1) * residual


def _best_gamma(q: Tensor, residual: Tensor, labels: Tensor) -> Tensor:
    """[N] the gamma for which (1 - gamma) residual fits Q best off the label."""
    off = 1 - one_hot(labels, q)
    return 1 - (q * residual * off).sum(-1) / (residual.square() * off).sum(-1)
