"""Equivalence: whether two losses have the same gradient, the same up to a factor, or different ones, and where."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.analysis.equivalence_relation import Relation, error_under, factor_of, law_of, relation_of
from qtarget_inspect.analysis.equivalence_states import StateOfDifference, state_of_difference, states_to_try
from qtarget_inspect.analysis.equivalence_text import describe_equivalence
from qtarget_inspect.analysis.gradient_rows import RowComparison, compare_gradient_rows
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.analysis.step_laws import FEWEST_ROWS
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError, ReductionError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget

Declared = str | float
"""A declared reduction, as `invert` takes it."""

WHICH = ("loss_a", "loss_b")
"""How messages call the two."""

WIDTH = 120
"""Columns of the plain text."""


@dataclass(frozen=True, eq=False, repr=False)
class Equivalence:
    """What comparing the gradients of two losses showed. True where they are the same on all states tried.

    Args:
        loss_a: name of the first loss.
        loss_b: name of the second.
        relation: "same", "constant factor" (of either sign), "per-token factor" (positive or zero), or "different".
        factor: c of g_a = c g_b: 1, the constant, or (smallest, largest) over the states where the second has a
            gradient, inf where only the first has one; None where no factor relates them.
        factors: [N] the factor of each state; inf where only the first has a gradient, NaN where neither has and
            where the rows are not on a line.
        law: what the factor is where both have a gradient, in words; None where that is not known.
        max_error: what is left of the difference under that relation: the largest |g_a - factor g_b|; for a per-token
            factor the smaller row is measured against the larger.
        states: N, how many states were tried.
        batches: the batches, in words.
        worst: the state on which the plain gradients differ most.
        reductions: what was undone for each loss before.
        dtype: the type whose rounding was forgiven: float32 where either loss casts to it inside.
        notes: what else to know: coupling, random numbers, zero gradients.
        rows: the comparison, row by row.
        p_label: [N] p_y of the states.
    """

    loss_a: str
    loss_b: str
    relation: Relation
    factor: float | tuple[float, float] | None
    factors: np.ndarray
    law: str | None
    max_error: float
    states: int
    batches: tuple[str, ...]
    worst: StateOfDifference
    reductions: tuple[str, str]
    dtype: torch.dtype
    notes: tuple[str, ...]
    rows: RowComparison
    p_label: np.ndarray

    def __bool__(self) -> bool:
        """Whether the gradients agree on all states tried."""
        return self.relation == "same"

    def __repr__(self) -> str:
        """The same as `text`."""
        return self.text

    @property
    def text(self) -> str:
        """The finding in plain words, in lines of at most 120 columns."""
        head, *rest = describe_equivalence(self)
        return "\n".join([textwrap.fill(head, WIDTH, subsequent_indent="    "), *map(_indented, rest)])

    def _repr_html_(self) -> str:
        head, *rest = describe_equivalence(self)
        return f"<div><b>{escape(head)}</b>{''.join(f'<div>{escape(line)}</div>' for line in rest)}</div>"

    def table(self) -> pd.DataFrame:
        """A row a state: what the factor and the difference go with.

        Returns:
            Columns p_y, factor, difference (largest |g_a - g_b|), size_a, size_b, same (truth), on_a_line (truth).
        """
        return pd.DataFrame({
            "p_y": self.p_label,
            "factor": self.factors,
            "difference": self.rows.difference,
            "size_a": self.rows.size_a,
            "size_b": self.rows.size_b,
            "same": self.rows.equal,
            "on_a_line": self.rows.aligned,
        })


def _indented(line: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ")


def equivalent(
    loss_a: Any,
    loss_b: Any,
    batch: TokenBatch | Sequence[TokenBatch] | None = None,
    *,
    reduction: Declared | tuple[Declared, Declared] = "auto",
    tolerance: float | None = None,
) -> Equivalence:
    """Are two formulas the same loss? Compare their logit gradients on many states.

        same: g_a = g_b    constant factor: g_a = c g_b    per-token factor: g_a = c_i g_b, c_i >= 0    different

    Values are not compared: two losses train alike where their gradients agree, whatever they detach (DFT and the
    p-loss). Both are differentiated in float64, never taken from a closed form, and reductions are undone first. "Same"
    means: on all states tried. `inspect` says what one loss teaches; `compare` measures how far several lie apart.

    Args:
        loss_a: a loss as `invert` takes it.
        loss_b: another.
        batch: your own states, a batch or several; default 1536 probe states in six batches (V = 32 to 128), p_y from
            1e-8 to 1 - 1e-8. Four [N, V] tensors in float64 are held a batch.
        reduction: as for `invert`, for both or one each: ("auto", "mean"). "sum" for both compares two scalars as they
            are, with nothing undone.
        tolerance: share of a gradient row that counts as rounding; default 1e-8, or 1e-4 where either loss casts to
            float32 inside.

    Returns:
        The finding: true where the relation is "same"; `.text` says it in words, with the state where they differ most.

    Raises:
        QTargetError: an argument is wrong, or one of the losses cannot be inverted; the message says which.

    Examples:
        >>> import qtarget_inspect as qt
        >>> found = qt.equivalent("dft", "p-loss")
        >>> bool(found), found.relation, found.max_error < 1e-15
        (True, 'same', True)
        >>> found = qt.equivalent("dft", "sft")
        >>> bool(found), found.relation, found.law
        (False, 'per-token factor', 'p_y')
    """
    if tolerance is not None and not (isinstance(tolerance, float) and 0 < tolerance < 1):
        raise QTargetError(f"equivalent: tolerance must lie between 0 and 1, not be {tolerance!r}; 1e-8 is usual.")
    batches = states_to_try(batch)
    declared = reduction if isinstance(reduction, tuple) else (reduction, reduction)
    if len(declared) != 2:
        raise QTargetError(f"equivalent: reduction is for both losses, or a pair, one each; not {reduction!r}.")
    losses = [_named(loss, which) for loss, which in zip((loss_a, loss_b), WHICH, strict=True)]
    dtype = _common_dtype(losses, batches[0][1])
    pairs = [_invert_both(losses, part, declared, batch is None) for _, part in batches]
    rows = [compare_gradient_rows(a.g, b.g, dtype, tolerance) for a, b in pairs]
    whole = RowComparison.concatenate(rows)
    relation, constant = relation_of(whole)
    factors = np.where(whole.aligned & (whole.alive_a | whole.alive_b), whole.ratio, np.nan)
    factors[whole.only_a] = np.inf
    a, b = pairs[0]
    names = (a.loss, b.loss) if a.loss != b.loss else (f"{a.loss} (first)", f"{b.loss} (second)")
    return Equivalence(
        *names,
        relation,
        factor_of(relation, constant, whole),
        factors,
        law_of(relation, rows, [part for _, part in batches]),
        error_under(relation, constant, whole),
        len(whole.ratio),
        tuple(text for text, _ in batches),
        state_of_difference(relation, whole, batches, pairs),
        (a.reduction.text, b.reduction.text),
        dtype,
        _notes(names, pairs, whole, dtype),
        whole,
        np.concatenate([target.p_label.cpu().numpy() for target, _ in pairs]),
    )


def _named(loss: Any, which: str) -> TokenLoss:
    """The loss to call; an error says which of the two it is."""
    try:
        return callable_loss(loss)
    except QTargetError as error:
        raise type(error)(f"equivalent: {which}: {error}") from error


def _common_dtype(losses: Sequence[TokenLoss], batch: TokenBatch) -> torch.dtype:
    kinds = {working_dtype(loss, batch) for loss in losses}
    return torch.float32 if torch.float32 in kinds else torch.float64


def _invert_both(
    losses: Sequence[TokenLoss], batch: TokenBatch, declared: Sequence[Declared], probes: bool
) -> tuple[InducedTarget, InducedTarget]:
    """Both targets on a batch; random numbers of the two differ, so that a draw is not taken for a formula."""
    found = []
    for number, (loss, own) in enumerate(zip(losses, declared, strict=True)):
        with torch.random.fork_rng(devices=[batch.logits.device] if batch.logits.is_cuda else []):
            torch.manual_seed(number)
            try:
                found.append(invert(loss, batch, reduction=own, dtype=torch.float64))
            except QTargetError as error:
                where = f"equivalent: {WHICH[number]}, on {len(batch)} tokens, V = {batch.vocabulary}"
                hint = _hint(error, probes)
                raise type(error)(f"{where}: {error}{hint}") from error
    return found[0], found[1]


def _hint(error: QTargetError, probes: bool) -> str:
    """What else can be done about an error: compare scalars as they are; try batches that the loss takes."""
    if isinstance(error, ReductionError):
        return " To compare two scalars as they are, nothing undone: reduction='sum'."
    if probes and isinstance(error, LossError) and error.__cause__ is not None:  # the loss itself raised
        return " If it fits batches of another size only, pass batch=..."
    return ""


def _notes(
    names: tuple[str, str],
    pairs: Sequence[tuple[InducedTarget, InducedTarget]],
    rows: RowComparison,
    dtype: torch.dtype,
) -> tuple[str, ...]:
    """What else bears on the finding."""
    notes = []
    for number, name in enumerate(names):
        targets = [pair[number] for pair in pairs]
        if any(note.startswith("two calls differ") for target in targets for note in target.notes):
            notes.append(
                f"{name} draws random numbers, or two calls of it differ: one draw of it was compared, and such a loss "
                "need not equal itself draw by draw. Switch the randomness off (.eval()) to compare the formula"
            )
        coupled = next((target.coupled for target in targets if target.coupled), None)
        if coupled:
            notes.append(f"{name} couples its tokens ({coupled}): compared within each batch")
    if not bool((rows.size_a > 0).any()) and not bool((rows.size_b > 0).any()):
        notes.append("neither has a gradient on any of these states, so they tell nothing apart: try others")
    elif int((rows.alive_a | rows.alive_b).sum()) < FEWEST_ROWS:
        told = int((rows.alive_a | rows.alive_b).sum())
        few = "one state has" if told == 1 else f"{told} states have"
        notes.append(f"only {few} a gradient: a factor that looks constant here may vary elsewhere")
    if all(a.q.shape[1] == 2 for a, _ in pairs):
        notes.append("with V = 2 most gradients lie on one line, whatever the loss: try a larger vocabulary")
    if dtype == torch.float32:
        notes.append("a loss casts to float32 inside: differences below 1e-4 of a gradient are taken as rounding")
    return tuple(notes)
