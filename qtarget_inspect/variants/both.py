"""The category both: the loss sets the label trust and the residual."""

from qtarget_inspect import losses
from qtarget_inspect.variants.claim_terms import geometric_mean, label_prob
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.ranges import SHARE
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.pulls import Pulls

VARIANTS = (
    Variant(
        name="target-sft",
        title="Target-SFT",
        loss=losses.target_sft,
        category="both",
        parameters={"eta": 0.5},
        ranges={"eta": SHARE},
        make_pulls=lambda eta: Pulls.of(
            (directions.label(), laws.label_prob()), (directions.path(eta), 1 - laws.label_prob())
        ),
        make_claim=lambda eta: Claim(
            "both",
            "p_y",
            "p_y",
            f"p^{1 - eta:g} teacher^{eta:g} / Z",
            rf"\propto p^{{{1 - eta:g}}}\pi_T^{{{eta:g}}}",
            gamma=label_prob,
            residual=lambda s: geometric_mean("teacher_logits", s, eta),
            differs_from="teacher_logits",
        ),
        stop_gradient=True,
        formula="CE(sg Q, p), Q = p_y onehot(y) + (1-p_y) p^(1-eta) teacher^eta / Z",
        latex=r"\mathrm{CE}(\mathrm{sg}\,Q, p)",
        reference="arXiv 2606.11189",
        source="paper",
    ),
)
