"""How an inspection reads a target: which pulls, which gauge, which reading."""

from __future__ import annotations

from qtarget_inspect.analysis.decomposition import Decomposition, decompose
from qtarget_inspect.analysis.explanation import explains
from qtarget_inspect.analysis.identification import Identification
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.pulls import LABEL


def attractor_reading(target: InducedTarget, found: Identification | None) -> Decomposition:
    """The attractor reading: declared pulls, or a fit over the directions that were found, or over the known ones.

    Args:
        target: the induced target.
        found: what the loss was identified as.

    Returns:
        The decomposition, in its natural gauge, whether it explains the gradient or not.
    """
    declared = target.variant is not None and target.variant.pulls is not None
    if declared or found is None or found.pulls is None:
        return decompose(target, gauge="natural")
    needed = dict.fromkeys(found.pulls.requires)
    if any(getattr(target.batch, name) is None for name in needed):
        return decompose(target, gauge="natural")
    chosen = [directions.label(), *(term.direction for term in found.pulls if term.direction.name != LABEL)]
    fitted = decompose(target, gauge=found.gauge, attractors=chosen)
    return fitted if explains(fitted) else decompose(target, gauge="natural")


def shown_reading(pulls: Decomposition) -> Decomposition:
    """What is shown: the attractor reading where it explains the gradient, else the label-free one in the unit gauge.

    Args:
        pulls: the attractor reading.

    Returns:
        The decomposition.
    """
    return pulls if explains(pulls) else decompose(pulls.target, gauge="unit", reading="label-free")
