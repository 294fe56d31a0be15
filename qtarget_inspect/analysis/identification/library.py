"""Library: the quantities that a weight may depend on, as far as the loss can see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification.numbers import digits_of
from qtarget_inspect.analysis.identification.samples import Samples
from qtarget_inspect.analysis.identification.support import SHORT
from qtarget_inspect.core.batch import LOGIT_CONTEXT
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.vocabulary import quantities
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.quantities import Quantity

LARGEST_TOP = 128
"""Top-k quantities are tried up to this k."""


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
    core += [quantities.normalized_entropy_of(name) for name in models]
    core += [quantities.entropy_of(name) for name in models] + [quantities.largest_prob(name) for name in models]
    if "weights" in context:
        core.append(quantities.token_weight())
    core += [
        quantities.path_normalizer(numbers["eta"], direction.requires[0], estimated=digits_of(numbers["eta"]) > SHORT)
        for direction in support
        if direction.name.startswith("path(")
    ]
    core += [quantities.vocabulary_size(), quantities.vocabulary_share()]
    sizes = range(2, min(LARGEST_TOP, largest - 1) + 1)
    kinds: list[Callable[[int], Quantity]] = [quantities.top_k_entropy, quantities.normalized_top_k_entropy]
    top = [kind(k) for kind in kinds for k in sizes]
    top += [quantities.top_k_mass(k, name) for name in (*models, MODEL) for k in range(1, sizes.stop)]
    return Library(tuple(core), tuple(top))


def fill_top_k(samples: Samples, context: Sequence[str]) -> None:
    """Read the top-k quantities of every k at once, from one sort of each row.

    With the k largest probabilities b_1 >= b_2 ... and their sums C_k: H_k = log C_k - (sum_{i<=k} b_i log b_i) / C_k.

    Args:
        samples: where they are kept.
        context: context that the loss can see.
    """
    for of in (MODEL, *(name for name in LOGIT_CONTEXT if name in context)):
        parts = [state.per_token(("top_k_table", of), _top_k_table(of)) for state in samples.states]
        masses = [part[..., 0].numpy() for part in parts]  # [n, K] log C_k of each batch
        for k in range(1, LARGEST_TOP + 1):
            log = np.concatenate([mass[:, min(k, mass.shape[1]) - 1] for mass in masses])
            samples.put(quantities.top_k_mass(k, of), log, 4 + np.exp(-log))
            if of == MODEL and k > 1:
                entropy = np.concatenate([part[:, min(k, part.shape[1]) - 1, 1].numpy() for part in parts])
                sizes = [min(k, state.batch.vocabulary) for state in samples.states]
                most = np.repeat(np.log(sizes), [len(part) for part in parts])
                with np.errstate(all="ignore"):
                    noise = 4 + 16 * (1 + np.abs(np.log(entropy))) / entropy
                    samples.put(quantities.top_k_entropy(k), np.log(entropy), noise)
                    samples.put(quantities.normalized_top_k_entropy(k), np.log(entropy / most), noise)


def _top_k_table(of: str) -> Callable[[State], Tensor]:
    """state -> [n, K, 2]: log C_k and H_k for every k."""

    def compute(rows: State) -> Tensor:
        log_b = rows.log_probs(of).topk(min(LARGEST_TOP, rows.batch.vocabulary), dim=-1).values
        log_mass = log_b.logcumsumexp(-1)
        surprise = torch.where(torch.isneginf(log_b), 0.0, log_b.exp() * log_b).cumsum(-1)
        entropy = (log_mass - surprise / log_mass.exp()).clamp(min=0.0)
        return torch.stack([log_mass.clamp(max=0.0), entropy], -1)

    return compute
