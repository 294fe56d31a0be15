"""Records: what `measure` returns, the numbers of every loss on every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.vocabulary.pulls import PullGauge

NUMBERS = (
    "gamma",
    "mass",
    "negative_mass",
    "signed",
    "q_label",
    "p_label",
    "total_variation",
    "kl_to_model",
    "residual_entropy",
    "target_entropy",
    "model_entropy",
)
"""The numbers of a token under a loss, in the order of the table."""


@dataclass(frozen=True)
class TopTokens:
    """The tokens that gain, or lose, most: those with the largest, or smallest, Q - p.

    Args:
        tokens: [N, k] their ids, the one that moves most first; -1 where fewer than k gain (or lose) anything.
        values: [N, k] Q - p there; 0 where there is no such token, NaN where there is no Q.
    """

    tokens: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class LossMeasurement:
    """The numbers of one loss on N tokens.

    Args:
        loss: the loss's name.
        gauge: the gauge that the numbers of Q hold in.
        values: name -> [N] float64, the names being those of `NUMBERS`.
        flags: what is special -> [N] mask; only flags that are raised somewhere.
        unexplained: [N] largest entry of Q that the pulls leave over; 0 for declared pulls.
        method: what inversion did: "closed-form" where the pulls are declared.
        reduction: what was undone, in words.
        coupled: how tokens depend on each other, None where they do not.
        gains: the tokens that gain most; None where they were not asked for.
        drops: the tokens that lose most; None where they were not asked for.
    """

    loss: str
    gauge: PullGauge
    values: dict[str, Tensor]
    flags: dict[str, Tensor]
    unexplained: Tensor
    method: str
    reduction: str
    coupled: str | None = None
    gains: TopTokens | None = None
    drops: TopTokens | None = None

    def __getitem__(self, name: str) -> Tensor:
        """[N] the numbers of that name."""
        if name not in self.values:
            raise QTargetError(f"{name!r} is no number of a token; there are {', '.join(self.values)}.")
        return self.values[name]

    def __repr__(self) -> str:
        """Loss, gauge and how many tokens."""
        return f"LossMeasurement({self.loss}, {self.gauge} gauge, N={len(self.unexplained)})"


@dataclass(frozen=True, eq=False, repr=False)
class Measurement:
    """The numbers of several losses on the same N tokens.

    Args:
        losses: one record a loss, in the order they were given.
        labels: [N] the observed tokens.
        tokens: N texts of the labels, None where they are not known.

    Examples:
        >>> import qtarget_inspect as qt
        >>> found = qt.measure(["sft", "dft"], qt.probe_batch(4))
        >>> found
        Measurement(sft, dft; N=4)
        >>> found["dft"].gauge, len(found.table())
        ('unit', 8)
    """

    losses: tuple[LossMeasurement, ...]
    labels: Tensor
    tokens: tuple[str, ...] | None = field(default=None)

    def __len__(self) -> int:
        """Number of losses."""
        return len(self.losses)

    def __iter__(self) -> Iterator[LossMeasurement]:
        """The records, a loss each."""
        return iter(self.losses)

    def __repr__(self) -> str:
        """The losses and how many tokens."""
        return f"Measurement({', '.join(one.loss for one in self.losses)}; N={len(self.labels)})"

    def __getitem__(self, loss: str | int) -> LossMeasurement:
        """The record of a loss: by its place in the list, its name with parameters, or its name alone."""
        if isinstance(loss, int):
            return self.losses[loss]
        found = [one for one in self.losses if one.loss == loss]
        found = found or [one for one in self.losses if one.loss.partition("(")[0] == loss]
        if len(found) == 1:
            return found[0]
        names = ", ".join(one.loss for one in self.losses)
        many = f"{len(found)} losses are named {loss!r}" if found else f"no loss measured is named {loss!r}"
        raise QTargetError(f"{many}; there are {names}. Give the full name or the place in the list, e.g. [0].")

    def table(self) -> pd.DataFrame:
        """All numbers as one table, a row a (loss, token).

        Returns:
            Columns loss, token (its place in the batch), text (where it is known), label, gauge, then the numbers:
            gamma, mass, negative_mass, signed, q_label, p_label, total_variation, kl_to_model, residual_entropy,
            target_entropy, model_entropy; flags (in words, "" where there are none); and, where top tokens were asked
            for, gains, gain_values, drops, drop_values, each a list.
        """
        return pd.concat([self._rows(one) for one in self.losses], ignore_index=True)

    def _rows(self, one: LossMeasurement) -> pd.DataFrame:
        size = len(self.labels)
        columns: dict[str, object] = {"loss": [one.loss] * size, "token": range(size)}
        if self.tokens is not None:
            columns["text"] = self.tokens
        columns |= {"label": self.labels.cpu().numpy(), "gauge": [one.gauge] * size}
        columns |= {name: one.values[name].cpu().numpy() for name in NUMBERS}
        words = [""] * size
        for flag, mask in one.flags.items():
            for row in mask.nonzero().flatten().tolist():
                words[row] = f"{words[row]}; {flag}" if words[row] else flag
        columns["flags"] = words
        for name, top in (("gain", one.gains), ("drop", one.drops)):
            if top is not None:
                kept = [ids >= 0 for ids in top.tokens.cpu()]
                columns[f"{name}s"] = [ids[keep].tolist() for ids, keep in zip(top.tokens.cpu(), kept, strict=True)]
                values = top.values.cpu()
                columns[f"{name}_values"] = [one[keep].tolist() for one, keep in zip(values, kept, strict=True)]
        return pd.DataFrame(columns)


def joined(parts: Sequence[LossMeasurement]) -> LossMeasurement:
    """Records of one loss on consecutive tokens as one.

    Args:
        parts: the records, all in one gauge.

    Returns:
        The record of all tokens.
    """
    flags = {
        flag: torch.cat([part.flags.get(flag, torch.zeros_like(part.unexplained, dtype=torch.bool)) for part in parts])
        for flag in dict.fromkeys(flag for part in parts for flag in part.flags)
    }
    tops = [[top for part in parts if (top := getattr(part, side)) is not None] for side in ("gains", "drops")]
    return replace(
        parts[0],
        values={name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values},
        flags=flags,
        unexplained=torch.cat([part.unexplained for part in parts]),
        gains=joined_top(tops[0]) if tops[0] else None,
        drops=joined_top(tops[1]) if tops[1] else None,
    )


def joined_top(parts: Sequence[TopTokens]) -> TopTokens:
    """Top tokens of several pieces as those of all of them."""
    return TopTokens(torch.cat([part.tokens for part in parts]), torch.cat([part.values for part in parts]))


def in_float64(values: Tensor) -> Tensor:
    """The values in the type that results have."""
    return values.to(torch.float64)
