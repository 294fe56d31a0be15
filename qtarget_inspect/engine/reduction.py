"""Reduction and coupling: how a loss sums over its tokens, from gradient rows in a batch and of tokens alone."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, ReductionError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.gradients import GradientMethod, loss_and_gradient

TOLERANCE = 1e-4
"""How far ratios and directions may differ and count as equal: above the float32 noise of losses that cast inside."""

NOISE = 1e-6
"""Absolute noise of a gradient's entries, as a share of the largest gradient around."""

LEAK = "gradient leaks between tokens: a token's logits are trained by the losses of others"
SELECTION = "which tokens count depends on the batch"
DETACHED_WEIGHT = "a detached weight that depends on other tokens of the batch: sizes change, directions do not"
SCALED = "every token is scaled by a number that depends on the batch"
UNKNOWN = "unknown: it cannot be called on one token alone"


@dataclass(frozen=True)
class Reduction:
    """What was undone to get the gradient of the per-token loss.

    Args:
        kind: "none" (a vector was returned), "sum", "mean", "constant" (one number for all tokens),
            "per-sequence mean", "weighted mean", or "alone" (each token was differentiated alone).
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
        ratio: [m] size in company over size alone, NaN where not `usable`.
        bent: [m] bool, where the two differ in direction.
        lost: [m] bool, where one has a gradient and the other none.
        usable: [m] bool, where ratio means something.
        failed: [m] bool, where the loss cannot be had for the token alone.
        slack: [m] how far, relatively, a ratio may be off: more where the gradient is near rounding.
        scale: the largest gradient entry around, what noise is measured by.
    """

    rows: Tensor
    ratio: Tensor
    bent: Tensor
    lost: Tensor
    usable: Tensor
    failed: Tensor
    slack: Tensor
    scale: float

    @property
    def ratios(self) -> Tensor:
        """The ratios that mean something."""
        return self.ratio[self.usable]

    def all_near(self, expected: float) -> bool:
        """Whether every token has the expected ratio, none is bent, lost or failed, and at least two were to be had."""
        spoiled = self.bent | self.lost | self.failed
        return self.ratios.numel() >= 2 and not bool(spoiled.any()) and self.near(expected)

    def near(self, expected: float | Tensor) -> bool:
        """Whether every ratio is the expected one, up to rounding."""
        expected = torch.as_tensor(expected, dtype=self.ratio.dtype, device=self.ratio.device)
        return bool(((self.ratio - expected).abs() <= self.slack * expected.abs())[self.usable].all())

    @property
    def surest(self) -> float:
        """The ratio of the largest gradient."""
        return float(self.ratio[torch.where(self.usable, self.slack, torch.inf).argmin()])


def gradient_alone(loss: TokenLoss, token: TokenBatch, method: GradientMethod, dtype: torch.dtype) -> Tensor:
    """Gradient of the loss of one token alone.

    Args:
        loss: the loss, its layout known.
        token: a batch of one.
        method: how to differentiate.
        dtype: compute type.

    Returns:
        [V] gradient; NaN where the loss cannot be had for one token alone.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            value, gradient = loss_and_gradient(loss, token.logits.to(dtype).clone(), token, method)
    except LossError:
        return torch.full((token.vocabulary,), torch.nan, dtype=dtype, device=token.logits.device)
    most = 2 if loss.layout == "causal" else 1
    return gradient[0] if value.numel() <= most else torch.full_like(gradient[0], torch.nan)


def study_rows(
    loss: TokenLoss,
    batch: TokenBatch,
    together: Tensor,
    rows: Tensor,
    method: GradientMethod,
    dtype: torch.dtype,
    scale: float = 0.0,
) -> Study:
    """Compare gradient rows in company with those of tokens alone.

    Args:
        loss: the loss.
        batch: the batch in whose company the gradient was taken.
        together: [m, V] its gradient's rows.
        rows: [m] which rows they are.
        method: how to differentiate.
        dtype: compute type.
        scale: size of a gradient known from before, for what counts as noise.

    Returns:
        The comparison.
    """
    alone = torch.stack([gradient_alone(loss, batch.select(row.reshape(1)), method, dtype) for row in rows])
    return compare_rows(alone, together, rows, scale)


def compare_rows(alone: Tensor, together: Tensor, rows: Tensor, scale: float = 0.0) -> Study:
    """Compare two gradients of the same tokens, row by row.

    Args:
        alone: [m, V] gradients in less company.
        together: [m, V] gradients in more company.
        rows: [m] which tokens of the batch.
        scale: size of a gradient known from before, for what counts as noise.

    Returns:
        The comparison.
    """
    failed = ~torch.isfinite(alone.sum(-1))
    finite = ~failed & torch.isfinite(together.sum(-1))
    size_alone, size_together = (torch.where(finite, g.abs().amax(-1), 0.0) for g in (alone, together))
    top_alone, top_together = size_alone.max(), size_together.max()
    top_alone = top_alone.clamp(min=scale)
    none_alone, none_together = size_alone <= NOISE * top_alone, size_together <= NOISE * top_together
    clear = (size_alone > 1e-3 * top_alone) | (size_together > 1e-3 * top_together)
    lost = finite & (none_alone ^ none_together) & clear
    usable = finite & (size_alone > 10 * NOISE * top_alone) & ~none_together
    ratio = torch.where(usable, (together * alone).sum(-1) / alone.square().sum(-1), torch.nan)
    slack = TOLERANCE + 0.5 * NOISE * top_alone / size_alone.clamp(min=torch.finfo(size_alone.dtype).tiny)
    remainder = (together - ratio.unsqueeze(-1) * alone).abs().amax(-1)
    bent = usable & (remainder > TOLERANCE * size_together + NOISE * top_alone * ratio.abs())
    return Study(rows, ratio, bent, lost, usable, failed, slack, float(top_alone))


def undo(study: Study, loss: TokenLoss, batch: TokenBatch) -> tuple[Reduction, str | None]:
    """The reduction that a scalar loss applies to this batch, and how its tokens are coupled.

    Args:
        study: comparison of (some of) the batch's rows in company and alone.
        loss: the loss, for messages.
        batch: the whole batch in whose company they were.

    Returns:
        The reduction, and the coupling or None.

    Raises:
        ReductionError: it is neither one constant factor nor a coupling with a name.
    """
    tokens, ratios = len(batch), study.ratios
    if ratios.numel() == 0:
        if bool(study.failed.any()):
            raise ReductionError(
                f"{loss.name} returns a scalar and cannot be called on one token alone, so its reduction cannot be "
                f"found. {_how_to_declare(tokens)}"
            )
        return Reduction("sum", "sum (no token studied has a gradient; nothing to undo)"), None
    if bool(study.bent.any()):
        raise ReductionError(leak_message(loss, tokens))
    found = _constant_factor(study, tokens)
    if found is not None:
        return found, SELECTION if bool(study.lost.any()) else None
    named = _named_coupling(study, batch)
    if named is not None:
        return named
    shown = ", ".join(f"{value:.4g}" for value in ratios[:6].tolist())
    raise ReductionError(
        f"{loss.name} returns a scalar, and its tokens' gradients in the batch are {shown} ... times what they are "
        "alone: neither one constant factor nor a coupling that can be named (means per sequence, weights that sum "
        f"to one). Declare what was done to the per-token losses. {_how_to_declare(tokens)}"
    )


def leak_message(loss: TokenLoss, tokens: int) -> str:
    """What to say of a scalar whose gradient leaks between tokens.

    Args:
        loss: the loss.
        tokens: N.

    Returns:
        The message.
    """
    return (
        f"{loss.name}: gradient leaks between tokens (an undetached weight or normaliser?): a token's logits are "
        "trained by the losses of others, so the reduction cannot be read off. Detach what couples the tokens, or "
        f"declare the reduction. {_how_to_declare(tokens)}"
    )


def leaks(loss: TokenLoss, sample: TokenBatch) -> bool:
    """Whether one token's logits change the gradient of another's, other than through detached weights.

    The mixed second derivative d2L / dz_i dz_j is zero for tokens that are apart, and for those coupled by a detached
    weight only.

    Args:
        loss: the loss, its layout known.
        sample: a few tokens.

    Returns:
        True where it is not zero; False where it is, or cannot be had.
    """
    try:
        with torch.enable_grad():
            z = sample.logits.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(z, sample).sum(), z, create_graph=True)
            probe = torch.linspace(-1, 1, z.shape[1], dtype=z.dtype, device=z.device)
            (mixed,) = torch.autograd.grad((gradient[0] * probe).sum(), z)
    except Exception:  # a gradient that cannot be differentiated again tells nothing
        return False
    size = mixed.abs().amax(-1)
    return bool((size[1:] > 1e-6 * size.max()).any())


def _how_to_declare(tokens: int) -> str:
    return (
        f"Declare it: reduction='sum', reduction='mean' (divides by {tokens}), or reduction=<divisor>; or return one "
        "value a token."
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
    if isinstance(declared, (int, float)) and not isinstance(declared, bool) and declared and math.isfinite(declared):
        return Reduction("constant", f"division by {declared:g}, undone as declared", float(declared), True)
    raise ReductionError(
        f"reduction must be 'auto', 'sum', 'mean', or the number the sum was divided by, not {declared!r}."
    )


def coupling_of(study: Study, expected: float = 1.0) -> str | None:
    """How tokens are coupled, given the ratio they would have if they were not.

    Args:
        study: the comparison.
        expected: ratio of uncoupled tokens.

    Returns:
        A phrase, or None where nothing couples them.
    """
    if bool(study.bent.any()):
        return LEAK
    if bool(study.lost.any()):
        return SELECTION
    ratios = study.ratios
    if ratios.numel() == 0:
        return UNKNOWN if bool(study.failed.any()) else None
    if study.near(expected):
        return None
    if study.near(study.surest) and ratios.numel() > 1:
        return SCALED
    return DETACHED_WEIGHT


def _constant_factor(study: Study, tokens: int) -> Reduction | None:
    """One factor for all tokens: sum, mean, or a number."""
    if not study.near(study.surest):
        return None
    divisor = 1 / study.surest
    nearest = round(divisor)
    if nearest != 0 and abs(divisor - nearest) <= TOLERANCE * abs(nearest):
        divisor = float(nearest)
    if divisor == 1:
        return Reduction("sum", "sum, nothing to undo")
    if divisor == tokens:
        return mean_over(tokens)
    if float(divisor).is_integer() and 1 < divisor < tokens:
        return Reduction("constant", f"mean over {int(divisor)} of {tokens} tokens, undone", divisor)
    return Reduction("constant", f"division by {divisor:.6g}, undone", divisor)


def mean_over(tokens: int) -> Reduction:
    """A mean over all tokens, undone."""
    return Reduction("mean", f"mean over {tokens} token{'s' if tokens > 1 else ''}, undone", float(tokens))


def _named_coupling(study: Study, batch: TokenBatch) -> tuple[Reduction, str] | None:
    """Ratios that vary, but as the token's sequence length or its weight says, or so that they sum to one."""
    tokens, rows, ratio = len(batch), study.rows, study.ratio

    def fits(expected: Tensor) -> bool:
        return study.near(expected[rows])

    if batch.sequence_ids is not None:
        _, index, counts = torch.unique(batch.sequence_ids, return_inverse=True, return_counts=True)
        length, sequences = counts[index].to(ratio.dtype), len(counts)
        coupling = "a token counts by the length of its sequence"
        if fits(1 / (length * sequences)):
            text = f"mean over {sequences} sequences of the mean over each one's tokens, undone"
            return Reduction("per-sequence mean", text, length * sequences), coupling
        if fits(1 / length):
            text = "sum of the means over each sequence's tokens, undone"
            return Reduction("per-sequence mean", text, length), coupling
    if batch.weights is not None:
        weights = batch.weights.to(ratio.dtype)
        total = float(weights.sum())
        if total != 0 and fits(weights / total):
            # alone, a weighted mean loses its weight (w l / w = l); the per-token loss is w l, so only sum(w) is undone
            text = f"mean weighted by `weights`, which sum to {total:.6g}, undone"
            return Reduction("weighted mean", text, total), "weights are normalised over the batch"
    whole = len(rows) == tokens and bool(study.usable.all())
    if whole and bool(study.ratios.min() > 0) and abs(float(study.ratios.sum()) - 1) <= 10 * TOLERANCE:
        return own_weights(tokens)
    return None


def own_weights(tokens: int) -> tuple[Reduction, str]:
    """A weighted mean whose weights the loss makes itself: their own scale is lost in the normalisation.

    Args:
        tokens: N.

    Returns:
        The reduction and the coupling.
    """
    text = f"weighted mean over {tokens} tokens, undone; the weights' own scale is lost, their mean is set to 1"
    return Reduction("weighted mean", text, float(tokens)), "detached weights are normalised over the batch"
