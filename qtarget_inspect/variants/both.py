"""The category both: the loss sets the label trust and the residual."""

import torch
from torch import Tensor

from qtarget_inspect import losses
from qtarget_inspect.core.state import State
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.pulls import Pulls


def _claimed_path(state: State, eta: float) -> Tensor:
    """p^(1-eta) teacher^eta / Z by plain powers."""
    teacher = torch.softmax(state.context("teacher_logits"), dim=-1)
    product = state.p ** (1 - eta) * teacher**eta
    return product / product.sum(-1, keepdim=True)


VARIANTS = (
    Variant(
        name="target-sft",
        title="Target-SFT",
        loss=losses.target_sft,
        category="both",
        parameters={"eta": 0.5},
        make_pulls=lambda eta: Pulls.of(
            (directions.label(), laws.label_prob()), (directions.path(eta), 1 - laws.label_prob())
        ),
        make_claim=lambda eta: Claim(
            "both",
            "p_y",
            "p_y",
            f"p^{1 - eta:g} teacher^{eta:g} / Z",
            rf"\propto p^{{{1 - eta:g}}}\pi_T^{{{eta:g}}}",
            gamma=lambda s: s.p.gather(-1, s.labels.unsqueeze(-1)).squeeze(-1),
            residual=lambda s: _claimed_path(s, eta),
            differs_from="teacher_logits",
        ),
        stop_gradient=True,
        formula="CE(sg Q, p), Q = p_y onehot(y) + (1-p_y) p^(1-eta) teacher^eta / Z",
        latex=r"\mathrm{CE}(\mathrm{sg}\,Q, p)",
        reference="arXiv 2606.11189",
        source="paper",
    ),
)
