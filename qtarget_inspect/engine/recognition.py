"""Recognition: find out, by calling a loss on a few tokens, what shape it takes and returns, and what it does to its arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, QTargetError
from qtarget_inspect.core.state import compute_dtype
from qtarget_inspect.engine.adapter import Layout, Shift, TokenLoss
from qtarget_inspect.engine.gradients import GradientMethod, constant_message, loss_and_gradient

SAMPLE_TOKENS = 6
"""How many tokens a loss is tried on before it meets the batch."""


@dataclass(frozen=True)
class Recognised:
    """A loss that can be called, and what calling it showed.

    Args:
        loss: the loss with its layout settled.
        method: the gradient method that works.
        scalar: whether it returns one number rather than one a token.
        random: whether two calls on the same tokens differ.
        reason: why torch.func was not used, empty where it was.
    """

    loss: TokenLoss
    method: GradientMethod
    scalar: bool
    random: bool
    reason: str = ""


def sample_rows(batch: TokenBatch, tokens: int = SAMPLE_TOKENS) -> Tensor:
    """Rows of a small sample: neighbours (of one sequence, mostly) at a few places spread over the batch.

    Args:
        batch: the whole batch.
        tokens: about how many.

    Returns:
        [m] sorted row numbers, m <= tokens.
    """
    rows = len(batch)
    if rows <= tokens:
        return torch.arange(rows, device=batch.labels.device)
    starts = torch.linspace(0, rows - 2, tokens // 2).long()
    return torch.cat([starts, starts + 1]).unique().to(batch.labels.device)


def recognise(loss: TokenLoss, batch: TokenBatch, method: str, dtype: torch.dtype | None = None) -> Recognised:
    """Settle a loss's layout and gradient method on a few of the batch's tokens.

    Args:
        loss: the adapted loss.
        batch: the whole batch.
        method: "auto", "torch.func", "autograd" or "vmap".
        dtype: compute type; default the batch's.

    Returns:
        What was found.

    Raises:
        LossError: no way of calling it works; the message is the loss's own for the likeliest way.
    """
    loss.required_context(batch)
    dtype = dtype or compute_dtype(batch.logits.dtype)
    rows = sample_rows(batch)
    sample = batch.select(rows if len(batch) > 1 else rows.repeat(2))  # with one token, alignment could not be seen
    if sample.vocabulary == len(sample) > 2:
        sample = sample.select(slice(0, len(sample) - 1))  # so that [n] and [V] can be told apart
    settled, value = _settle_layout(loss, sample, dtype)
    if settled is None:  # some losses only work on many tokens (a quantile over the batch)
        settled, value = _settle_layout(loss, batch, dtype)
        sample = batch
    if settled is None:
        assert isinstance(value, Exception)
        raise value
    assert isinstance(value, Tensor)
    settled = _settle_privacy(settled, sample, dtype)
    found, reason = _settle_method(settled, sample, dtype, method)
    return Recognised(settled, found, value.ndim == 0 or value.numel() == 1 < len(sample), _is_random(settled, sample, dtype), reason)


def _settle_layout(
    loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype
) -> tuple[TokenLoss | None, Tensor | Exception]:
    """The first layout that gives a scalar or a value a token, with labels where they belong."""
    errors: list[Exception] = []
    for layout in _candidates(loss):
        candidate = replace(loss, layout=layout)
        try:
            value = _call(candidate, sample, dtype)
            _check_shape(candidate, value, len(sample))
        except Exception as error:
            errors.append(error)
            continue
        if loss.layout == "auto" and layout != "token":
            candidate = _settle_shift(candidate, sample, dtype)
        return candidate, value
    return None, _explain(loss, errors, sample)


def _candidates(loss: TokenLoss) -> tuple[Layout, ...]:
    if loss.layout != "auto":
        return (loss.layout,)
    if loss.inputs == "hf":
        return ("batched",) if loss.shift == "none" else ("causal", "batched")
    return ("flat", "token", "batched", "causal")


def _settle_shift(loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype) -> TokenLoss:
    """See whose gradient a label moves: in the right layout, token i's label moves token i's gradient and no other's.

    Losses that shift inside would train token i on label i + 1 in a flat layout, and losses that do not shift would
    train token i on label i - 1 in the causal one, both without any error.
    """
    if loss.shift not in ("auto", "none"):
        return loss
    options: tuple[Layout, ...] = ("causal", "batched") if loss.inputs == "hf" else (loss.layout, "causal", "batched")
    for layout in dict.fromkeys(options):
        candidate = replace(loss, layout=layout)
        for index in range(1, len(sample)):
            moved = _rows_moved_by_label(candidate, sample, index, dtype)
            if moved is None:
                break
            if bool(moved[index]):
                return candidate
            if bool(moved.any()):
                break  # this label trains another row: not this layout
        else:
            return loss  # labels move nothing here (distillation, or weights of zero): keep the convention
    return loss


def _rows_moved_by_label(loss: TokenLoss, sample: TokenBatch, index: int, dtype: torch.dtype) -> Tensor | None:
    """[n] bool: rows whose gradient changes with one token's label; None where the loss cannot be called so."""
    labels = sample.labels.clone()
    labels[index] = (labels[index] + 1) % sample.vocabulary
    try:
        with torch.random.fork_rng(devices=[]):
            gradients = []
            for tokens in (sample.labels, labels):
                torch.manual_seed(0)
                fields = {"logits": sample.logits, "labels": tokens, **sample.context}
                z = sample.logits.to(dtype).clone()
                gradients.append(loss_and_gradient(loss, z, TokenBatch._trusted(fields), "autograd")[1])
    except QTargetError:
        return None
    change = (gradients[0] - gradients[1]).abs().amax(-1)
    size = torch.stack(gradients).abs().amax()
    return change > 1e-6 * size if bool(size > 0) else torch.zeros_like(change, dtype=torch.bool)


def _settle_privacy(loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype) -> TokenLoss:
    """Whether the loss writes into what it is handed; if so it gets copies from now on."""
    z = sample.logits.to(dtype).clone()
    fields = {name: value.clone() for name, value in sample.context.items()}
    copy = TokenBatch._trusted({"logits": z, "labels": sample.labels, **fields})
    before = {name: (value._version, value.clone()) for name, value in {"logits": z, **fields}.items()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            loss(z, copy)
        except Exception:
            return replace(loss, private=True)
    for name, value in {"logits": z, **fields}.items():
        version, content = before[name]
        if value._version != version or not torch.equal(value, content):
            return replace(loss, private=True)
    return loss


def _settle_method(
    loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype, method: str
) -> tuple[GradientMethod, str]:
    """The gradient method asked for, or the first that works."""
    if method in ("autograd", "vmap"):
        return ("autograd", "asked for") if method == "autograd" else ("vmap", "asked for")
    with torch.random.fork_rng(devices=[]):
        try:
            loss_and_gradient(loss, sample.logits.to(dtype).clone(), sample, "torch.func")
        except LossError as error:
            if method == "torch.func":
                raise
            cause = error.__cause__ or error
            first_line = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            loss_and_gradient(loss, sample.logits.to(dtype).clone(), sample, "autograd")
            return "autograd", f"torch.func refused: {first_line[:200]}"
    return "torch.func", ""


def _is_random(loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype) -> bool:
    """Whether two calls with other random numbers differ."""
    gradients = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            gradients.append(loss_and_gradient(loss, sample.logits.to(dtype).clone(), sample, "autograd")[1])
    return not torch.equal(gradients[0].nan_to_num(), gradients[1].nan_to_num())


def _call(loss: TokenLoss, sample: TokenBatch, dtype: torch.dtype) -> Tensor:
    """One call under plain autograd; a loss that writes into a leaf is called again with a copy."""
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        leaf = sample.logits.to(dtype).clone().requires_grad_(True)
        try:
            value = loss(leaf, sample)
        except RuntimeError as error:
            if "leaf Variable" not in str(error) and "in-place" not in str(error):
                raise
            value = replace(loss, private=True)(leaf, sample)
    if not value.requires_grad:
        raise _Constant(constant_message(loss))
    return value.detach()


class _Constant(LossError):
    """A loss without any gradient to the logits, found while trying layouts."""


class _WrongShape(LossError):
    """A value that is neither a scalar nor one a token, found while trying layouts."""


def _check_shape(loss: TokenLoss, value: Tensor, tokens: int) -> None:
    extra = 1 if loss.layout == "causal" else 0
    if value.ndim == 0 or value.shape in [(tokens,), (1, tokens), (tokens + extra,), (1, tokens + extra), (1,)]:
        return
    raise _WrongShape(
        f"{loss.name} returned shape {list(value.shape)} for logits [{tokens}, V] and labels [{tokens}]. A loss returns one value a "
        f"token, [{tokens}], or a scalar. If it takes another layout, say so with qt.adapt(fn, inputs=..., shift=..., layout=...); "
        "if it returns several things, with output=."
    )


def _explain(loss: TokenLoss, errors: list[Exception], sample: TokenBatch) -> LossError:
    """The most telling of the errors: a constant, then the loss's own refusal, then a shape."""
    for kind in (_Constant, QTargetError):
        for error in errors:
            if isinstance(error, kind) and not isinstance(error, _WrongShape):
                return error if isinstance(error, LossError) else LossError(str(error))
    for error in errors:
        if isinstance(error, _WrongShape):
            return error
    first = errors[0]
    line = str(first).strip().splitlines()[0] if str(first).strip() else "no message"
    found = LossError(
        f"{loss.name} raised {type(first).__name__} on logits {list(sample.logits.shape)} and labels {list(sample.labels.shape)}: "
        f"{line}\nIf it takes its arguments in another form, say so with qt.adapt(fn, inputs=..., shift=..., layout=...)."
    )
    found.__cause__ = first
    return found
