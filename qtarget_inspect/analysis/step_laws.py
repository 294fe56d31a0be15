"""Step laws: what a factor between two gradients is, a power of one quantity of the state or one number a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from qtarget_inspect.core.batch import LOGIT_CONTEXT, TokenBatch
from qtarget_inspect.core.state import State

FEWEST_ROWS = 16
"""A law is only looked for on at least so many rows."""

POWER_SPREAD = 1.05
"""A quantity must range over at least this factor before a power of it is told."""

AGREEMENT = 10.0
"""A law holds where it meets every factor within this many times the factor's own uncertainty."""


def quantities(batch: TokenBatch) -> dict[str, np.ndarray]:
    """What a factor may be a power of, name -> [N].

    Args:
        batch: the tokens, in float64.

    Returns:
        p_y, 1 - p_y, entropies (nats), the label's probability under each other model of the batch, the batch's own
        weights and advantages, V and log V.
    """
    state = State(batch)
    found = {
        "p_y": state.p_label,
        "(1 - p_y)": state.one_minus_p_label,
        "entropy": state.entropy,
        "top-20 entropy": state.top_k_entropy(20),
    }
    for name in LOGIT_CONTEXT:
        if getattr(batch, name) is not None:
            found[f"p_y({name.removesuffix('_logits')})"] = state.log_prob_of_label(name).exp()
    if batch.old_logits is not None:
        found["(p_y / p_y(old))"] = (state.log_p_label - state.log_prob_of_label("old_logits")).exp()
    for name in ("weights", "advantages"):
        if getattr(batch, name) is not None:
            found[name] = state.context(name)
    size = torch.full_like(state.p_label, batch.vocabulary)
    found |= {"V": size, "log V": size.log()}  # constant in a batch, so that only several vocabularies tell them
    return {name: value.to(torch.float64).cpu().numpy() for name, value in found.items()}


def power_law(factor: np.ndarray, slack: np.ndarray, known: dict[str, np.ndarray]) -> str | None:
    """The first c = k sign(x) |x|^a that meets every factor; a constant k before all.

    Args:
        factor: [M] factors, finite.
        slack: [M] how far each may be off.
        known: name -> [M] candidates for x, in the order of preference.

    Returns:
        The law in words, "p_y" or "0.5 p_y^2"; None where none holds.

    Examples:
        >>> p = np.linspace(0.01, 0.99, 50)
        >>> power_law(3 * p**2, np.full(50, 1e-9), {"p_y": p})
        '3 p_y^2'
    """
    if len(factor) < FEWEST_ROWS:
        return None
    surest = int(np.argmin(slack / np.maximum(np.abs(factor), np.finfo(float).tiny)))
    if bool((np.abs(factor - factor[surest]) <= AGREEMENT * slack).all()):
        return f"{factor[surest]:.6g}"
    for name, x in known.items():
        usable = (x != 0) & (factor != 0) & np.isfinite(x) & (slack < 1e-2 * np.abs(factor))
        sizes = np.abs(x[usable])
        if usable.sum() < FEWEST_ROWS or sizes.max() < POWER_SPREAD * sizes.min():
            continue
        weight = np.abs(factor[usable]) / slack[usable]
        log_x = np.log(sizes)
        fitted, _ = np.polyfit(log_x, np.log(np.abs(factor[usable])), 1, w=weight / weight.max())
        for exponent in (round(float(fitted), 6), float(fitted)):
            scale = factor[usable] / (np.sign(x[usable]) * sizes**exponent)
            constant = float(scale[np.argmax(weight)])
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                error = np.abs(constant * np.sign(x) * np.abs(x) ** exponent - factor)
            if exponent != 0 and bool((error <= AGREEMENT * slack).all()):
                return _in_words(name, constant, exponent)
    return None


def _in_words(name: str, constant: float, exponent: float) -> str:
    base = f"({name})" if " " in name and not name.endswith(")") else name
    power = name if exponent == 1 else f"{base}^{exponent:g}"
    return power if abs(constant - 1) < 1e-6 else f"{constant:.6g} {power}"


def label_law(
    factor: Sequence[np.ndarray], slack: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> dict[int, float] | None:
    """The factor of each label, where it depends on the label alone.

    Args:
        factor: [n] factors of each batch, finite.
        slack: [n] how far each may be off.
        labels: [n] labels.

    Returns:
        label -> factor, for batches of one vocabulary in which it says the same; None where factors of one label
        differ, or where too few labels occur twice to tell.
    """
    all_factors, all_slack, all_labels = (np.concatenate(list(parts)) for parts in (factor, slack, labels))
    found, repeated = {}, 0
    for label in np.unique(all_labels):
        rows = np.flatnonzero(all_labels == label)
        best = rows[np.argmin(all_slack[rows])]
        error = np.abs(all_factors[rows] - all_factors[best])
        if not bool((error <= AGREEMENT * (all_slack[rows] + all_slack[best])).all()):
            return None
        found[int(label)] = float(all_factors[best])
        repeated += len(rows) > 1
    return found if 2 * repeated >= len(found) and len(all_labels) >= FEWEST_ROWS else None


def labels_in_words(by_label: dict[int, float]) -> str:
    """The commonest factor, and the labels that have another.

    Args:
        by_label: label -> factor.

    Returns:
        A phrase.

    Examples:
        >>> labels_in_words({0: 1.0, 1: 1.0, 7: 2.0})
        'a number for each label (2 at label 7, 1 at the others)'
    """
    values = [f"{value:.4g}" for value in by_label.values()]
    common = max(set(values), key=values.count)
    odd = [f"{value} at label {label}" for label, value in zip(by_label, values, strict=True) if value != common]
    if len(odd) > 3:
        return f"a number for each label ({odd[0]}, {odd[1]}, ...)"
    return f"a number for each label ({', '.join(odd)}, {common} at the others)"
