"""Reduction and coupling: how a loss sums over its tokens, found by comparing a batch's gradient rows with tokens alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, ReductionError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.gradients import GradientMethod, loss_and_gradient

TOLERANCE = 1e-4
"""How far ratios and directions may differ and count as equal: above the float32 noise of losses that cast inside."""


@dataclass(frozen=True)
class Reduction:
    """What was undone to get the gradient of the per-token loss.

    Args:
        kind: "none" (a vector was returned), "sum", "mean", "constant" (one number for all tokens), "per-sequence
            mean", "weighted mean", or "alone" (each token was differentiated alone).
        text: the same in a sentence, with numbers.
        divisor: what the per-token losses' sum was divided by: 1, a number, or one number a token [N].
        declared: whether the user said so rather than the engine found it.
    """

    kind: str
    text: str
    divisor: float | Tensor = 1.0
    declared: bool = False


@dataclass(frozen=True)
class Study:
    """Gradient rows of some tokens in company, against the same tokens alone.

    Args:
        rows: [m] which tokens of the batch.
        ratio: [m] size in company over size alone, NaN where the token alone has no usable gradient.
        bent: [m] bool, where the two differ in direction.
        lost: [m] bool, where one has a gradient and the other none.
        usable: [m] bool, where ratio means something.
    """

    rows: Tensor
    ratio: Tensor
    bent: Tensor
    lost: Tensor
    usable: Tensor


def gradient_alone(loss: TokenLoss, token: TokenBatch, method: GradientMethod, dtype: torch.dtype) -> Tensor:
    """[V] gradient of the loss of one token alone; NaN where the loss cannot be had for it alone."""
    try:
        return loss_and_gradient(loss, token.logits.to(dtype).clone(), token, method)[1][0]
    except LossError:
        return torch.full((token.vocabulary,), torch.nan, dtype=dtype, device=token.logits.device)


def study_rows(
    loss: TokenLoss, batch: TokenBatch, together: Tensor, rows: Tensor, method: GradientMethod, dtype: torch.dtype
) -> Study:
    """Compare gradient rows in company with those of tokens alone.

    Args:
        loss: the loss.
        batch: the batch in whose company the gradient was taken.
        together: [m, V] its gradient's rows.
        rows: [m] which rows they are.
        method: how to differentiate.
        dtype: compute type.

    Returns:
        The comparison.
    """
    alone = torch.stack([gradient_alone(loss, batch.select(row.reshape(1)), method, dtype) for row in rows])
    finite = torch.isfinite(alone).all(-1) & torch.isfinite(together).all(-1)
    size_alone, size_together = (torch.where(finite, g.abs().amax(-1), 0.0) for g in (alone, together))
    floor = 1e-6 * torch.maximum(size_alone.max(), size_together.max())  # rows below it are rounding noise
    lost = finite & ((size_alone <= floor) ^ (size_together <= floor)) & ((size_alone > 1e-3 * size_alone.max()) | (size_together > 1e-3 * size_together.max()))
    usable = finite & (size_alone > floor) & (size_together > floor)
    ratio = torch.where(usable, (together * alone).sum(-1) / alone.square().sum(-1), torch.nan)
    remainder = (together - ratio.unsqueeze(-1) * alone).abs().amax(-1)
    bent = usable & (remainder > TOLERANCE * size_together + _noise(loss, together.dtype) * ratio.abs())
    return Study(rows, ratio, bent, lost, usable)


def _noise(loss: TokenLoss, dtype: torch.dtype) -> float:
    """Absolute noise of a gradient's entries per unit of weight: float32 inside, whatever comes in."""
    return 1e-6


def undo(study: Study, loss: TokenLoss, batch: TokenBatch, declared: str | float) -> tuple[Reduction, str | None]:
    """The reduction that a scalar loss applies to this batch, and how its tokens are coupled.

    Args:
        study: comparison of (some of) the batch's rows in company and alone.
        loss: the loss, for messages.
        batch: the whole batch in whose company they were.
        declared: "auto", or what the user says: "sum", "mean", or the divisor.

    Returns:
        The reduction, and the coupling or None.

    Raises:
        ReductionError: it is neither one constant factor nor a coupling with a name.
    """
    tokens = len(batch)
    ratio = study.ratio[study.usable]
    if declared != "auto":
        reduction = declared_reduction(declared, tokens)
        assert isinstance(reduction.divisor, float)
        return reduction, coupling_of(study, 1 / reduction.divisor)
    if ratio.numel() == 0:
        return Reduction("sum", "sum (every studied token has no gradient; nothing to undo)"), None
    if bool(study.bent.any()):
        raise ReductionError(
            f"{loss.name}: the gradient of a token points elsewhere in the batch than alone (tokens "
            f"{study.rows[study.bent].tolist()[:5]}), so it leaks between tokens and the reduction cannot be read off. Declare it: "
            "reduction='sum', 'mean', or the divisor; or return one value a token."
        )
    found = _constant_factor(ratio, tokens)
    if found is not None:
        coupling = "which tokens count depends on the batch" if bool(study.lost.any()) else None
        return found, coupling
    named = _named_coupling(study, batch)
    if named is not None:
        return named
    shown = ", ".join(f"{value:.4g}" for value in ratio[:6].tolist())
    raise ReductionError(
        f"{loss.name} returns a scalar, and its tokens' gradients in the batch are {shown} ... times what they are alone: neither one "
        "constant factor nor a coupling that can be named (means per sequence, weights that sum to one). Declare what was done to the "
        f"per-token losses: reduction='sum', reduction='mean' (divides by {tokens}), or reduction=<divisor>; or return one value a token."
    )


def declared_reduction(declared: str | float, tokens: int) -> Reduction:
    """The reduction that the user declares.

    Args:
        declared: "sum", "mean", or the divisor.
        tokens: N.

    Returns:
        The reduction.

    Raises:
        ReductionError: it is something else.
    """
    if declared == "sum":
        return Reduction("sum", "sum, as declared", 1.0, True)
    if declared == "mean":
        return Reduction("mean", f"mean over {tokens} tokens, undone as declared", float(tokens), True)
    if isinstance(declared, (int, float)) and not isinstance(declared, bool) and declared != 0:
        return Reduction("constant", f"division by {declared:g}, undone as declared", float(declared), True)
    raise ReductionError(f"reduction must be 'auto', 'sum', 'mean', or the number the sum was divided by, not {declared!r}.")


def coupling_of(study: Study, expected: float = 1.0) -> str | None:
    """How tokens are coupled, given the ratio they would have if they were not.

    Args:
        study: the comparison.
        expected: ratio of uncoupled tokens.

    Returns:
        A phrase, or None where nothing couples them.
    """
    if bool(study.bent.any()):
        return "gradient leaks between tokens: a token's gradient points elsewhere in the batch than alone"
    if bool(study.lost.any()):
        return "which tokens count depends on the batch"
    ratio = study.ratio[study.usable]
    if ratio.numel() == 0 or bool(((ratio - expected).abs() <= TOLERANCE * abs(expected)).all()):
        return None
    if bool(((ratio - ratio[0]).abs() <= TOLERANCE * ratio[0].abs()).all()):
        return f"every token is scaled by {float(ratio[0]):.4g} in this batch: a number that depends on the batch"
    return "a detached weight that depends on other tokens of the batch: sizes change, directions do not"


def _constant_factor(ratio: Tensor, tokens: int) -> Reduction | None:
    """One factor for all tokens: sum, mean, or a number."""
    first = ratio.median()
    if not bool(((ratio - first).abs() <= TOLERANCE * first.abs()).all()):
        return None
    divisor = 1 / float(first)
    nearest = round(divisor)
    if nearest != 0 and abs(divisor - nearest) <= TOLERANCE * abs(nearest):
        divisor = float(nearest)
    if divisor == 1:
        return Reduction("sum", "sum, nothing to undo")
    if divisor == tokens:
        return Reduction("mean", f"mean over {tokens} tokens, undone", divisor)
    if float(divisor).is_integer() and 1 < divisor < tokens:
        return Reduction("constant", f"mean over {int(divisor)} of {tokens} tokens, undone", divisor)
    return Reduction("constant", f"division by {divisor:.6g}, undone", divisor)


def _named_coupling(study: Study, batch: TokenBatch) -> tuple[Reduction, str] | None:
    """Ratios that vary, but as the token's sequence length or its weight says, or so that they sum to one."""
    tokens, rows, ratio = len(batch), study.rows, study.ratio

    def fits(divisor: Tensor) -> bool:
        expected = 1 / divisor[rows]
        return bool(((ratio - expected).abs() <= TOLERANCE * expected.abs())[study.usable].all())

    if batch.sequence_ids is not None:
        _, index, counts = torch.unique(batch.sequence_ids, return_inverse=True, return_counts=True)
        length, sequences = counts[index].to(ratio.dtype), len(counts)
        if fits(length * sequences):
            text = f"mean over {sequences} sequences of the mean over each one's tokens, undone"
            return Reduction("per-sequence mean", text, length * sequences), "a token counts by the length of its sequence"
        if fits(length):
            return (
                Reduction("per-sequence mean", "sum of the means over each sequence's tokens, undone", length),
                "a token counts by the length of its sequence",
            )
    if batch.weights is not None and bool((batch.weights != 0).all()):
        divisor = batch.weights.to(ratio.dtype).sum() / batch.weights.to(ratio.dtype)
        if fits(divisor):
            total = float(batch.weights.sum())
            # alone, a weighted mean loses its weight (w l / w = l); the per-token loss is w l, so only sum(w) is undone
            return (
                Reduction("weighted mean", f"mean weighted by `weights`, which sum to {total:.6g}, undone", total),
                "weights are normalised over the batch",
            )
    if len(rows) == tokens and bool(study.usable.all()) and bool(ratio.min() > 0):
        if abs(float(ratio.sum()) - 1) <= 10 * TOLERANCE:
            text = f"weighted mean over {tokens} tokens, undone; the weights' own scale is lost, their mean is set to 1"
            return Reduction("weighted mean", text, float(tokens)), "detached weights are normalised over the batch"
    return None
