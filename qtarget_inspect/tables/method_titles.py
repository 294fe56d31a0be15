"""Titles of methods in a table: as people write them, and no two losses under one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qtarget_inspect.variants import Variant


def method_titles(names: Sequence[str], variants: Sequence[Variant | None]) -> list[str]:
    """A title a loss: the variant's own, with its parameters where two losses have one title.

    Args:
        names: the losses' names.
        variants: the registered variant of each, None for other losses.

    Returns:
        Titles, equal only for losses that have the same name.

    Examples:
        >>> import qtarget_inspect as qt
        >>> losses = [qt.get("dft"), qt.get("asft"), qt.get("asft(kl_weight=0.1)")]
        >>> method_titles([loss.label for loss in losses], losses)
        ['DFT', 'ASFT (kl_weight=0.05)', 'ASFT (kl_weight=0.1)']
    """
    titles = [variant.title if variant else name for name, variant in zip(names, variants, strict=True)]
    named = Counter(title for title, _ in set(zip(titles, names, strict=True)))
    return [
        title if named[title] == 1 else " ".join([title, *_parameters(name)])
        for title, name in zip(titles, names, strict=True)
    ]


def _parameters(name: str) -> list[str]:
    """What stands in the parentheses of a loss's name, with them."""
    return [name[name.index("(") :]] if "(" in name else []
