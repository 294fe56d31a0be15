"""Compiling: torch.compile for functions that are made anew, each with code of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import torch

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compile_apart(function: Compiled, options: dict[str, Any] | None = None) -> Compiled:
    """Compile a closure at its first call, apart from others of the same code.

    torch.compile keeps what it compiled by code object, up to a limit. Closures that differ only in what they close
    over share theirs, and would use up the limit together: each gets a copy.

    Args:
        function: a Python function; shapes are taken as fixed.
        options: of torch.compile.

    Returns:
        The compiled function.
    """
    made = cast(FunctionType, function)
    own = FunctionType(made.__code__.replace(), made.__globals__, made.__name__, made.__defaults__, made.__closure__)
    return cast(Compiled, torch.compile(own, dynamic=False, options=options))
