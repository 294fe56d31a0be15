"""Beyond the paper, releases that differ from the paper of their method: EAFT, iw-SFT, GEM, ASFT."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, gate_laws, laws, weighted_directions
from qtarget_inspect.vocabulary.pulls import Pulls


def _gem_sigmoid_pulls(beta: float, scale: float) -> Pulls:
    mass = weighted_directions.sigmoid_mass(1 / beta, scale)
    return Pulls.of((directions.label(), mass), (weighted_directions.weighted_power(1 / beta, scale), -mass))


VARIANTS = (
    Variant(
        name="eaft-llama-factory",
        title="EAFT (LLaMA-Factory)",
        loss=losses.eaft_llama_factory,
        category="label trust",
        parameters={"top_k": 20, "divisor": 3.0},
        ranges={"top_k": Range(2, integer=True), "divisor": POSITIVE},
        make_pulls=lambda top_k, divisor: Pulls.of((directions.label(), gate_laws.top_k_entropy(top_k) / divisor)),
        stop_gradient=True,
        formula="-sg[H_k / divisor] log p_y",
        latex=r"-\mathrm{sg}[H_k/3.0]\log p_y",
        reference="arXiv 2601.02151",
        source=BEYOND,
    ),
    Variant(
        name="eaft-axolotl",
        title="EAFT (Axolotl)",
        loss=losses.eaft_axolotl,
        category="label trust",
        parameters={"top_k": 20},
        ranges={"top_k": Range(2, integer=True)},
        make_pulls=lambda top_k: Pulls.of((directions.label(), gate_laws.top_k_entropy(top_k))),
        stop_gradient=True,
        formula="-sg[H_k] log p_y",
        latex=r"-\mathrm{sg}[H_k]\log p_y",
        reference="arXiv 2601.02151",
        source=BEYOND,
    ),
    Variant(
        name="iw-sft-per-token",
        title="iw-SFT per token",
        loss=losses.iw_sft_per_token,
        category="label trust",
        parameters={"epsilon": 0.8},
        ranges={"epsilon": SHARE},
        make_pulls=lambda epsilon: Pulls.of((directions.label(), gate_laws.clipped_ratio(1 - epsilon, 1 + epsilon))),
        stop_gradient=True,
        formula="-sg[clip(p_y / ref_y, 1-epsilon, 1+epsilon)] log p_y",
        latex=r"-\mathrm{sg}[\mathrm{clip}(p_y/\pi_{\mathrm{ref}}(y), 1-\epsilon, 1+\epsilon)]\log p_y",
        reference="arXiv 2507.12856",
        source=BEYOND,
    ),
    Variant(
        name="gem-sigmoid",
        title="GEM (script)",
        loss=losses.gem_sigmoid,
        category="residual distribution",
        parameters={"beta": 0.7, "scale": 0.01},
        ranges={"beta": POSITIVE, "scale": NOT_NEGATIVE},
        make_pulls=_gem_sigmoid_pulls,
        stop_gradient=True,
        formula="-sum_k sg[q_k w_k] (log p_y - log p_k), q = p^(1/beta) / Z, w_k = sigmoid(scale (z_k - z_y))",
        latex=r"-\sum_k \mathrm{sg}[q_k\,\sigma(c(z_k - z_y))]\,(\log p_y - \log p_k),\; q \propto p^{1/\beta}",
        reference="arXiv 2408.16673",
        source=BEYOND,
    ),
    Variant(
        name="asft-reverse-kl",
        title="ASFT, reverse KL",
        loss=losses.asft_reverse_kl,
        category="residual distribution",
        parameters={"kl_weight": 0.05},
        ranges={"kl_weight": NOT_NEGATIVE},
        make_pulls=lambda kl_weight: Pulls.of(
            (directions.label(), laws.label_prob()),
            (directions.tilt(), kl_weight),
            (directions.tilt("reference_logits"), -kl_weight),
        ),
        stop_gradient=True,
        formula="-sg[p_y] log p_y + l KL(p || ref), l = kl_weight",
        latex=r"-\mathrm{sg}[p_y]\log p_y + \lambda\,\mathrm{KL}(p\,\|\,\pi_{\mathrm{ref}})",
        reference="arXiv 2509.23753",
        source=BEYOND,
    ),
)
