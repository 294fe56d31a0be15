"""Watching: which tensors a loss changes in place while it runs, its arguments' and its own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import LossError
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.calling import parameters_of, roles_of
from qtarget_inspect.engine.gradients import first_line, own_random_numbers

PIECES = ("num_output_chunks", "num_chunks")
"""Attributes by which a loss says into how many pieces it wants its logits cut."""


@dataclass(frozen=True)
class Writes:
    """What was written in place.

    Args:
        arguments: names of the arguments whose tensors changed or were written with what they held.
        own: in-place operations on other tensors, by torch's names.
    """

    arguments: tuple[str, ...]
    own: tuple[str, ...]


def watch_writes(loss: TokenLoss, tokens: TokenBatch) -> Writes:
    """Run a loss once and see what it writes to.

    A write is seen by the tensor's version, which counts writes of the same values too, and by its values, which show
    writes through `.data`.

    Args:
        loss: the loss, its layout settled.
        tokens: the tokens.

    Returns:
        The writes.

    Raises:
        LossError: the loss cannot be called.
    """
    before: list[tuple[str, Tensor, Tensor, int]] = []
    recorder = _Recorder()
    try:
        _run_watched(loss, tokens, before, recorder)
    except Exception:  # some code refuses to be looked at from below; then its arguments are watched alone
        before.clear()
        recorder.writes.clear()
        try:
            _run_watched(loss, tokens, before, nullcontext())
        except Exception as error:
            raise LossError(f"{loss.name} raised {type(error).__name__} when watched: {first_line(error)}") from error
    roles = {name: role for role, name in roles_of(loss.function, loss.inputs, loss.context).items()}
    known = {"first": "logits", "head": "lm_head weight", "labels": "labels"}
    written = [
        known.get(roles.get(name, ""), name) for name, tensor, old, version in before if _changed(tensor, old, version)
    ]
    targets = {tensor.untyped_storage().data_ptr() for _, tensor, _, _ in before}
    own = [name for name, storage in recorder.writes if storage not in targets]
    return Writes(tuple(dict.fromkeys(written)), tuple(dict.fromkeys(own)))


def _run_watched(
    loss: TokenLoss,
    tokens: TokenBatch,
    before: list[tuple[str, Tensor, Tensor, int]],
    recorder: AbstractContextManager[Any],
) -> None:
    """Call the loss through a function that keeps (name, tensor, copy, version) of its arguments in `before`."""

    def watched(*args: Any, **keywords: Any) -> Any:
        names = [*_positional_names(loss.function, len(args)), *keywords]
        for name, value in zip(names, [*args, *keywords.values()], strict=True):
            for tensor in _tensors_in(value):
                before.append((name, tensor, tensor.detach().clone(), tensor._version))
        with recorder:
            return loss.function(*args, **keywords)

    watched.__signature__ = _signature(loss.function)  # type: ignore[attr-defined]
    for name in PIECES:
        if hasattr(loss.function, name):
            setattr(watched, name, getattr(loss.function, name))
    run = replace(loss, function=watched, private=True)
    with (
        torch.enable_grad(),
        own_random_numbers(tokens.logits.device, seed=0),
        warnings.catch_warnings(action="ignore"),
    ):
        run(tokens.logits.clone().requires_grad_(True), tokens)


def _changed(tensor: Tensor, old: Tensor, version: int) -> bool:
    same = torch.equal(tensor.detach().nan_to_num(), old.nan_to_num()) if tensor.is_floating_point() else None
    return tensor._version != version or not (torch.equal(tensor, old) if same is None else same)


class _Recorder(TorchDispatchMode):
    """Notes every in-place operation and the storage it writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable and args and isinstance(args[0], Tensor):
            name = func._schema.name.partition("::")[2]
            if name.endswith("_"):
                self.writes.append((name, args[0].untyped_storage().data_ptr()))
        return func(*args, **(kwargs or {}))


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of an argument: itself, the entries of model outputs, pieces in a list."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (entry for entry in value.values() if isinstance(entry, Tensor))
    elif isinstance(value, (list, tuple)):
        yield from (entry for entry in value if isinstance(entry, Tensor))


def _positional_names(function: Callable[..., Any], count: int) -> list[str]:
    names = list(parameters_of(function))[:count]
    return names if len(names) == count else ["logits", "labels", *(f"argument {i}" for i in range(2, count))][:count]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature by which the engine binds the loss itself."""
    parameters = list(parameters_of(function).values())
    try:
        source = function.forward if isinstance(function, torch.nn.Module) else function
        kinds = [parameter.kind for parameter in inspect.signature(source).parameters.values()]
    except (TypeError, ValueError):
        kinds = [inspect.Parameter.VAR_POSITIONAL]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        place = next((i for i, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), len(parameters))
        parameters.insert(place, inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL))
    return inspect.Signature(parameters)
