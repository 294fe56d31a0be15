"""Library: the quantities that a weight may depend on, as far as the loss can see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.state import MODEL
from qtarget_inspect.vocabulary import quantities
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.quantities import Quantity

LARGEST_TOP = 48
"""Top-k quantities are tried up to this k, or half of the largest vocabulary among the states where that is more."""


@dataclass(frozen=True)
class Library:
    """Quantities in order of precedence.

    Args:
        core: what is tried in every form of law.
        top_k: what is tried for every k, in the simpler forms only.
    """

    core: tuple[Quantity, ...]
    top_k: tuple[Quantity, ...]


def library(context: Sequence[str], support: Sequence[Direction], numbers: dict[str, float], largest: int) -> Library:
    """The quantities that a loss with this context can depend on.

    Args:
        context: context that the loss can see.
        support: the directions that explain its gradient; a path brings its normaliser.
        numbers: the numbers of the support: eta, top_k.
        largest: largest vocabulary among the states.

    Returns:
        The library.
    """
    models = [name for name in LOGIT_CONTEXT if name in context]
    core = [quantities.label_prob(), quantities.label_doubt()]
    core += [quantities.label_prob(name) for name in models]
    core += [quantities.label_ratio(name) for name in models]
    core += [quantities.normalized_entropy(), quantities.entropy(), quantities.surprisal()]
    core += [quantities.label_doubt(name) for name in models]
    if "sequence_ids" in context:
        core += [quantities.sequence_ratio(name) for name in models]
        core += [quantities.sequence_label_prob(name) for name in (MODEL, *models)]
        core += [quantities.sequence_length()]
    core += [quantities.collision_prob(), quantities.largest_prob()]
    core += [quantities.mass_up_to_label(name) for name in (MODEL, *models)]
    core += [quantities.entropy_of(name) for name in models] + [quantities.largest_prob(name) for name in models]
    if "weights" in context:
        core.append(quantities.token_weight())
    core += [
        quantities.path_normalizer(numbers["eta"], direction.requires[0])
        for direction in support
        if direction.name.startswith("path(")
    ]
    core.append(quantities.vocabulary_share())
    sizes = range(2, max(LARGEST_TOP, largest // 2) + 1)
    kinds: list[Callable[[int], Quantity]] = [quantities.top_k_entropy, quantities.normalized_top_k_entropy]
    top = [kind(k) for kind in kinds for k in sizes]
    top += [quantities.top_k_mass(k, name) for name in (*models, MODEL) for k in range(1, sizes.stop)]
    return Library(tuple(core), tuple(top))
