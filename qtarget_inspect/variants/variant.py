"""Variant: a registered loss, its pulls and the paper's claim, three independent statements."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES
from qtarget_inspect.core.errors import RegistryError
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.ranges import Range
from qtarget_inspect.vocabulary.pulls import Pulls

CATEGORIES = (
    "one-hot",
    "label trust",
    "residual distribution",
    "both",
    "regulariser",
    "divergence",
    "policy gradient",
    "preference",
)
"""The paper's categories, then what it lacks."""


Made = TypeVar("Made", Pulls, Claim)


@dataclass(frozen=True)
class Variant:
    """A named loss with what is known and what is claimed about it.

    Args:
        name: registry name, lower case with hyphens.
        title: the name as people write it.
        loss: (logits [N, V], labels [N], **context, **parameters) -> [N].
        category: the paper's category.
        parameters: parameter values; keyword arguments of loss, pulls and claim.
        ranges: what values the parameters may take; one that is left out is not checked.
        make_pulls: parameters -> Pulls; None where the loss is not known as pulls.
        make_claim: parameters -> Claim; None where nothing is claimed.
        stop_gradient: whether the loss detaches a weight or target. DFT and p-loss have the same pulls; this flag tells
            them apart.
        coupling: how tokens of a batch hang together, None where they do not.
        formula: the loss in plain text.
        latex: the loss in LaTeX.
        reference: where it comes from, e.g. "arXiv 2508.05629".
        source: "paper" for rows of the unification table, "beyond the paper" for other losses of the package, "user" or
            a plug-in's name otherwise.
        twin_of: a registered loss that has exactly the same gradient under another name, "beyond-log(alpha=0.7)"; None
            where none is known.
    """

    name: str
    title: str
    loss: Callable[..., Tensor] = field(repr=False)
    category: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict, repr=False)
    make_pulls: Callable[..., Pulls] | None = field(default=None, repr=False)
    make_claim: Callable[..., Claim] | None = field(default=None, repr=False)
    stop_gradient: bool = False
    coupling: str | None = None
    formula: str = ""
    latex: str = ""
    reference: str = ""
    source: str = "user"
    twin_of: str | None = None

    def __post_init__(self) -> None:
        """Check every field, and freeze parameters and ranges."""
        if not isinstance(self.name, str):
            raise RegistryError(f"the name of a variant is text, not {self.name!r:.60}.")
        if not callable(self.loss):
            raise RegistryError(f"the loss of {self.name!r} must be callable, not {self.loss!r:.60}.")
        for what in ("pulls", "claim"):
            make = getattr(self, f"make_{what}")
            if make is not None and not callable(make):
                raise RegistryError(
                    f"make_{what} of {self.name!r} must be a function of the parameters, or None, not {make!r:.60}."
                )
        object.__setattr__(self, "ranges", self._frozen("ranges", self.ranges))
        parameters = self._frozen("parameters", self.parameters)
        self._check_ranges(parameters)
        checked = {
            key: self.ranges[key].checked(value, key, self.name) if key in self.ranges else value
            for key, value in parameters.items()
        }
        object.__setattr__(self, "parameters", MappingProxyType(checked))
        self._check_keywords()
        if self.category not in CATEGORIES:
            raise RegistryError(
                f"category of {self.name!r} must be one of {', '.join(CATEGORIES)}, not {self.category!r}."
            )

    def _frozen(self, what: str, mapping: Any) -> Mapping[str, Any]:
        if not isinstance(mapping, Mapping) or not all(isinstance(key, str) for key in mapping):
            raise RegistryError(f"{what} of {self.name!r} must be a dict, parameter name -> ..., not {mapping!r:.60}.")
        return MappingProxyType(dict(mapping))

    def _check_ranges(self, parameters: Mapping[str, Any]) -> None:
        for key, allowed in self.ranges.items():
            if key not in parameters:
                raise RegistryError(f"{self.name!r} has a range for {key!r}, but no parameter of that name.")
            if not isinstance(allowed, Range):
                raise RegistryError(f"the range of {key} of {self.name!r} must be a Range(low, high), not {allowed!r}.")

    def _check_keywords(self) -> None:
        """Every parameter must be a keyword that the loss takes, as far as its signature tells."""
        try:
            known = inspect.signature(self.loss).parameters.values()
        except (TypeError, ValueError):
            return
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known):
            return
        missing = sorted(set(self.parameters) - {one.name for one in known})
        if missing:
            raise RegistryError(f"the loss of {self.name!r} does not take its parameter {', '.join(missing)}.")

    def __call__(self, logits: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        """Per-token values of the loss [N], at the variant's parameters."""
        return self.bound_loss(logits, labels, **context)

    @property
    def bound_loss(self) -> Callable[..., Tensor]:
        """The loss with the variant's parameters filled in."""
        return partial(self.loss, **self.parameters) if self.parameters else self.loss

    @property
    def pulls(self) -> Pulls | None:
        """The declared pulls at the variant's parameters."""
        return None if self.make_pulls is None else self._made("pulls", self.make_pulls, Pulls)

    @property
    def claim(self) -> Claim | None:
        """The paper's claim at the variant's parameters."""
        return None if self.make_claim is None else self._made("claim", self.make_claim, Claim)

    def _made(self, what: str, make: Callable[..., Any], kind: type[Made]) -> Made:
        """What a function of the parameters makes, if it is what it should be."""
        made = make(**self.parameters)
        if not isinstance(made, kind):
            raise RegistryError(f"the {what} of {self.label} must be a {kind.__name__}, not {made!r:.60}.")
        return made

    @property
    def conserves_mass(self) -> bool | None:
        """Whether the declared pulls say that Q sums to 1; None where nothing is declared."""
        return None if self.pulls is None else all(term.direction.kind != "nowhere" for term in self.pulls)

    @property
    def context(self) -> tuple[str, ...]:
        """Context that the loss needs."""
        names = inspect.signature(self.loss).parameters
        return tuple(name for name in CONTEXT_NAMES if name in names and names[name].default is inspect.Parameter.empty)

    @property
    def label(self) -> str:
        """Name with its parameters, as a loss spec: "asft(kl_weight=0.05)"."""
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.parameters.items())})"

    def with_parameters(self, **parameters: Any) -> Variant:
        """The variant with other parameter values.

        Args:
            **parameters: new values of known parameters.

        Returns:
            A new variant.

        Raises:
            RegistryError: a parameter is unknown (the message names those that exist), or its value outside its range.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "no parameters"
            raise RegistryError(f"{self.name} has no parameter {', '.join(unknown)}; it has {known}.")
        return replace(self, parameters={**self.parameters, **parameters})
