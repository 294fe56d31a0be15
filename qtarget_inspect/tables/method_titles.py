"""Titles of methods in tables and pictures: as people write them, with the parameters that are not the default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qtarget_inspect.core.errors import RegistryError
from qtarget_inspect.variants import Variant, variants
from qtarget_inspect.variants.parsing import parse_spec


def method_titles(losses: Sequence[str], titles: Sequence[str]) -> list[str]:
    """What each loss is called: its title, and in parentheses its parameters where the title alone would mislead.

    Those that differ from the registered default always; all of them where two losses have one title.

    Args:
        losses: the losses' names, as `Variant.label` writes them; a parameter that is swept is left out of them.
        titles: the variants' titles; of other losses, their names.

    Returns:
        Titles, equal only for losses that have the same name.

    Examples:
        >>> method_titles(["dft", "beyond-log(alpha=0.5)", "asft(kl_weight=0.05)"], ["DFT", "Beyond-log", "ASFT"])
        ['DFT', 'Beyond-log (alpha=0.5)', 'ASFT']
        >>> method_titles(["asft(kl_weight=0.05)", "asft(kl_weight=0.1)"], ["ASFT", "ASFT"])
        ['ASFT (kl_weight=0.05)', 'ASFT (kl_weight=0.1)']
    """
    named = Counter(title for title, _ in set(zip(titles, losses, strict=True)))
    known = variants()
    return [
        _with_words(title, _all_words(loss) if named[title] > 1 else _telling_words(loss, title, known))
        for loss, title in zip(losses, titles, strict=True)
    ]


def _with_words(title: str, words: str) -> str:
    return f"{title} ({words})" if words else title


def _all_words(loss: str) -> str:
    """What stands in the parentheses of a loss's name."""
    return loss.partition("(")[2].removesuffix(")")


def _telling_words(loss: str, title: str, known: dict[str, Variant]) -> str:
    """Of what stands there, the parameters that are not those of the registered loss of this title."""
    variant = known.get(loss.partition("(")[0])
    if variant is None or variant.title != title or title == loss:
        return ""
    try:
        given = parse_spec(loss)[1]
    except RegistryError:  # a value that is no number: all of it, unless it is the default
        return "" if loss == variant.label else _all_words(loss)
    return ", ".join(f"{key}={value!r}" for key, value in given.items() if variant.parameters.get(key) != value)
