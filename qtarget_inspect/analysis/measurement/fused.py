"""Fused: the sums of a piece in one loop made by torch.compile, where one pass of an operator each would take longer.

A first piece is read operator by operator and shows which sums the losses ask for. For the others all softmaxes lie in
scratch at once, and one loop over the vocabulary reads them and writes nothing but numbers of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from qtarget_inspect.analysis.measurement.effective import Effective
from qtarget_inspect.analysis.measurement.sources import SELF, Exponents
from qtarget_inspect.core.compiling import compile_apart

LONGEST_BLOCK = 4096
"""Sums of more numbers than this are added up block by block, as the compiler would do at some cost."""

Step = Callable[[list[Tensor], list[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Sums:
    """Which sums one pass gives. Sources and logits are numbered as in `sources` and `logits`; 0 is p.

    Args:
        vocabulary: V.
        sources: the distributions, SELF first; the uniform is not among them.
        logits: the models whose logits are averaged.
        means: (source, logits) pairs of which sum b z is wanted.
        distances: sources of the losses that are one scaled source, None for the uniform: sum |p - w b|.
        mixtures: for each other loss its sources: sum |p - q|, sum q, sum of the negative part, largest |q|, for
            q = share p + sum w b.
        with_logs: for each mixture, whether sum q log q and sum q z of the positive part are wanted too.
    """

    vocabulary: int
    sources: tuple[Exponents, ...]
    logits: tuple[str, ...]
    means: tuple[tuple[int, int], ...]
    distances: tuple[int | None, ...]
    mixtures: tuple[tuple[int, ...], ...]
    with_logs: tuple[bool, ...]


def step_of(sums: Sums) -> Step:
    """The pass as a function of the arrays, to be compiled.

    Args:
        sums: which sums.

    Returns:
        (sources [n, V], logits [n, V], weights [n, W]) -> [m, n] numbers: means, distances, then four or six a mixture.
    """
    block = _block(sums.vocabulary)

    def total(values: Tensor) -> Tensor:
        return values.unflatten(-1, (-1, block)).sum(-1).sum(-1)

    def step(b: list[Tensor], z: list[Tensor], weights: Tensor) -> Tensor:
        w = weights.split(1, -1)
        found = [total(b[source] * z[name]) for source, name in sums.means]
        place = 0
        for source in sums.distances:
            other = w[place] if source is None else w[place] * b[source]
            found.append(total((b[0] - other).abs()))
            place += 1
        for mixture, with_logs in zip(sums.mixtures, sums.with_logs, strict=True):
            q = w[place] * b[0]
            for offset, source in enumerate(mixture, 1):
                q = q + w[place + offset] * b[source]
            place += 1 + len(mixture)
            negative = total(q.clamp(max=0.0))
            found += [total((b[0] - q).abs()), total(q), negative, q.abs().amax(-1)]
            if with_logs:
                positive = q.clamp(min=0.0)
                found += [total(torch.special.xlogy(positive, positive)), total(positive * z[0])]
        return torch.stack(found)

    return step


def _block(vocabulary: int) -> int:
    """The largest divisor of V that one sum may run over; V itself where there is no sizeable one."""
    found = max(size for size in range(1, LONGEST_BLOCK + 1) if vocabulary % size == 0)
    return found if found >= 128 else vocabulary


def weights_of(
    sums: Sums, one_source: Sequence[Tensor], mixed: Sequence[Effective], rows: int, dtype: torch.dtype
) -> Tensor:
    """The weights [n, W] in the order that the pass takes them.

    Args:
        sums: which sums.
        one_source: w of each distance.
        mixed: the effective weights of each mixture.
        rows: n.
        dtype: the type wanted.

    Returns:
        The weights.
    """
    found = [
        weight / sums.vocabulary if source is None else weight
        for source, weight in zip(sums.distances, one_source, strict=True)
    ]
    for effective, mixture in zip(mixed, sums.mixtures, strict=True):
        found.append(effective.others_share)
        found += [effective.sources[sums.sources[source]] for source in mixture]
    return torch.stack([weight.expand(rows) for weight in found], -1).to(dtype)


def sources_of(keys: Sequence[Exponents]) -> tuple[Exponents, ...]:
    """The sources in order, p first, the uniform left out.

    Args:
        keys: all that are pulled to.

    Returns:
        The sources.
    """
    return (SELF, *(key for key in dict.fromkeys(keys) if key and key != SELF))


@lru_cache(maxsize=16)
def compiled_step(sums: Sums, dtype: torch.dtype, device: torch.device) -> Step:
    """The compiled pass, kept for later calls that want the same sums.

    Args:
        sums: which sums.
        dtype: type of the arrays.
        device: where they lie.

    Returns:
        The pass.
    """
    return compile_apart(step_of(sums))
