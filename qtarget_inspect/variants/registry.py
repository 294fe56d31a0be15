"""The registry: a dict of variants; `register` adds to it, plug-ins come in by entry point."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, overload

from torch import Tensor

from qtarget_inspect.core.errors import RegistryError
from qtarget_inspect.variants import both, label_trust, one_hot, residual
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary.pulls import Pulls

ENTRY_POINT_GROUP = "qtarget_inspect.variants"

PAPER_VARIANTS: tuple[Variant, ...] = (
    *one_hot.VARIANTS,
    *label_trust.VARIANTS,
    *residual.VARIANTS,
    *both.VARIANTS,
)
"""The sixteen rows of the paper's unification table, in its order."""

_registry: dict[str, Variant] = {variant.name: variant for variant in PAPER_VARIANTS}
_plugins_loaded = False


def variants() -> dict[str, Variant]:
    """All registered variants by name, the paper's rows first.

    Returns:
        A copy of the registry.

    Examples:
        >>> list(variants())[:4]
        ['sft', 'dft', 'p-loss', 'beyond-log']
    """
    _load_plugins()
    return dict(_registry)


def get(name: str) -> Variant:
    """A registered variant by name, parameters allowed: "dft", "asft(kl_weight=0.1)".

    Args:
        name: registry name, with parameter values in parentheses where they are not the defaults.

    Returns:
        The variant.

    Raises:
        RegistryError: no such variant or parameter; the message lists what exists.

    Examples:
        >>> get("asft(kl_weight=0.1)").label
        'asft(kl_weight=0.1)'
    """
    from qtarget_inspect.variants.spec import parse_spec

    base, parameters = parse_spec(name)
    known = variants()
    if base not in known:
        raise RegistryError(
            f"no variant is named {base!r}; registered are {', '.join(known)}. {_nearest(base, known)}".rstrip()
        )
    return known[base].with_parameters(**parameters) if parameters else known[base]


@overload
def register(variant: Variant, /, *, overwrite: bool = False) -> Variant: ...


@overload
def register(
    name: str,
    /,
    *,
    pulls: Pulls | Callable[..., Pulls] | None = None,
    claim: Claim | Callable[..., Claim] | None = None,
    title: str | None = None,
    category: str = "label trust",
    parameters: dict[str, Any] | None = None,
    stop_gradient: bool = False,
    coupling: str | None = None,
    formula: str = "",
    latex: str = "",
    reference: str = "",
    overwrite: bool = False,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]: ...


def register(variant: Variant | str, /, *, overwrite: bool = False, **fields: Any) -> Any:
    """Add a variant to the registry: `register(Variant(...))`, or as a decorator, `@register("my-loss", pulls=...)`.

    Claim and pulls are optional: what is not declared is fitted, and nothing is checked against it.

    Args:
        variant: a variant, or the name under which the decorated loss is to be known.
        overwrite: replace a variant of that name.
        **fields: with a name: `pulls` and `claim` (or functions of the parameters that make them), and the other fields
            of `Variant`.

    Returns:
        The variant, or a decorator that returns the loss unchanged.

    Raises:
        RegistryError: the name is taken or malformed.

    Examples:
        >>> import qtarget_inspect as qt
        >>> @qt.register("half-sft", formula="-0.5 log p_y", overwrite=True)
        ... def half_sft(logits, labels):
        ...     return 0.5 * qt.losses.sft(logits, labels)
        >>> qt.get("half-sft").title
        'half-sft'
        >>> qt.unregister("half-sft")
    """
    if isinstance(variant, Variant):
        return _add(variant, overwrite)
    name = variant

    def decorate(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        pulls, claim = fields.pop("pulls", None), fields.pop("claim", None)
        defaults = {"title": name, "category": "label trust", **{k: v for k, v in fields.items() if v is not None}}
        _add(
            Variant(
                name=name,
                loss=loss,
                make_pulls=(lambda **_: pulls) if isinstance(pulls, Pulls) else pulls,
                make_claim=(lambda **_: claim) if isinstance(claim, Claim) else claim,
                **defaults,
            ),
            overwrite,
        )
        return loss

    return decorate


def unregister(name: str) -> None:
    """Remove a variant that was registered by hand.

    Args:
        name: its name.

    Raises:
        RegistryError: there is none of that name, or it belongs to the paper's table.
    """
    if name not in _registry:
        raise RegistryError(f"no variant is named {name!r}.")
    if _registry[name].source == "paper":
        raise RegistryError(f"{name!r} is a row of the paper's table and stays.")
    del _registry[name]


def _add(variant: Variant, overwrite: bool) -> Variant:
    if not variant.name or any(character in variant.name for character in "(),:= \t\n"):
        raise RegistryError(
            f"variant name {variant.name!r} must be non-empty, without spaces and without any of ( ) , : = ."
        )
    if variant.name in _registry and not overwrite:
        raise RegistryError(f"{variant.name!r} is registered already; pass overwrite=True to replace it.")
    if variant.name in _registry and _registry[variant.name].source == "paper" and variant.source != "paper":
        raise RegistryError(f"{variant.name!r} is a row of the paper's table; register yours under another name.")
    _registry[variant.name] = variant
    return variant


def _load_plugins() -> None:
    """Load other packages' variants once: an entry point is a Variant, a list, or a function that returns either."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found = point.load()
            if callable(found) and not isinstance(found, Variant):
                found = found()
            for variant in [found] if isinstance(found, Variant) else found:
                _add(variant, overwrite=False)
        except Exception as error:  # a broken plug-in must not take the package down with it
            warnings.warn(
                f"the plug-in {point.name!r} ({point.value}) could not be loaded: {error!r}",
                RuntimeWarning,
                stacklevel=3,
            )


def _nearest(name: str, known: dict[str, Variant]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name.lower().replace("_", "-"), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
