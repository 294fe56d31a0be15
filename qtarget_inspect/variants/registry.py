"""The registry: a dict of variants; `register` adds to it, plug-ins come in by entry point."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, overload

from torch import Tensor

from qtarget_inspect.core.errors import QTargetError, RegistryError
from qtarget_inspect.variants import (
    both,
    confidence,
    divergence,
    gates,
    label_trust,
    one_hot,
    policy_gradient,
    preference,
    regulariser,
    releases,
    residual,
)
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.parsing import parse_spec
from qtarget_inspect.variants.ranges import Range
from qtarget_inspect.variants.sources import BEYOND, PACKAGE_SOURCES, PAPER
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

BEYOND_VARIANTS: tuple[Variant, ...] = (
    *confidence.VARIANTS,
    *gates.VARIANTS,
    *releases.VARIANTS,
    *divergence.VARIANTS,
    *regulariser.VARIANTS,
    *policy_gradient.VARIANTS,
    *preference.VARIANTS,
)
"""The losses beyond the paper's table that come with the package, by mechanism."""

_BELONGS = {PAPER: "is a row of the paper's table", BEYOND: "comes with the package"}
"""What is said of a variant that can be neither replaced nor removed."""

_FIELDS = (
    "title",
    "category",
    "parameters",
    "ranges",
    "stop_gradient",
    "coupling",
    "formula",
    "latex",
    "reference",
    "twin_of",
)

_registry: dict[str, Variant] = {variant.name: variant for variant in PAPER_VARIANTS + BEYOND_VARIANTS}
_plugins_loaded = False


def variants() -> dict[str, Variant]:
    """All registered variants by name: the paper's rows, the losses beyond it, then what others registered.

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
        RegistryError: no such variant or parameter (the message lists what exists), or a value outside its range.

    Examples:
        >>> get("asft(kl_weight=0.1)").label
        'asft(kl_weight=0.1)'
    """
    if not isinstance(name, str):
        raise RegistryError(
            f"get takes the name of a variant, as text, not {name!r:.60}; registered are {', '.join(variants())}."
        )
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
    ranges: dict[str, Range] | None = None,
    stop_gradient: bool = False,
    coupling: str | None = None,
    formula: str = "",
    latex: str = "",
    reference: str = "",
    twin_of: str | None = None,
    overwrite: bool = False,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]: ...


def register(variant: Variant | str, /, *, overwrite: bool = False, **fields: Any) -> Any:
    """Add a variant to the registry: `register(Variant(...))`, or as a decorator, `@register("my-loss", pulls=...)`.

    Claim and pulls are optional: what is not declared is fitted, and nothing is checked against it. What is declared is
    not held against the loss here, since that takes a batch: `unification_table("all")` differentiates the loss and
    says where its pulls or its claim fail.

    Args:
        variant: a variant, or the name under which the decorated loss is to be known.
        overwrite: replace a variant of that name.
        **fields: with a name: `pulls` and `claim` (each itself, or a function of the parameters that makes it), and as
            in `Variant`: `title`, `category`, `parameters` with their `ranges`, `stop_gradient`, `coupling`, `formula`,
            `latex`, `reference`, `twin_of`.

    Returns:
        The variant, or a decorator that returns the loss unchanged.

    Raises:
        RegistryError: the name is taken or malformed, or a field is unknown or of a wrong type.

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
        if fields:
            raise RegistryError(
                f"register was given a Variant and {', '.join(fields)} besides; put them into the Variant."
            )
        return _add(variant, overwrite)
    if not isinstance(variant, str):
        raise RegistryError(
            f'register takes a Variant, or a name and then the loss: @register("my-loss"), not {variant!r:.60}.'
        )
    name = variant
    _check_name(name)
    unknown = sorted(set(fields) - {"pulls", "claim", *_FIELDS})
    if unknown:
        raise RegistryError(
            f"register knows no field {', '.join(unknown)}; with a name it takes pulls, claim, {', '.join(_FIELDS)}."
        )
    given = {key: value for key, value in fields.items() if key in _FIELDS and value is not None}
    make_pulls = _maker(fields.get("pulls"), Pulls, name, "pulls=Pulls.of((directions.label(), laws.label_prob()))")
    make_claim = _maker(fields.get("claim"), Claim, name, "claim=Claim(gauge, gamma_text, ...)")

    def decorate(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        defaults = {"title": name, "category": "label trust", **given}
        _add(Variant(name=name, loss=loss, make_pulls=make_pulls, make_claim=make_claim, **defaults), overwrite)
        return loss

    return decorate


def _maker(value: Any, kind: type, name: str, remedy: str) -> Callable[..., Any] | None:
    """A function of the parameters that makes pulls or a claim, from one or from the thing itself."""
    if value is None or (callable(value) and not isinstance(value, kind)):
        return value
    if isinstance(value, kind):
        return lambda **_: value
    what = kind.__name__.lower()
    raise RegistryError(
        f"{what} of {name!r} must be a {kind.__name__} or a function of the parameters that makes one, "
        f"not {value!r:.60}. Write {remedy}."
    )


def unregister(name: str) -> None:
    """Remove a variant that was registered by hand.

    Args:
        name: its name.

    Raises:
        RegistryError: there is none of that name, or it comes with the package.
    """
    if not isinstance(name, str) or name not in _registry:
        raise RegistryError(f"no variant is named {name!r:.60}.")
    if _registry[name].source in PACKAGE_SOURCES:
        raise RegistryError(f"{name!r} {_BELONGS[_registry[name].source]} and stays.")
    del _registry[name]


def _check_name(name: str) -> None:
    if not name or any(character in name for character in "(),:= \t\n"):
        raise RegistryError(f"variant name {name!r} must be non-empty, without spaces and without any of ( ) , : = .")


def _add(variant: Variant, overwrite: bool) -> Variant:
    if not isinstance(variant, Variant):
        raise RegistryError(f"the registry holds Variants, not {variant!r:.60}.")
    name = variant.name
    _check_name(name)
    if name in _registry and _registry[name].source in PACKAGE_SOURCES:
        raise RegistryError(f"{name!r} {_BELONGS[_registry[name].source]}; register yours under another name.")
    if variant.source in PACKAGE_SOURCES:
        raise RegistryError(f"{name!r} does not come with the package: give it another source than {variant.source!r}.")
    if name in _registry and not overwrite:
        raise RegistryError(f"{name!r} is registered already; pass overwrite=True to replace it.")
    for what in ("pulls", "claim"):
        try:
            getattr(variant, what)
        except QTargetError:
            raise
        except Exception as error:
            raise RegistryError(
                f"the function that makes the {what} of {variant.label} failed: {type(error).__name__}: {error}. "
                "It is called with the parameters as keywords."
            ) from error
    _registry[name] = variant
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
    close = get_close_matches(name.lower().replace("_", "-"), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
