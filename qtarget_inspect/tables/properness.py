"""The properness table: what every registered loss teaches when labels are drawn from one q*."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from qtarget_inspect.analysis.population.setting import check_distribution
from qtarget_inspect.analysis.population.summary import Q_STAR, example_models, learned_by
from qtarget_inspect.analysis.population.view import FixedPoints
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.variants import PAPER_VARIANTS, Variant, variants
from qtarget_inspect.variants.variant import CATEGORIES

COLUMNS = (
    "method",
    "category",
    "verdict",
    "learned",
    "p",
    "total_variation",
    "stable_points",
    "note",
)

NOT_DEFINED = "not defined"


def properness_table(q_star: Any = None, kind: str = "all", **context: Any) -> pd.DataFrame:
    """What every registered loss teaches a population: its verdict and the distribution learned, computed now.

        dz/dt = -E_{y~q*}[g],  followed to its end by `fixed_points`

    Unlike `unification_table`, which is about one token's target, this is about where training goes on many labels.

    Args:
        q_star: [V] distribution of the labels; default [0.5, 0.3, 0.2].
        kind: "all", "paper" (the sixteen rows of arXiv 2606.11189), or a category.
        **context: as `fixed_points` takes it. By default the reference is proportional to 2, 3, ..., V + 1, the
            teacher to 2, V + 1, V, ..., 3.

    Returns:
        A row a method: method (with its parameters), category, verdict (that of `fixed_points`, or "not defined"),
        learned (the stable point that most starts reach, in words: a closed form only where it holds for other q* as
        well), p (that point, a list), total_variation (between it and q*, NaN where there is none), stable_points, note
        (the reason, or why there is no verdict). `attrs` holds q_star, reference and teacher.

    Raises:
        QTargetError: `kind` is none of the above, or `q_star` no distribution.

    Examples:
        >>> import qtarget_inspect as qt
        >>> table = qt.properness_table(kind="one-hot")
        >>> table[["method", "verdict", "learned", "stable_points"]].values.tolist()
        [['sft', 'proper', 'q*', 1]]
    """
    if kind not in ("all", "paper", *CATEGORIES):
        raise QTargetError(f"kind must be one of all, paper, {', '.join(CATEGORIES)}, not {kind!r}.")
    probabilities = check_distribution("q_star", Q_STAR if q_star is None else q_star)
    given = {**example_models(probabilities.numel()), **context}
    rows = [_row(variant, probabilities, given) for variant in variants().values() if _is_of(variant, kind)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"p": object, "stable_points": "Int64"})
    frame.attrs = {"kind": kind, "q_star": probabilities.tolist()} | {
        name.removesuffix("_logits"): torch.as_tensor(given[name]).double().softmax(-1).tolist()
        for name in ("reference_logits", "teacher_logits")
    }
    return frame


def _is_of(variant: Variant, kind: str) -> bool:
    return kind == "all" or (kind == "paper" and variant in PAPER_VARIANTS) or variant.category == kind


def _row(variant: Variant, q_star: torch.Tensor, context: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"method": variant.label, "category": variant.category}
    try:
        learned = learned_by(variant, q_star, context)
        found = learned.found
    except QTargetError as error:  # one loss without a population view does not take the table with it
        return {**row, "verdict": NOT_DEFINED, "learned": "-", "note": str(error)}
    except Exception as error:  # nor does a plug-in that fails
        note = f"could not be computed: {type(error).__name__}: {error}"
        return {**row, "verdict": NOT_DEFINED, "learned": "-", "note": note}
    return {
        **row,
        "verdict": found.verdict,
        "learned": learned.words,
        "p": found.learned.tolist() if found.learned is not None else None,
        "total_variation": found.total_variation,
        "stable_points": len(found.stable),
        "note": _note(found),
    }


def _note(found: FixedPoints) -> str:
    return "; ".join([found.reason, *found.notes])
