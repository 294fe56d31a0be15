"""measure(losses, batch): gamma, mass, divergences and entropies of many losses at once, without their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard, get_args

import torch

from qtarget_inspect.analysis.decomposition import Gauge
from qtarget_inspect.analysis.measurement.declared import measure_declared
from qtarget_inspect.analysis.measurement.plain import measure_target
from qtarget_inspect.analysis.measurement.records import Measurement
from qtarget_inspect.analysis.measurement.stream import Stream, stream_of_batch, stream_of_hidden
from qtarget_inspect.analysis.measurement.undeclared import measure_in_chunks
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.checks import is_whole
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.core.fast_paths import fast_paths_enabled
from qtarget_inspect.core.hidden_states import HiddenStates
from qtarget_inspect.core.state import compute_dtype
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.variants import Variant, resolve


def measure(
    losses: Sequence[Any],
    batch: TokenBatch | HiddenStates,
    *,
    gauge: Gauge = "natural",
    top_tokens: int | None = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
) -> Measurement:
    """What losses teach, token by token, in numbers: label trust, masses, divergences, entropies; not Q itself.

        mass = sum_k Q_k             negative_mass = sum_k max(-Q_k, 0)       total_variation = 1/2 sum_k |Q_k - p_k|
        kl_to_model = KL(Q‖p)        target_entropy = -sum_k Q_k log Q_k      model_entropy = -sum_k p_k log p_k

    All losses with declared pulls are measured in one reading of the logits, each softmax shared, in memory that does
    not grow with N: Q is never written out. `invert` and `decompose` give the same numbers one loss at a time, with Q
    [N, V]; `compare` averages them. A callable is inverted: on a `TokenBatch` whole, with its Q in memory.

    On `HiddenStates` logits are made chunk by chunk. A callable is then inverted on each chunk as a batch of its own,
    its natural gauge that of the first chunk; a mean over tokens is undone in each. A loss whose tokens depend on each
    other is refused there: a chunk cuts them apart. Losses with declared pulls may be coupled (iw-SFT, DPO).

    Args:
        losses: a list of losses as `invert` takes them.
        batch: the tokens, N of them: logits, or hidden states and an lm_head.
        gauge: "natural" (each loss's own), "unit" or "normalized".
        top_tokens: how many of the tokens that gain and lose most to report, by Q - p; None for none.
        dtype: type to compute in, float32 or float64; default the logits' own, float32 for half precision.
        compile: take the sums of all pieces but the first from one loop that torch.compile makes of them, about a third
            faster for many losses. The first call takes seconds; the loop is kept for calls with the same losses. Not
            with `top_tokens`, whose order needs the rows.

    Returns:
        The measurement: `["dft"]["gamma"]` is a [N] tensor, float64; `.table()` a DataFrame with a row a (loss, token).
        A number is NaN where it is undefined: all of Q's where the gauge is, gamma where a fit does not explain the
        gradient, KL and entropy of a Q that is no distribution, the entropy of a residual that is absent or none.
        signed is 1 where there is negative mass beyond rounding. KL and entropies are in nats; KL is inf where Q has
        mass that the model excludes.

    Raises:
        QTargetError: an argument is none of the above.
        BatchError: `batch` is neither.
        LossError: a target is not finite, or a callable's tokens hang together and they are hidden states.
        MissingContextError: a loss needs context that the batch does not hold.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> batch = qt.TokenBatch(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 0]))
        >>> found = measure(["sft", "dft"], batch, top_tokens=2)
        >>> found["dft"]["gamma"]
        tensor([0.7870, 0.2119], dtype=torch.float64)
        >>> found["dft"].gains.tokens.tolist(), found["dft"].drops.tokens.tolist()
        ([[0, -1], [0, -1]], [[1, 2], [1, 2]])
        >>> found.table()[["loss", "token", "total_variation", "kl_to_model"]].round(3).values.tolist()
        [['sft', 0, 0.213, 0.24], ['sft', 1, 0.788, 1.551], ['dft', 0, 0.168, 0.114], ['dft', 1, 0.167, 0.072]]
    """
    _check(losses, batch, gauge, top_tokens, dtype)
    resolved = [resolve(loss) for loss in losses]
    declared = [one for one in resolved if _has_fast_path(one)]
    with torch.inference_mode(False), torch.no_grad():
        stream = _stream(batch, dtype)
        for variant in declared:
            _check_context(variant, stream)
        found = iter(measure_declared(declared, stream, gauge, top_tokens, compile) if declared else ())
    records = []
    for one in resolved:
        if _has_fast_path(one):
            records.append(next(found))
        elif isinstance(batch, HiddenStates):
            records.append(measure_in_chunks(one, batch, gauge, top_tokens, dtype))
        else:
            records.append(measure_target(one, invert(one, batch, dtype=dtype), gauge, top_tokens))
    return Measurement(tuple(records), batch.labels, tuple(batch.tokens) if batch.tokens is not None else None)


def _has_fast_path(loss: Any) -> TypeGuard[Variant]:
    return fast_paths_enabled() and isinstance(loss, Variant) and loss.pulls is not None


def _stream(batch: TokenBatch | HiddenStates, dtype: torch.dtype | None) -> Stream:
    if isinstance(batch, TokenBatch):
        return stream_of_batch(batch, dtype or compute_dtype(batch.logits.dtype))
    return stream_of_hidden(batch, dtype or compute_dtype(batch.hidden.dtype))


def _check_context(variant: Variant, stream: Stream) -> None:
    """Refuse a loss whose context is not there, in the words of `invert`."""
    if any(getattr(stream.tokens, name) is None for name in variant.context):
        adapt(variant.bound_loss, name=variant.label, layout="flat").required_context(stream.tokens)


def _check(losses: Any, batch: Any, gauge: Any, top_tokens: Any, dtype: Any) -> None:
    if isinstance(losses, (str, bytes)) or not isinstance(losses, Sequence):
        given = repr(losses) if isinstance(losses, (str, bytes)) else type(losses).__name__
        raise QTargetError(f"losses: measure takes a list of losses, not {given}. Pass e.g. ['sft', 'dft'].")
    if not losses:
        raise QTargetError("losses is empty: measure takes a list of losses. Pass e.g. ['sft', 'dft'].")
    if not isinstance(batch, (TokenBatch, HiddenStates)):
        raise BatchError(
            f"batch must be a TokenBatch or HiddenStates, not {type(batch).__name__}: qt.TokenBatch(logits, labels)."
        )
    if gauge not in get_args(Gauge):
        raise QTargetError(f"gauge must be one of {', '.join(get_args(Gauge))}, not {gauge!r}.")
    if top_tokens is not None and (not is_whole(top_tokens) or top_tokens < 1):
        raise QTargetError(f"top_tokens must be a positive integer or None, not {top_tokens!r}; 5 is usual.")
    if dtype not in (None, torch.float32, torch.float64):
        raise QTargetError(f"dtype must be torch.float32 or torch.float64, not {dtype}.")
