"""Beyond the paper, preference losses over pairs of sequences: DPO, SimPO, ORPO."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, POSITIVE
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, preference_laws
from qtarget_inspect.vocabulary.pulls import Pulls

COUPLING = "gradient that flows between the tokens of the two sequences of a pair"
"""How preference losses hang together; stated for all of them alike."""

VARIANTS = (
    Variant(
        name="dpo",
        title="DPO",
        loss=losses.dpo,
        category="preference",
        parameters={"beta": 0.1},
        ranges={"beta": POSITIVE},
        make_pulls=lambda beta: Pulls.of((directions.label(), preference_laws.dpo_pull(beta))),
        coupling=COUPLING,
        formula="-log sigmoid(beta D), D = sum_chosen log(p_y / ref_y) - sum_rejected log(p_y / ref_y)",
        latex=r"-\log\sigma(\beta\Delta),\; \Delta = \sum_w \log\frac{p_y}{\pi_{\mathrm{ref}}(y)}"
        r" - \sum_l \log\frac{p_y}{\pi_{\mathrm{ref}}(y)}",
        reference="arXiv 2305.18290",
        source=BEYOND,
    ),
    Variant(
        name="simpo",
        title="SimPO",
        loss=losses.simpo,
        category="preference",
        parameters={"beta": 2.0, "margin": 1.0},
        ranges={"beta": POSITIVE, "margin": NOT_NEGATIVE},
        make_pulls=lambda beta, margin: Pulls.of((directions.label(), preference_laws.simpo_pull(beta, margin))),
        coupling=COUPLING,
        formula="-log sigmoid(beta M - margin), M = mean_chosen log p_y - mean_rejected log p_y",
        latex=r"-\log\sigma(\beta(\bar\ell_w - \bar\ell_l) - \gamma),\; \bar\ell = \mathrm{mean}\log p_y",
        reference="arXiv 2405.14734",
        source=BEYOND,
    ),
    Variant(
        name="orpo",
        title="ORPO",
        loss=losses.orpo,
        category="preference",
        parameters={"odds_weight": 0.1},
        ranges={"odds_weight": NOT_NEGATIVE},
        make_pulls=lambda odds_weight: Pulls.of((directions.label(), preference_laws.orpo_pull(odds_weight))),
        coupling=COUPLING,
        formula="-mean_chosen log p_y - w log sigmoid(O), O = log odds chosen - log odds rejected, w = odds_weight",
        latex=r"-\bar\ell_w - \lambda\log\sigma\left(\log\frac{P_w}{1-P_w} - \log\frac{P_l}{1-P_l}\right)",
        reference="arXiv 2403.07691",
        source=BEYOND,
    ),
)
