"""Declared loss: one loss of a measurement, its directions sorted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qtarget_inspect.analysis.measurement.effective import Parts
from qtarget_inspect.analysis.measurement.law_state import LawState
from qtarget_inspect.variants import Variant
from qtarget_inspect.vocabulary.pulls import PullGauge, Pulls


@dataclass(frozen=True)
class DeclaredLoss:
    """One loss of the run.

    Args:
        place: where it stands in the list.
        variant: the variant.
        parts: its directions, sorted.
        gauge: the gauge that it is to be read in; None where the first piece decides.
        fixed: name -> [N] weights that are known before rows are read, or [1] constant ones; None where they follow
            from the rows.
    """

    place: int
    variant: Variant
    parts: Parts
    gauge: PullGauge | None
    fixed: dict[str, Tensor] | None

    @property
    def pulls(self) -> Pulls:
        """Its pulls."""
        return self.parts.pulls

    @property
    def is_constant(self) -> bool:
        """Whether all tokens have the same effective weights."""
        return (
            self.fixed is not None
            and not self.parts.without_label
            and all(w.shape[0] == 1 for w in self.fixed.values())
        )

    def weights_of(self, rows: slice, state: LawState) -> dict[str, Tensor]:
        """[n] or [1] weights of some rows."""
        if self.fixed is None:
            return self.pulls.weights(state)
        return {name: weight if weight.shape[0] == 1 else weight[rows] for name, weight in self.fixed.items()}
