"""The unification table: every method's claim recomputed from its loss and checked."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pandas as pd
import torch

from qtarget_inspect.analysis.decomposition import Decomposition, decompose
from qtarget_inspect.analysis.verification import Verification, verify
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.core.tolerances import rounding, row_size
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.tables import notes
from qtarget_inspect.variants import PAPER_VARIANTS, Variant, variants

TableKind = Literal["paper", "label-trust", "residual", "all"]

COLUMNS = (
    "method",
    "category",
    "loss",
    "claimed_gamma",
    "claimed_residual",
    "gauge",
    "holds",
    "max_error",
    "gamma_min",
    "gamma_max",
    "mass_error",
    "min_q",
    "signed",
    "reference",
    "note",
)

NO_CLAIM = "no claim"
"""How the note of a row begins whose variant claims nothing."""

_SETS_GAMMA = ("one-hot", "label trust", "both")
_SETS_RESIDUAL = ("residual distribution", "both")


def unification_table(
    kind: TableKind = "paper", batch: TokenBatch | None = None, dtype: torch.dtype = torch.float64
) -> pd.DataFrame:
    """The unification table of arXiv 2606.11189, each row recomputed from its loss and checked against its claim.

    Every loss is differentiated, never its own closed form. The claim is held against Q in both gauges; `gauge` says
    where it holds, and what stands to its right is read in that gauge (unit where both hold).

    Args:
        kind: "paper" (sixteen rows), "label-trust" (the methods that set gamma), "residual" (those that set the
            residual), or "all" registered variants.
        batch: the states to check on; default `probe_batch()`: 512 states, p_y from 1e-8 to 1 - 1e-8.
        dtype: type to compute in; claims hold up to 1e-10 in float64, 1e-5 in float32.

    Returns:
        A row a method: method, category (the paper's), loss, claimed_gamma, claimed_residual, gauge, holds, max_error
        (of Q), gamma_min, gamma_max, mass_error (largest |sum Q - 1|), min_q, signed (whether Q has negative entries),
        reference, note. `holds` is None where there is nothing to check, and the note says why; where nothing is
        claimed, it says what inversion finds. gamma_min and gamma_max are NaN where no known pulls explain Q. `attrs`
        holds the number of states and the dtype.

    Raises:
        QTargetError: `kind` is none of the above.

    Examples:
        >>> import qtarget_inspect as qt
        >>> table = qt.unification_table("label-trust")
        >>> table.loc[table.method == "DFT", ["gauge", "holds", "signed"]].values.tolist()
        [['unit', True, False]]
    """
    if kind not in get_args(TableKind):
        raise QTargetError(f"kind must be one of {', '.join(get_args(TableKind))}, not {kind!r}.")
    states = (batch if batch is not None else probe_batch()).to(dtype)
    rows: list[dict[str, Any]] = []
    checked: list[tuple[int, Verification]] = []
    unclaimed: dict[str, dict[str, str]] = {}
    for variant in _rows_of(kind):
        missing = [name for name in variant.context if getattr(states, name) is None]
        if missing:
            rows.append({**_static(variant), "note": f"not checked: the batch has no {', '.join(missing)}"})
            continue
        try:
            if variant.claim is None:
                row, unclaimed[variant.title] = _row_without_claim(variant, states, dtype)
                rows.append(row)
            else:
                verification = verify(variant, states, dtype)
                rows.append(_row(verification))
                checked.append((len(rows) - 1, verification))
        except QTargetError as error:  # one bad plug-in does not take the table with it
            rows.append({**_static(variant), "note": f"could not be computed: {error}"})
    notes.add_twins(rows, checked)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"holds": object, "signed": object})
    frame.attrs = {
        "kind": kind,
        "states": len(states),
        "vocabulary": states.vocabulary,
        "dtype": str(dtype).removeprefix("torch."),
        "found": {
            verification.variant.title: notes.found_words(verification.variant)
            for _, verification in checked
            if verification.holds is False and verification.variant.pulls is not None
        },
        "unclaimed": unclaimed,
        "latex": {variant.title: _latex(variant) for variant in _rows_of(kind)},
    }
    return frame


def verdict(table: pd.DataFrame) -> str:
    """The table's verdict in a sentence, counted from its rows.

    Args:
        table: what `unification_table` returned.

    Returns:
        "16 rows: 15 hold, 1 does not. ..."
    """
    held, failed = int((table["holds"] == True).sum()), int((table["holds"] == False).sum())  # noqa: E712
    unclaimed = int(table["note"].str.startswith(NO_CLAIM).sum())
    unchecked = len(table) - held - failed - unclaimed
    parts = [f"{held} hold{'s' if held == 1 else ''}", f"{failed} {'does' if failed == 1 else 'do'} not"]
    if unclaimed:
        parts.append(f"{unclaimed} claim{'s' if unclaimed == 1 else ''} nothing (gamma and residual are as found)")
    if unchecked:
        parts.append(f"{unchecked} cannot be told on these states")
    return (
        f"{len(table)} rows: {', '.join(parts)}. Every number above was computed now, from the losses, on "
        f"{table.attrs.get('states', '?')} states ({table.attrs.get('dtype', '?')})."
    )


def _rows_of(kind: str) -> list[Variant]:
    if kind == "all":
        return list(variants().values())
    if kind == "label-trust":
        return [variant for variant in PAPER_VARIANTS if variant.category in _SETS_GAMMA]
    if kind == "residual":
        return [variant for variant in PAPER_VARIANTS if variant.category in _SETS_RESIDUAL]
    return list(PAPER_VARIANTS)


def _static(variant: Variant) -> dict[str, Any]:
    claim = variant.claim
    return {
        "method": variant.title,
        "category": variant.category,
        "loss": variant.formula,
        "claimed_gamma": claim.gamma_text if claim else "-",
        "claimed_residual": claim.residual_text if claim else "-",
        "reference": variant.reference,
        "holds": None,
        "note": "",
    }


def _latex(variant: Variant) -> dict[str, str]:
    claim = variant.claim
    return {
        "loss": variant.latex or variant.formula,
        "claimed_gamma": claim.gamma_latex if claim else "-",
        "claimed_residual": claim.residual_latex if claim else "-",
    }


def _row(verification: Verification) -> dict[str, Any]:
    reading, check = verification.reading, verification.check
    return {
        **_static(verification.variant),
        "gauge": verification.gauge,
        "holds": verification.holds,
        "max_error": check.max_error,
        **_numbers(reading),
        "note": notes.note(verification),
    }


def _row_without_claim(
    variant: Variant, states: TokenBatch, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, str]]:
    """What inversion finds where nothing is claimed: the row, and gamma and residual in words."""
    target = invert(variant, states, method="torch.func", dtype=dtype)
    reading = decompose(target, gauge="natural")
    parts = [f"{NO_CLAIM}; found: {notes.found(variant, reading)}"]
    if variant.twin_of:
        parts.append(f"{variant.twin_of} under another name")
    if variant.coupling:
        parts.append(f"tokens are coupled by {variant.coupling}")
    numbers = _numbers(reading)
    if not notes.explained(variant, reading):
        numbers |= dict.fromkeys(("gamma_min", "gamma_max"), float("nan"))  # weights of a fit that does not fit
    row = {**_static(variant), "gauge": reading.gauge, **numbers, "note": "; ".join(parts)}
    return row, notes.words_of(variant, reading)


def _numbers(reading: Decomposition) -> dict[str, Any]:
    """Ranges over the tokens on which the gauge is defined; NaN where there is none."""
    defined = torch.isfinite(reading.gamma)
    if not bool(defined.any()):
        return dict.fromkeys(("gamma_min", "gamma_max", "mass_error", "min_q"), float("nan"))
    gamma, q = reading.gamma[defined], reading.q[defined]
    return {
        "gamma_min": float(gamma.min()),
        "gamma_max": float(gamma.max()),
        "mass_error": float((q.sum(-1) - 1).abs().max()),
        "min_q": float(q.min()),
        "signed": bool((q.amin(-1) < -rounding(q.dtype) * row_size(q)).any()),
    }
