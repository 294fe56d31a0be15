"""Beyond the paper, regularised likelihood: confidence penalty, z-loss, squared logits, logit normalisation."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, POSITIVE, Range
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, gate_laws
from qtarget_inspect.vocabulary.pulls import Pulls

VARIANTS = (
    Variant(
        name="confidence-penalty",
        title="confidence penalty",
        loss=losses.confidence_penalty,
        category="regulariser",
        parameters={"entropy_weight": 0.1},
        ranges={"entropy_weight": Range()},
        make_pulls=lambda entropy_weight: Pulls.of((directions.label(), 1.0), (directions.tilt(), entropy_weight)),
        formula="-log p_y - b H(p), b = entropy_weight",
        latex=r"-\log p_y - b\,H(p)",
        reference="arXiv 1701.06548",
        source=BEYOND,
    ),
    Variant(
        name="z-loss",
        title="SFT + z-loss",
        loss=losses.z_loss,
        category="regulariser",
        parameters={"z_weight": 1e-4},
        ranges={"z_weight": NOT_NEGATIVE},
        make_pulls=lambda z_weight: Pulls.of(
            (directions.label(), 1.0), (directions.nowhere(), 2 * z_weight * gate_laws.log_partition())
        ),
        formula="-log p_y + c (log Z)^2, c = z_weight",
        latex=r"-\log p_y + c\,(\log Z)^2",
        reference="arXiv 2204.02311",
        source=BEYOND,
    ),
    Variant(
        name="squared-logits",
        title="SFT + squared logits",
        loss=losses.squared_logits,
        category="regulariser",
        parameters={"logit_weight": 1e-3},
        ranges={"logit_weight": NOT_NEGATIVE},
        make_pulls=None,  # its gradient is in the logits themselves
        formula="-log p_y + c sum_k z_k^2, c = logit_weight",
        latex=r"-\log p_y + c\sum_k z_k^2",
        reference="arXiv 1803.06373",
        source=BEYOND,
    ),
    Variant(
        name="logit-norm",
        title="logit normalisation",
        loss=losses.logit_norm,
        category="regulariser",
        parameters={"temperature": 0.04},
        ranges={"temperature": POSITIVE},
        make_pulls=None,  # its gradient is of softmax(z / |z|), orthogonal to z
        formula="-log softmax(z / (tau |z|))_y, tau = temperature",
        latex=r"-\log\mathrm{softmax}(z/(\tau\|z\|))_y",
        reference="arXiv 2205.09310",
        source=BEYOND,
    ),
)
