"""Recognition: find out, by calling a loss on a few tokens, how it wants to be called and what it returns."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError, MissingContextError, QTargetError
from qtarget_inspect.engine.adapter import Layout, TokenLoss
from qtarget_inspect.engine.alignment import is_aligned
from qtarget_inspect.engine.carrying import held_tensors
from qtarget_inspect.engine.gradients import (
    GradientMethod,
    first_line,
    loss_and_gradient,
    own_random_numbers,
    random_state,
)
from qtarget_inspect.engine.samples import SAMPLE_TOKENS, sample_rows, spread_sample

LARGER_SAMPLE = 48
"""Tokens of the second sample, for losses that need more than a handful (a quantile, the hardest 32)."""

_HOPELESS = (TypeError, NameError, AttributeError, KeyError, ImportError)
"""Errors of a loss that more tokens will not mend."""


@dataclass(frozen=True)
class Recognised:
    """A loss that can be called, and what calling it showed.

    Args:
        loss: the loss with its layout settled.
        method: the gradient method that works.
        scalar: whether it returns one number rather than one a token.
        random: whether it draws random numbers, or two calls on the same tokens differ.
        reason: why torch.func was not used, empty where it was.
        sample: the tokens it was tried on.
        together: [m, V] its gradient on them.
        whole_only: whether it refused small samples, so that `sample` is the batch itself.
    """

    loss: TokenLoss
    method: GradientMethod
    scalar: bool
    random: bool
    reason: str
    sample: TokenBatch
    together: Tensor
    whole_only: bool = False


@dataclass(frozen=True)
class _Trial:
    """One way of calling that worked: the loss, its value and gradient, whether random numbers were drawn."""

    loss: TokenLoss
    value: Tensor
    gradient: Tensor
    drew: bool


class _WrongShapeError(LossError):
    """A value that is neither a scalar nor one a token."""


class MisalignedError(LossError):
    """A label trains another row than its own."""


def recognise(loss: TokenLoss, batch: TokenBatch, method: str, dtype: torch.dtype) -> Recognised:
    """Settle a loss's layout and gradient method on a few of the batch's tokens.

    Args:
        loss: the adapted loss.
        batch: the whole batch.
        method: "auto", "torch.func", "autograd" or "vmap".
        dtype: compute type of the batch.

    Returns:
        What was found.

    Raises:
        LossError: no way of calling it works; the message is the loss's own for the likeliest way.
    """
    loss.required_context(batch)
    errors: list[Exception] = []
    tokens_fit: bool | None = None
    for sample, whole_only in _samples(batch, dtype):
        if whole_only and errors and isinstance(errors[0].__cause__, _HOPELESS):
            break  # before the whole batch is spent on it
        trial = _try_layouts(loss, sample, errors)
        if trial is not None and trial.loss.layout == "token" != loss.layout:
            if tokens_fit is None:
                tokens_fit = not _holds_odd_tensors(loss, batch) and not _fits_the_batch_only(loss, batch)
            trial = trial if tokens_fit else None
        if trial is not None:
            found, reason, random = _settle_method(trial, sample, method)
            scalar = trial.value.numel() == 1 < len(sample)
            if len(sample) == len(batch) and not whole_only:
                whole_only = holds_rows(trial.loss, sample)  # a small batch: what is held by row fits the sample too
            return Recognised(trial.loss, found, scalar, random, reason, sample, trial.gradient, whole_only)
    telling: LossError = _most_telling(errors)
    raise telling


def holds_rows(loss: TokenLoss, batch: TokenBatch) -> bool:
    """Whether a loss that takes N tokens refuses N + 1, so that it holds something of N rows (a mask, a teacher).

    A token alone then broadcasts with all those rows, and its gradient alone means nothing.

    Args:
        loss: the loss, its layout known.
        batch: N tokens that it takes.

    Returns:
        True where N + 1 tokens are refused.
    """
    first = torch.zeros(1, dtype=torch.long, device=batch.labels.device)
    more = batch.select(torch.cat([torch.arange(len(batch), device=batch.labels.device), first]))
    try:
        with torch.no_grad(), own_random_numbers(batch.logits.device, seed=0):
            _check_shape(loss, loss(more.logits.clone(), more), len(more))
    except Exception:  # whatever it raises, it does not take them
        return True
    return False


def _holds_odd_tensors(loss: TokenLoss, batch: TokenBatch) -> bool:
    """Whether the loss holds tensors that a row of logits [V] would wrongly broadcast with: a mask, a teacher."""
    odd = {1, batch.vocabulary}
    return any(tensor.ndim > 0 and tensor.shape[0] not in odd for tensor in held_tensors(loss.function))


def _fits_the_batch_only(loss: TokenLoss, batch: TokenBatch) -> bool:
    """Whether a loss that took no sample takes the whole batch."""
    # One closed over a teacher [N, V] takes no sample, but a single token broadcasts with the teacher, wrongly.
    # Only shapes are propagated, nothing is computed.
    from torch._subclasses.fake_tensor import FakeTensorMode

    if len(batch) == 1:
        return False
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it prints tracebacks of what is caught here
    was_disabled, log.disabled = log.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fields = {name: mode.from_tensor(value) for name, value in _tensors(batch).items()}
            fake = TokenBatch.unchecked(fields)
            _check_shape(loss, replace(loss, layout="flat")(fake.logits, fake), len(batch))
    except Exception:  # whatever it raises on the batch, it is no loss of the batch
        return False
    finally:
        log.disabled = was_disabled
    return True


def _samples(batch: TokenBatch, dtype: torch.dtype) -> Iterator[tuple[TokenBatch, bool]]:
    """A few tokens in double precision, the same in the compute type, more tokens, in the end the batch itself."""
    double = dtype if batch.logits.device.type == "mps" else torch.float64
    tokens = SAMPLE_TOKENS - (batch.vocabulary == SAMPLE_TOKENS)  # so that [n] and [V] can be told apart
    rows = sample_rows(batch)[:tokens]
    for kind in dict.fromkeys((double, dtype)):
        yield spread_sample(batch, rows, kind), False
    if len(batch) > LARGER_SAMPLE:
        yield spread_sample(batch, sample_rows(batch, LARGER_SAMPLE), dtype), False
    yield batch.to(dtype), True


def _try_layouts(loss: TokenLoss, sample: TokenBatch, errors: list[Exception]) -> _Trial | None:
    """The first layout that gives a scalar or a value a token, with labels where they belong."""
    undecided: _Trial | None = None
    flat_runs = False
    for layout in _candidates(loss):
        if layout == "token" and flat_runs:
            continue  # it takes rows of tokens, though maybe shifted
        candidate = replace(loss, layout=layout)
        try:
            trial = _try(candidate, sample)
            _check_shape(candidate, trial.value, len(sample))
        except MissingContextError:
            raise
        except Exception as error:
            errors.append(error)
            continue
        flat_runs = flat_runs or layout == "flat"
        aligned = True if layout == "token" else is_aligned(trial.loss, sample, trial.gradient)
        if aligned:
            return trial
        if aligned is None:
            undecided = undecided or trial
        else:
            errors.append(MisalignedError(_misaligned_message(candidate)))
    return undecided


def _candidates(loss: TokenLoss) -> tuple[Layout, ...]:
    if loss.layout != "auto":
        return (loss.layout,)
    if loss.inputs == "hf":
        return ("batched",) if loss.shift == "none" else ("causal", "batched")
    if loss.inputs == "chunks":
        return ("batched", "flat", "causal")
    return ("flat", "token", "batched") if loss.shift == "none" else ("flat", "token", "batched", "causal")


def _try(loss: TokenLoss, sample: TokenBatch) -> _Trial:
    """One call under plain autograd, with copies; a loss that writes into its arguments is called again, privately."""
    device = sample.logits.device
    handed = TokenBatch.unchecked({name: value.clone() for name, value in _tensors(sample).items()})
    with own_random_numbers(device, seed=0):
        before = random_state(device)
        try:
            value, gradient = loss_and_gradient(loss, handed.logits, handed, "autograd", strict=True)
        except LossError as error:
            if loss.private or "in-place" not in str(error.__cause__).replace("inplace", "in-place"):
                raise
            return _try(replace(loss, private=True), sample)
        drew = not torch.equal(before, random_state(device))
    written = any(not _same(value, getattr(handed, name)) for name, value in _tensors(sample).items())
    if written and not loss.private and loss.layout != "token":
        return _try(replace(loss, private=True), sample)
    return _Trial(replace(loss, private=loss.private or written), value, gradient, drew)


def _settle_method(trial: _Trial, sample: TokenBatch, method: str) -> tuple[GradientMethod, str, bool]:
    """The gradient method asked for, or the first that works; why not torch.func; whether calls differ."""
    # torch.func is held against plain autograd on the sample: code that hooks its tensors, say, can differ
    if method == "vmap":
        return "vmap", "", trial.drew
    if method == "autograd":
        return "autograd", "", trial.drew or _differs_again(trial, sample)
    with own_random_numbers(sample.logits.device, seed=0):
        try:
            value, gradient = loss_and_gradient(trial.loss, sample.logits.clone(), sample, "torch.func")
        except LossError as error:
            if method == "torch.func":
                raise
            reason = f"torch.func refused: {first_line(error.__cause__ or error)}"
            return "autograd", reason, trial.drew or _differs_again(trial, sample)
    if _close(value, trial.value) and _close(gradient, trial.gradient):
        return "torch.func", "", trial.drew
    if _differs_again(trial, sample):
        return "torch.func", "", True
    if method == "torch.func":
        raise LossError(
            f"{trial.loss.name} has another gradient under torch.func than under plain autograd (does it look at "
            "requires_grad, or hook its tensors?). method='auto' takes plain autograd."
        )
    return "autograd", "torch.func gives another gradient than plain autograd does", trial.drew


def _differs_again(trial: _Trial, sample: TokenBatch) -> bool:
    """Whether a second call on the same tokens gives something else: random numbers of numpy's, or a state it keeps."""
    with own_random_numbers(sample.logits.device, seed=0):
        value, gradient = loss_and_gradient(trial.loss, sample.logits.clone(), sample, "autograd")
    return not (_close(value, trial.value) and _close(gradient, trial.gradient))


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the order of summation."""
    scale = float(torch.maximum(a.abs().amax(), b.abs().amax()).nan_to_num()) if a.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def _tensors(batch: TokenBatch) -> dict[str, Tensor]:
    return {"logits": batch.logits, "labels": batch.labels, **batch.context}


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or torch.equal(a, b)


def _check_shape(loss: TokenLoss, value: Tensor, tokens: int) -> None:
    extra = 1 if loss.layout == "causal" else 0
    if value.numel() == 1 or value.shape in [(tokens,), (1, tokens), (tokens + extra,), (1, tokens + extra)]:
        return
    raise _WrongShapeError(
        f"{loss.name} returned shape {list(value.shape)} for logits [{tokens}, V] and labels [{tokens}] (a sample of "
        f"the batch). A loss returns one value a token, [{tokens}], or a scalar. If it takes another layout, say so "
        "with qt.adapt(fn, inputs=..., shift=..., layout=...); if it returns several things, with output=."
    )


def _misaligned_message(loss: TokenLoss) -> str:
    said = f"layout={loss.layout!r}" + (f", shift={loss.shift!r}" if loss.shift != "auto" else "")
    return (
        f"{loss.name}: a label trains another row's logits than its own when called with {said}: it shifts inside, or "
        "does not. Leave layout and shift to be found, or say qt.adapt(fn, shift='slice' | 'pad' | 'roll') where it "
        "shifts inside and shift='none' where it does not."
    )


def _most_telling(errors: list[Exception]) -> LossError:
    """The error to show: a misaligned label, the loss's own refusal, a constant, an odd shape, or what it raised."""
    for kind, found_so in ((MisalignedError, errors), (QTargetError, errors[::-1])):  # refusals of the largest sample
        for error in found_so:
            if isinstance(error, kind) and error.__cause__ is None and not isinstance(error, _WrongShapeError):
                return error if isinstance(error, LossError) else LossError(str(error))
    for error in errors:
        if isinstance(error, _WrongShapeError):
            return error
    cause = errors[0].__cause__ or errors[0]
    found = LossError(
        f"{errors[0]!s}\nIf it takes its arguments in another form, say so with qt.adapt(fn, inputs=..., shift=..., "
        "layout=...)."
    )
    found.__cause__ = cause
    return found
