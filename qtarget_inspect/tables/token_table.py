"""Token table: every token of a batch under every loss, as plots of texts take it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from qtarget_inspect.analysis.decomposition import Gauge
from qtarget_inspect.analysis.measurement.procedure import measure
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import check_names_differ, is_list
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.tables.method_titles import method_titles
from qtarget_inspect.tables.shown_text import shown_labels
from qtarget_inspect.tables.telling import TokenNumbers, telling_marks
from qtarget_inspect.variants import Variant, resolve


def token_table(losses: Any, batch: TokenBatch, *, gauge: Gauge = "natural") -> pd.DataFrame:
    """What losses make of every token of a text, a row a loss and token.

    `measure` has more numbers and no texts; `target_table` is about one token and all of the vocabulary.

    Args:
        losses: a loss or a list of them, as `invert` takes them.
        batch: the tokens; with `tokens` for their texts, and with a teacher for the marks that ask for one.
        gauge: "natural" (each loss's own), "unit" or "normalized".

    Returns:
        Columns loss, method (its title), category ("" for a loss that is not registered), gauge, position (from 1),
        token (the label's text), p_label, teacher_p_label and reference_p_label (NaN without one), entropy (of p,
        nats), gamma, q_label, change (q_label - p_label), negative_mass, telling. Computed in float64. gamma is NaN
        where it is undefined, or where a fit does not explain the loss.

        telling marks tokens on which losses part ways, the same in all rows of a token, by the first rule that holds:
        rescue (teacher_p_y - p_y >= 0.3), filter (p_y and teacher_p_y <= 0.05), doubted (p_y - teacher_p_y >= 0.3),
        conflict (max p - p_y >= 0.3), signed (negative mass >= 0.1 under one of the losses); else "".

    Raises:
        QTargetError: an argument is none of the above, or two losses have one name.
        BatchError: `batch` is no TokenBatch.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> p, teacher = torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([[0.7, 0.3], [0.9, 0.1]])
        >>> batch = qt.TokenBatch(p.log(), torch.tensor([0, 0]), teacher_logits=teacher.log(), tokens=["so", " he"])
        >>> table = token_table(["sft", "dft"], batch)
        >>> table[["method", "token", "gamma", "q_label", "telling"]].round(2).values.tolist()[2:]
        [['DFT', 'so', 0.1, 0.19, 'rescue'], ['DFT', '·he', 0.8, 0.96, '']]
    """
    if not isinstance(batch, TokenBatch):
        raise BatchError(f"batch must be a TokenBatch, not {type(batch).__name__}: qt.TokenBatch(logits, labels).")
    resolved = [resolve(loss) for loss in (losses if is_list(losses) else [losses])]
    if not resolved:
        raise QTargetError("losses is empty: token_table takes a loss or a list of them. Pass e.g. ['sft', 'dft'].")
    found = list(measure(resolved, batch, gauge=gauge, dtype=torch.float64))
    variants = [loss if isinstance(loss, Variant) else None for loss in resolved]
    names = [one.loss for one in found]
    check_names_differ("token_table", names)
    titles = method_titles(names, [one.title if one else name for name, one in zip(names, variants, strict=True)])
    tokens = token_columns(batch, torch.stack([one["negative_mass"] for one in found]))
    tables = [
        loss_rows(one.loss, title, variant, one.gauge, tokens, one.values)
        for one, title, variant in zip(found, titles, variants, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def loss_rows(
    loss: str, title: str, variant: Variant | None, gauge: str, tokens: pd.DataFrame, values: dict[str, Tensor]
) -> pd.DataFrame:
    """The rows of one loss.

    Args:
        loss: its name.
        title: of its method.
        variant: the registered variant, None for other losses.
        gauge: in which its numbers hold.
        tokens: what `token_columns` returned.
        values: gamma, q_label, negative_mass, each [N].

    Returns:
        N rows, in the columns of `token_table`.
    """
    numbers = {name: values[name].cpu().numpy() for name in ("gamma", "q_label", "negative_mass")}
    category = variant.category if variant else ""
    head = tokens.drop(columns="telling").assign(loss=loss, method=title, category=category, gauge=gauge)
    rows = head.assign(**numbers, change=numbers["q_label"] - tokens["p_label"], telling=tokens["telling"])
    return rows[list(COLUMNS)]


COLUMNS = (
    "loss",
    "method",
    "category",
    "gauge",
    "position",
    "token",
    "p_label",
    "teacher_p_label",
    "reference_p_label",
    "entropy",
    "gamma",
    "q_label",
    "change",
    "negative_mass",
    "telling",
)


def token_columns(batch: TokenBatch, negative_mass: Tensor) -> pd.DataFrame:
    """What does not depend on the loss, a row a token.

    Args:
        batch: the tokens.
        negative_mass: [losses, N] negative mass under each loss that is looked at; NaN where Q is undefined.

    Returns:
        position, token, p_label, teacher_p_label, reference_p_label, entropy, telling.
    """
    state = State(batch, torch.float64)
    numbers = token_numbers(batch, negative_mass)
    return pd.DataFrame({
        "position": range(1, len(batch) + 1),
        "token": shown_labels(batch),
        "p_label": numbers.p_label.cpu().numpy(),
        "teacher_p_label": numbers.teacher_p_label.cpu().numpy(),
        "reference_p_label": _label_probability(state, "reference_logits").cpu().numpy(),
        "entropy": state.entropy.cpu().numpy(),
        "telling": telling_marks(numbers),
    })


def token_numbers(batch: TokenBatch, negative_mass: Tensor) -> TokenNumbers:
    """What the rules of telling tokens look at.

    Args:
        batch: the tokens.
        negative_mass: [losses, N] negative mass under each loss; NaN where Q is undefined.

    Returns:
        The numbers of N tokens.
    """
    state = State(batch, torch.float64)
    return TokenNumbers(
        _label_probability(state, MODEL),
        _label_probability(state, "teacher_logits"),
        state.per_token("p_top", lambda rows: rows.log_p.amax(-1).exp()),
        torch.nan_to_num(negative_mass, nan=-torch.inf).amax(0),  # -inf: no loss tells, and no rule applies
    )


def _label_probability(state: State, name: str) -> Tensor:
    """[N] probability of the label under a model; NaN where the batch lacks it."""
    if getattr(state.batch, name) is None:
        return torch.full_like(state.p_label, torch.nan)
    return state.log_prob_of_label(name).exp()
