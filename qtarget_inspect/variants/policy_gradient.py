"""Beyond the paper, policy gradient on given tokens: REINFORCE, PPO, k3, GRPO."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, POSITIVE, SHARE_BELOW_ONE
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, policy_laws
from qtarget_inspect.vocabulary.formula import Law, constant
from qtarget_inspect.vocabulary.pulls import Pulls


def _label_pull(weight: Law) -> Pulls:
    return Pulls.of((directions.label(), weight))


def _k3_trust(kl_weight: float) -> Law:
    if kl_weight == 0:
        return constant(0.0)  # not 0 times a ratio that may be infinite
    return kl_weight * (policy_laws.ratio_of("reference_logits") - 1)


VARIANTS = (
    Variant(
        name="reinforce",
        title="REINFORCE",
        loss=losses.reinforce,
        category="policy gradient",
        make_pulls=lambda: _label_pull(policy_laws.advantage()),
        formula="-A log p_y",
        latex=r"-A\log p_y",
        reference="doi 10.1007/BF00992696",
        source=BEYOND,
    ),
    Variant(
        name="ppo",
        title="PPO",
        loss=losses.ppo,
        category="policy gradient",
        parameters={"epsilon": 0.2, "epsilon_high": 0.2},
        ranges={"epsilon": SHARE_BELOW_ONE, "epsilon_high": NOT_NEGATIVE},
        make_pulls=lambda epsilon, epsilon_high: _label_pull(
            policy_laws.clipped_advantage(1 - epsilon, 1 + epsilon_high)
        ),
        formula="-min(r A, clip(r, 1-epsilon, 1+epsilon_high) A), r = p_y / old_y",
        latex=r"-\min(rA, \mathrm{clip}(r, 1-\epsilon, 1+\epsilon_{\mathrm{high}})A)",
        reference="arXiv 1707.06347",
        source=BEYOND,
    ),
    Variant(
        name="k3",
        title="k3 penalty",
        loss=losses.k3,
        category="policy gradient",
        parameters={"kl_weight": 1.0},
        ranges={"kl_weight": POSITIVE},
        make_pulls=lambda kl_weight: _label_pull(_k3_trust(kl_weight)),
        formula="l (u - log u - 1), u = ref_y / p_y, l = kl_weight",
        latex=r"\lambda(u - \log u - 1),\; u = \pi_{\mathrm{ref}}(y)/p_y",
        reference="arXiv 2402.03300",
        source=BEYOND,
    ),
    Variant(
        name="grpo",
        title="GRPO",
        loss=losses.grpo,
        category="policy gradient",
        parameters={"epsilon": 0.2, "epsilon_high": 0.2, "kl_weight": 0.04},
        ranges={"epsilon": SHARE_BELOW_ONE, "epsilon_high": NOT_NEGATIVE, "kl_weight": NOT_NEGATIVE},
        make_pulls=lambda epsilon, epsilon_high, kl_weight: _label_pull(
            policy_laws.clipped_advantage(1 - epsilon, 1 + epsilon_high) + _k3_trust(kl_weight)
        ),
        formula="PPO + l (u - log u - 1), u = ref_y / p_y, l = kl_weight",
        latex=r"-\min(rA, \mathrm{clip}(r, 1-\epsilon, 1+\epsilon_{\mathrm{high}})A) + \lambda(u - \log u - 1)",
        reference="arXiv 2402.03300",
        source=BEYOND,
    ),
)
