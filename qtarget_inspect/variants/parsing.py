"""Reading "name(parameter=value, ...)": text in, name and parameters out."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

from qtarget_inspect.core.errors import RegistryError


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split "name(key=value, ...)" into name and parameters.

    Args:
        spec: the text.

    Returns:
        Name and literal parameter values.

    Raises:
        RegistryError: the parentheses do not hold key=literal pairs, or one key twice.

    Examples:
        >>> parse_spec("asft(kl_weight=0.1)")
        ('asft', {'kl_weight': 0.1})
    """
    name, bracket, rest = spec.strip().partition("(")
    if not bracket:
        return name, {}
    pairs = _keyword_pairs(f"f({rest}")
    if pairs is None:
        raise RegistryError(f"cannot read {spec!r}: write NAME(parameter=number, ...), e.g. 'asft(kl_weight=0.1)'.")
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise RegistryError(f"{spec!r} gives {', '.join(twice)} more than once; give each parameter one value.")
    return name.strip(), dict(pairs)


def _keyword_pairs(call_text: str) -> list[tuple[str, Any]] | None:
    """The keyword arguments of a call written as text; None where it holds anything else than key=literal."""
    try:
        call = ast.parse(call_text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        pairs = [(word.arg, ast.literal_eval(word.value)) for word in call.keywords]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return None if any(key is None for key, _ in pairs) else [(str(key), value) for key, value in pairs]
