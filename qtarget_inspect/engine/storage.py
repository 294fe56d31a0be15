"""Storage: an induced target in a file and back; tensors as safetensors, words as JSON, no pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES, TokenBatch
from qtarget_inspect.core.errors import MissingDependencyError, QTargetError, RegistryError
from qtarget_inspect.engine.reduction import Reduction
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants import get

FORMAT = "qtarget_inspect.InducedTarget/1"

_BATCH_TENSORS = ("logits", "labels", "positions", *CONTEXT_NAMES)


def save_target(target: InducedTarget, path: str | Path) -> Path:
    """Write an induced target with its batch to one file.

    Args:
        target: what `invert` returned.
        path: where to; conventionally `.safetensors`.

    Returns:
        The path.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    batch, reduction = target.batch, target.reduction
    tensors: dict[str, Tensor] = {"q": target.q, "g": target.g}
    tensors |= {f"batch.{name}": getattr(batch, name) for name in _BATCH_TENSORS if getattr(batch, name) is not None}
    if isinstance(reduction.divisor, Tensor):
        tensors["divisor"] = reduction.divisor
    words: dict[str, Any] = {
        "format": FORMAT,
        "loss": target.loss,
        "method": target.method,
        "coupled": target.coupled,
        "variant": target.variant.label if target.variant is not None else None,
        "notes": list(target.notes),
        "tokens": list(batch.tokens) if batch.tokens is not None else None,
        "grid": list(batch.grid) if batch.grid is not None else None,
        "reduction": {
            "kind": reduction.kind,
            "text": reduction.text,
            "declared": reduction.declared,
            "divisor": None if isinstance(reduction.divisor, Tensor) else reduction.divisor,
        },
    }
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    _safetensors().torch.save_file(contiguous, str(path), metadata={"qtarget_inspect": json.dumps(words)})
    return Path(path)


def load(path: str | Path) -> InducedTarget:
    """Read what `InducedTarget.save` wrote.

    Args:
        path: the file.

    Returns:
        The induced target; a registered variant is looked up again by its name.

    Raises:
        QTargetError: there is no such file, or it is another kind of file.
        MissingDependencyError: safetensors is not installed.
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise QTargetError(f"load: there is no file {path}.")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            words = json.loads((file.metadata() or {}).get("qtarget_inspect", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except safetensors.SafetensorError as error:
        raise QTargetError(f"load: {path} is no safetensors file ({error}).") from error
    if words.get("format") != FORMAT:
        raise QTargetError(f"load: {path} was not written by InducedTarget.save (format {words.get('format')!r}).")
    fields: dict[str, Any] = {name: tensors.get(f"batch.{name}") for name in _BATCH_TENSORS}
    fields["tokens"] = tuple(words["tokens"]) if words["tokens"] is not None else None
    fields["grid"] = tuple(words["grid"]) if words["grid"] is not None else None
    reduction = words["reduction"]
    divisor = tensors.get("divisor", reduction["divisor"])
    gradient = tensors["g"]
    return InducedTarget(
        q=tensors["q"],
        batch=TokenBatch.unchecked(fields),
        loss=words["loss"],
        method=words["method"],
        reduction=Reduction(reduction["kind"], reduction["text"], divisor, reduction["declared"]),
        coupled=words["coupled"],
        variant=_variant(words["variant"]),
        notes=tuple(words["notes"]),
        make_gradient=lambda: gradient,
    )


def _variant(label: str | None) -> Any:
    """The variant of that name, None where it is not registered here."""
    try:
        return get(label) if label is not None else None
    except RegistryError:
        return None


def _safetensors() -> Any:
    """The safetensors package, its torch part loaded."""
    try:
        import safetensors
        import safetensors.torch  # noqa: F401, makes safetensors.torch known
    except ImportError as error:
        raise MissingDependencyError(
            "saving and loading need safetensors: pip install 'qtarget-inspect[models]', or pip install safetensors."
        ) from error
    return safetensors
