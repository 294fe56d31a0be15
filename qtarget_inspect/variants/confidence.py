"""Beyond the paper, label trust by functions of p_y: focal, generalised and symmetric CE, Poly-1, unlikelihood."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, SHARE, Range
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, gate_laws, laws
from qtarget_inspect.vocabulary.pulls import Pulls

VARIANTS = (
    Variant(
        name="focal",
        title="focal loss",
        loss=losses.focal,
        category="label trust",
        parameters={"focusing": 2.0},
        ranges={"focusing": NOT_NEGATIVE},
        make_pulls=lambda focusing: Pulls.of((directions.label(), gate_laws.focal_trust(focusing))),
        formula="-(1 - p_y)^f log p_y, f = focusing",
        latex=r"-(1 - p_y)^{f}\log p_y",
        reference="arXiv 1708.02002",
        source=BEYOND,
    ),
    Variant(
        name="gce",
        title="generalised CE",
        loss=losses.gce,
        category="label trust",
        parameters={"alpha": 0.7},
        ranges={"alpha": SHARE},
        make_pulls=lambda alpha: Pulls.of((directions.label(), laws.label_prob(alpha))),
        formula="(1 - p_y^alpha) / alpha",
        latex=r"(1 - p_y^{\alpha})/\alpha",
        reference="arXiv 1805.07836",
        source=BEYOND,
        twin_of="beyond-log(alpha=0.7)",
    ),
    Variant(
        name="symmetric-ce",
        title="symmetric CE",
        loss=losses.symmetric_ce,
        category="label trust",
        parameters={"ce_weight": 0.1, "reverse_weight": 1.0, "log_zero": -4.0},
        ranges={"ce_weight": NOT_NEGATIVE, "reverse_weight": NOT_NEGATIVE, "log_zero": Range(high=0)},
        make_pulls=lambda ce_weight, reverse_weight, log_zero: Pulls.of((
            directions.label(),
            ce_weight + reverse_weight * abs(log_zero) * laws.label_prob(),
        )),
        formula="c CE(label, p) + r CE(p, label), c = ce_weight, r = reverse_weight, log 0 = log_zero",
        latex=r"c\,\mathrm{CE}(\mathbf{1}_y, p) + r\,\mathrm{CE}(p, \mathbf{1}_y),\; \log 0 := A",
        reference="arXiv 1908.06112",
        source=BEYOND,
    ),
    Variant(
        name="poly-1",
        title="Poly-1",
        loss=losses.poly_1,
        category="label trust",
        parameters={"poly_weight": 1.0},
        ranges={"poly_weight": Range()},
        make_pulls=lambda poly_weight: Pulls.of((directions.label(), 1 + poly_weight * laws.label_prob())),
        formula="-log p_y + w (1 - p_y), w = poly_weight",
        latex=r"-\log p_y + w(1 - p_y)",
        reference="arXiv 2204.12511",
        source=BEYOND,
    ),
    Variant(
        name="unlikelihood",
        title="unlikelihood",
        loss=losses.unlikelihood,
        category="residual distribution",
        make_pulls=lambda: Pulls.of((directions.others(), 1.0)),
        formula="-log(1 - p_y)",
        latex=r"-\log(1 - p_y)",
        reference="arXiv 1908.04319",
        source=BEYOND,
    ),
    Variant(
        name="unlikelihood-tokens",
        title="token unlikelihood",
        loss=losses.unlikelihood_tokens,
        category="regulariser",
        parameters={"unlikelihood_weight": 1.0},
        ranges={"unlikelihood_weight": NOT_NEGATIVE},
        make_pulls=None,  # a direction for every token of the vocabulary that came before
        coupling="the earlier labels of a sequence",
        formula="-log p_y - w sum_c log(1 - p_c), c earlier labels, w = unlikelihood_weight",
        latex=r"-\log p_y - w\sum_{c\in C_t}\log(1 - p_c)",
        reference="arXiv 1908.04319",
        source=BEYOND,
    ),
)
