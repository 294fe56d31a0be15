"""Variant: a registered loss, its pulls and the paper's claim, three independent statements."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor

from qtarget_inspect.core.batch import CONTEXT_NAMES
from qtarget_inspect.core.errors import RegistryError
from qtarget_inspect.variants.claims import Claim
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


@dataclass(frozen=True)
class Variant:
    """A named loss with what is known and what is claimed about it.

    Args:
        name: registry name, lower case with hyphens.
        title: the name as people write it.
        loss: (logits [N, V], labels [N], **context, **parameters) -> [N].
        category: the paper's category.
        parameters: parameter values; keyword arguments of loss, pulls and claim.
        make_pulls: parameters -> Pulls; None where the loss is not known as pulls.
        make_claim: parameters -> Claim; None where nothing is claimed.
        stop_gradient: whether the loss detaches a weight or target. DFT and p-loss have the same pulls; this flag tells
            them apart.
        coupling: how tokens of a batch hang together, None where they do not.
        formula: the loss in plain text.
        latex: the loss in LaTeX.
        reference: where it comes from, e.g. "arXiv 2508.05629".
        source: "paper" for rows of the unification table, "user" or a plug-in's name otherwise.
    """

    name: str
    title: str
    loss: Callable[..., Tensor] = field(repr=False)
    category: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    make_pulls: Callable[..., Pulls] | None = field(default=None, repr=False)
    make_claim: Callable[..., Claim] | None = field(default=None, repr=False)
    stop_gradient: bool = False
    coupling: str | None = None
    formula: str = ""
    latex: str = ""
    reference: str = ""
    source: str = "user"

    def __post_init__(self) -> None:
        """Freeze the parameters and check the category."""
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        if self.category not in CATEGORIES:
            raise RegistryError(
                f"category of {self.name!r} must be one of {', '.join(CATEGORIES)}, not {self.category!r}."
            )

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
        return self.make_pulls(**self.parameters) if self.make_pulls is not None else None

    @property
    def claim(self) -> Claim | None:
        """The paper's claim at the variant's parameters."""
        return self.make_claim(**self.parameters) if self.make_claim is not None else None

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
            RegistryError: a parameter is unknown; the message names those that exist.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "no parameters"
            raise RegistryError(f"{self.name} has no parameter {', '.join(unknown)}; it has {known}.")
        return replace(self, parameters={**self.parameters, **parameters})
