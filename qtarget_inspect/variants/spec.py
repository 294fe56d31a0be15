"""Loss specs: a loss as text, "dft", "asft(kl_weight=0.1)", "my_losses.py:focal"; wherever a loss is taken."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtarget_inspect.core.errors import RegistryError
from qtarget_inspect.variants.registry import get
from qtarget_inspect.variants.variant import Variant


def resolve(loss: Any) -> Variant | Callable[..., Any]:
    """What a loss argument stands for.

    Args:
        loss: a callable, a Variant, a registered name with or without parameters, or FILE.py:NAME. Loading a file runs
            it.

    Returns:
        The variant or callable.

    Raises:
        RegistryError: it is none of these, or cannot be found.
    """
    if isinstance(loss, Variant):
        return loss
    if isinstance(loss, str):
        if loss.endswith(".py"):
            raise RegistryError(f"{loss!r} is a file: say which of its functions is the loss, {loss}:NAME.")
        return load_from_file(loss) if ".py:" in loss else get(loss)
    if callable(loss):
        return loss
    raise RegistryError(
        f"a loss is a callable, a registered name or FILE.py:NAME, not {type(loss).__name__} ({loss!r:.60})."
    )


def load_from_file(spec: str) -> Callable[..., Any]:
    """Load FILE.py:NAME; running the file is what loading it means.

    Args:
        spec: path and name.

    Returns:
        The callable of that name.

    Raises:
        RegistryError: the file is not there, fails, or holds no such callable.
    """
    path_text, _, name = spec.rpartition(":")
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise RegistryError(f"{spec!r}: there is no file {path}.")
    module_name = f"_qtarget_inspect_loss_{path.stem}_{hashlib.sha1(str(path.resolve()).encode()).hexdigest()[:8]}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise RegistryError(f"{path} could not be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if isinstance(found, type) or not callable(found):
        names = sorted(
            key
            for key, value in vars(module).items()
            if callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == module_name
        )
        hint = (
            " Parameters in parentheses are for registered names; use functools.partial in the file."
            if "(" in name
            else ""
        )
        raise RegistryError(f"{path} holds no function named {name!r}; it defines {', '.join(names) or 'none'}.{hint}")
    return found
