"""Equivalence: whether two losses have the same gradient, the same up to a factor, or different ones, and where."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.analysis.equivalence_states import states_to_try
from qtarget_inspect.analysis.equivalence_text import describe_equivalence
from qtarget_inspect.analysis.gradient_rows import RowComparison, compare_gradient_rows
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.analysis.step_laws import FEWEST_ROWS, label_law, power_law, quantities
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError, ReductionError
from qtarget_inspect.core.state import State
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget

Relation = Literal["same", "constant factor", "per-token factor", "different"]

Declared = str | float
"""A declared reduction, as `invert` takes it."""

WHICH = ("loss_a", "loss_b")
"""How messages call the two."""

WIDTH = 120
"""Columns of the plain text."""

TOP_ENTRIES = 4
"""How many entries of both targets a state of difference names."""


@dataclass(frozen=True)
class StateOfDifference:
    """The state on which two losses differ most.

    Args:
        batch: which batch, in words.
        token: its row there.
        label: the observed token.
        vocabulary: V.
        p_label: p_y.
        entropy: of the model, nats.
        difference: largest |g_a - g_b| there.
        top: (token, p, Q_a, Q_b) where the two targets differ most, the label first.
    """

    batch: str
    token: int
    label: int
    vocabulary: int
    p_label: float
    entropy: float
    difference: float
    top: tuple[tuple[int, float, float, float], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Equivalence:
    """What comparing the gradients of two losses showed. True where they are the same on all states tried.

    Args:
        loss_a: name of the first loss.
        loss_b: name of the second.
        relation: "same", "constant factor" (of either sign), "per-token factor" (positive or zero), or "different".
        factor: c of g_a = c g_b: 1, the constant, or (smallest, largest) over the states where the second has a
            gradient, inf where only the first has one; None where no factor relates them.
        factors: [N] the factor of each state; NaN where neither has a gradient, and where the rows are not on a line.
        law: what the factor is where both have a gradient, in words; None where that is not known.
        max_error: what is left of the difference under that relation: the largest |g_a - factor g_b|.
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
    relation, constant = _relation(whole)
    factors = np.where(whole.aligned & (whole.alive_a | whole.alive_b), whole.ratio, np.nan)
    a, b = pairs[0]
    names = (a.loss, b.loss) if a.loss != b.loss else (f"{a.loss} (first)", f"{b.loss} (second)")
    return Equivalence(
        *names,
        relation,
        _factor(relation, constant, whole),
        factors,
        _law(relation, rows, [part for _, part in batches]),
        _max_error(relation, constant, whole),
        len(whole.ratio),
        tuple(text for text, _ in batches),
        _worst(relation, whole, batches, pairs),
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


def _relation(rows: RowComparison) -> tuple[Relation, float]:
    """The simplest relation that holds on every row, and the factor of a constant one."""
    if bool(rows.equal.all()):
        return "same", 1.0
    if not bool(rows.aligned.all()):
        return "different", float("nan")
    constant = float(rows.ratio[rows.surest])
    if _is_constant(constant, rows):
        return "constant factor", constant
    if not bool(rows.alive_a.any()) or not bool(rows.alive_b.any()) or bool(_opposite(rows).any()):
        return "different", float("nan")
    return "per-token factor", float("nan")


def _is_constant(constant: float, rows: RowComparison) -> bool:
    """Whether aligned rows have one factor. Rows that are not sure are rounding beside the others, whatever theirs."""
    sure = rows.sure
    if constant == 0 or not np.isfinite(constant) or not bool(sure.any()) or bool((rows.only_a | rows.only_b).any()):
        return False
    return bool((np.abs(rows.ratio - constant)[sure] <= rows.slack[sure] + rows.slack[rows.surest]).all())


def _opposite(rows: RowComparison) -> np.ndarray:
    """[N] bool, rows on one line but in opposite directions."""
    return rows.aligned & rows.sure & (rows.ratio < -rows.slack)


def _factor(relation: Relation, constant: float, rows: RowComparison) -> float | tuple[float, float] | None:
    if relation in ("same", "constant factor"):
        return constant
    if not bool(rows.aligned.all()) or not bool(rows.sure.any()):
        return None
    known = rows.ratio[rows.sure]
    return float(known.min()), float("inf") if bool(rows.only_a.any()) else float(known.max())


def _law(relation: Relation, rows: Sequence[RowComparison], batches: Sequence[TokenBatch]) -> str | None:
    """What the factor depends on where both have a gradient, looked for if all rows lie on one line."""
    if relation in ("same", "constant factor") or not all(bool(part.aligned.all()) for part in rows):
        return None
    sure = [part.sure & ~part.only_b for part in rows]
    if not any(bool(part.any()) for part in sure):
        return None
    known = [quantities(part) for part in batches]
    shared = [name for name in known[0] if all(name in one for one in known)]
    factor = [part.ratio[ok] for part, ok in zip(rows, sure, strict=True)]
    slack = [part.slack[ok] for part, ok in zip(rows, sure, strict=True)]
    candidates = {name: np.concatenate([one[name][ok] for one, ok in zip(known, sure, strict=True)]) for name in shared}
    law = power_law(np.concatenate(factor), np.concatenate(slack), candidates)
    if law is not None or len({part.vocabulary for part in batches}) > 1:
        return law
    labels = [part.labels.cpu().numpy()[ok] for part, ok in zip(batches, sure, strict=True)]
    by_label = label_law(factor, slack, labels)
    return None if by_label is None else _labels_in_words(by_label)


def _labels_in_words(by_label: dict[int, float]) -> str:
    """The commonest factor, and the labels that have another."""
    values = [f"{value:.4g}" for value in by_label.values()]
    common = max(set(values), key=values.count)
    odd = [f"{value} at label {label}" for label, value in zip(by_label, values, strict=True) if value != common]
    if len(odd) > 3:
        return f"a number for each label ({odd[0]}, {odd[1]}, ...)"
    return f"a number for each label ({', '.join(odd)}, {common} at the others)"


def _max_error(relation: Relation, constant: float, rows: RowComparison) -> float:
    if relation == "per-token factor":
        return float(rows.remainder.max())
    if relation != "constant factor":
        return float(rows.difference.max())
    sure = rows.sure
    off = np.abs(rows.ratio - constant)[sure] * rows.size_b[sure]
    return float(max(off.max(), rows.remainder.max()))


def _worst(
    relation: Relation,
    rows: RowComparison,
    batches: Sequence[tuple[str, TokenBatch]],
    pairs: Sequence[tuple[InducedTarget, InducedTarget]],
) -> StateOfDifference:
    """The state where the gradients differ most; for different directions, among those where they do."""
    bent = ~rows.aligned if relation == "different" and not bool(rows.aligned.all()) else np.ones_like(rows.aligned)
    row = int(np.argmax(np.where(bent, rows.difference, -1.0)))
    difference = float(rows.difference[row])
    number = 0
    while row >= len(batches[number][1]):
        row -= len(batches[number][1])
        number += 1
    text, batch = batches[number]
    a, b = pairs[number]
    state = State(batch.select(row))
    apart = (a.g[row] - b.g[row]).abs()
    label = int(batch.labels[row])
    apart[label] = torch.inf
    shown = apart.topk(min(TOP_ENTRIES, batch.vocabulary)).indices.tolist()
    p = state.p[0]
    top = tuple((k, float(p[k]), float(a.q[row, k]), float(b.q[row, k])) for k in shown)
    p_label, entropy = float(state.p_label[0]), float(state.entropy[0])
    return StateOfDifference(text, row, label, batch.vocabulary, p_label, entropy, difference, top)


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
