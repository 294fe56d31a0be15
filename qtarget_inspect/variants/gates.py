"""Beyond the paper, label trust by a detached gate: thresholded log-likelihood, TaiLr, DEFT, PriFT."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import SHARE, SHARE_BELOW_ONE, Range
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, gate_laws, quantities
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.pulls import Pulls


def _label_pull(weight: Law) -> Pulls:
    return Pulls.of((directions.label(), weight))


VARIANTS = (
    Variant(
        name="thresholded-log",
        title="thresholded log",
        loss=losses.thresholded_log,
        category="label trust",
        parameters={"threshold": 0.1},
        ranges={"threshold": SHARE_BELOW_ONE},
        make_pulls=lambda threshold: _label_pull(gate_laws.label_prob_at_least(threshold)),
        stop_gradient=True,
        formula="-1[sg p_y >= threshold] log p_y",
        latex=r"-\mathbf{1}[\mathrm{sg}\,p_y \ge t]\log p_y",
        reference="arXiv 2510.00526",
        source=BEYOND,
    ),
    Variant(
        name="thresholded-log-below",
        title="thresholded log, below",
        loss=losses.thresholded_log_below,
        category="label trust",
        parameters={"threshold": 0.1},
        ranges={"threshold": Range(0, 1, low_open=True)},
        make_pulls=lambda threshold: _label_pull(gate_laws.label_prob_at_most(threshold)),
        stop_gradient=True,
        formula="-1[sg p_y <= threshold] log p_y",
        latex=r"-\mathbf{1}[\mathrm{sg}\,p_y \le t]\log p_y",
        reference="arXiv 2510.00526",
        source=BEYOND,
    ),
    Variant(
        name="tailr",
        title="TaiLr",
        loss=losses.tailr,
        category="label trust",
        parameters={"ratio_threshold": 0.1, "min_weight": 0.0},
        ranges={"ratio_threshold": SHARE, "min_weight": SHARE},
        make_pulls=lambda ratio_threshold, min_weight: _label_pull(
            gate_laws.saturated_label_prob(ratio_threshold, min_weight)
        ),
        stop_gradient=True,
        formula="-sg[max(p_y / (r + (1-r) p_y), m)] log p_y, r = ratio_threshold, m = min_weight",
        latex=r"-\mathrm{sg}[\max(p_y/(r + (1-r)p_y), m)]\log p_y",
        reference="arXiv 2302.13344",
        source=BEYOND,
    ),
    Variant(
        name="deft",
        title="DEFT",
        loss=losses.deft,
        category="label trust",
        make_pulls=lambda: _label_pull(gate_laws.label_prob_to_concentration()),
        stop_gradient=True,
        formula="(1 - p_y^sg[c]) / sg[c], c = sum_k p_k^2",
        latex=r"(1 - p_y^{\mathrm{sg}\,c})/\mathrm{sg}\,c,\; c = \sum_k p_k^2",
        reference="arXiv 2602.11424",
        source=BEYOND,
    ),
    Variant(
        name="prift-prob",
        title="PriFT-prob",
        loss=losses.prift_prob,
        category="label trust",
        make_pulls=lambda: _label_pull(quantities.label_prob("reference_logits").law()),
        formula="-ref_y log p_y, ref the frozen pretrained model",
        latex=r"-\pi_{\mathrm{ref}}(y)\log p_y",
        reference="arXiv 2606.09396",
        source=BEYOND,
    ),
    Variant(
        name="prift-mass",
        title="PriFT-mass",
        loss=losses.prift_mass,
        category="label trust",
        parameters={"threshold": 0.5},
        ranges={"threshold": SHARE},
        make_pulls=lambda threshold: _label_pull(gate_laws.label_support_at_least(threshold)),
        formula="-1[u >= threshold] log p_y, u the reference's mass on y and on what is less likely",
        latex=r"-\mathbf{1}[u \ge t]\log p_y",
        reference="arXiv 2606.09396",
        source=BEYOND,
    ),
)
