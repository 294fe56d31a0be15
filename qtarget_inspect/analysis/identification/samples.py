"""Samples of a pull weight: its values on all states, their uncertainty, and the quantities that may explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qtarget_inspect.core.state import State
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.quantities import Quantity

CONFIDENCE = 8.0
"""A law may be off by this many times the rounding that is expected of it."""

FEW_TOKENS = 8
"""Fewer tokens than this, held back or fitted to, bear out no law."""


@dataclass(frozen=True, eq=False)
class Samples:
    """A weight on N tokens of several batches.

    Args:
        states: the batches' states, in order.
        values: [N] the weight.
        sigma: [N] what the rounding of g may move it by; inf where it is undetermined.
        held: [N] bool, tokens that a law has to predict rather than be fitted to.
        eps: rounding of the loss's arithmetic.
        smallest: numbers below this are 0 to the loss.
        use: [N] bool, tokens that count.
    """

    states: tuple[State, ...]
    values: np.ndarray
    sigma: np.ndarray
    held: np.ndarray
    eps: float
    smallest: float
    use: np.ndarray
    _logs: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def only(self, mask: np.ndarray) -> Samples:
        """The samples with fewer tokens that count."""
        return Samples(
            self.states,
            self.values,
            self.sigma,
            self.held,
            self.eps,
            self.smallest,
            self.use & mask,
            self._logs,
        )

    def with_values(self, values: np.ndarray, sigma: np.ndarray) -> Samples:
        """The samples of another weight of the same tokens; those on which it is undetermined do not count."""
        use = self.use & np.isfinite(sigma) & np.isfinite(values)
        return Samples(self.states, values, sigma, self.held, self.eps, self.smallest, use, self._logs)

    @property
    def fitted(self) -> np.ndarray:
        """[N] bool, tokens that laws are fitted to."""
        return self.use & ~self.held

    @property
    def enough(self) -> bool:
        """Whether there are tokens enough to fit a law to, and to bear it out."""
        return int(self.fitted.sum()) >= FEW_TOKENS and int((self.use & self.held).sum()) >= FEW_TOKENS

    def evaluate(self, law: Law) -> np.ndarray:
        """[N] a law on the states."""
        return np.concatenate([law(state).numpy() for state in self.states])

    def log(self, quantity: Quantity) -> np.ndarray:
        """[N] logarithm of a quantity."""
        return self._read(quantity)[0]

    def noise(self, quantity: Quantity) -> np.ndarray:
        """[N] rounding of a quantity in units of the machine precision."""
        return self._read(quantity)[1]

    def put(self, quantity: Quantity, log: np.ndarray, noise: np.ndarray) -> None:
        """Keep a quantity that was read elsewhere, [N] logarithms and [N] rounding."""
        self._logs[quantity.text] = log, noise

    def _read(self, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
        if quantity.text not in self._logs:
            with np.errstate(all="ignore"):
                logs = np.concatenate([quantity.log(state).numpy() for state in self.states])
                noise = np.concatenate([quantity.noise(state).numpy() for state in self.states])
            self._logs[quantity.text] = logs, noise
        return self._logs[quantity.text]

    def allowed(self, size: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """[N] by how much a law may be off.

        Args:
            size: [N] size of the law's terms.
            noise: [N] their rounding, in units of the machine precision, relative to `size`.

        Returns:
            [N] tolerances.
        """
        return CONFIDENCE * (self.sigma + self.eps * (8 + noise) * size) + self.smallest

    def excess(self, predicted: np.ndarray, allowed: np.ndarray, mask: np.ndarray) -> float:
        """Largest error of a prediction over some tokens, in units of what is allowed; inf where it is undefined."""
        error = np.abs(self.values - predicted)[mask] / allowed[mask]
        return float(np.nan_to_num(error, nan=np.inf).max()) if error.size else 0.0


def join_samples(states: Sequence[State], held: np.ndarray, eps: float) -> Samples:
    """Samples on the states of several batches, of no weight yet; `with_values` gives them one.

    Args:
        states: the states.
        held: [N] which tokens are held back.
        eps: rounding of the loss's arithmetic.

    Returns:
        The samples; what is read of the states is shared by all that are made of them.
    """
    smallest = 1e-300 if eps < 1e-12 else 1e-36
    nothing = np.zeros(len(held))
    return Samples(tuple(states), nothing, nothing, held, eps, smallest, np.ones(len(held), dtype=bool))
