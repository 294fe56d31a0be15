"""The category residual distribution: the loss says where the mass goes that the label does not get."""

import torch

from qtarget_inspect import losses
from qtarget_inspect.variants.claim_terms import constant, label_prob, softmax_of
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.ranges import NOT_NEGATIVE, POSITIVE, SHARE, SHARE_BELOW_ONE
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.pulls import Pulls


def _kd_pulls(temperature: float) -> Pulls:
    if temperature == 1.0:
        return Pulls.of((directions.teacher(), 1.0))
    return Pulls.of((directions.teacher(temperature), temperature), (directions.power(1 / temperature), -temperature))


VARIANTS = (
    Variant(
        name="label-smoothing",
        title="label smoothing",
        loss=losses.label_smoothing,
        category="residual distribution",
        parameters={"label_smoothing": 0.1},
        ranges={"label_smoothing": SHARE_BELOW_ONE},
        make_pulls=lambda label_smoothing: Pulls.of(
            (directions.label(), 1 - label_smoothing), (directions.uniform(), label_smoothing)
        ),
        make_claim=lambda label_smoothing: Claim(
            "both",
            f"{1 - label_smoothing:g}",
            f"{1 - label_smoothing:g}",
            "uniform",
            "1/V",
            gamma=lambda s: constant(1 - label_smoothing, s),
            residual=lambda s: torch.ones_like(s.p) / s.p.shape[-1],
        ),
        formula="(1-l) CE(label, p) + l CE(uniform, p), l = label_smoothing",
        latex=r"(1-\ell)\,\mathrm{CE}(\mathbf{1}_y, p) + \ell\,\mathrm{CE}(u, p)",
        reference="arXiv 1512.00567",
        source="paper",
    ),
    Variant(
        name="sft-kl",
        title="SFT + KL",
        loss=losses.sft_kl,
        category="residual distribution",
        parameters={"kl_weight": 0.1},
        ranges={"kl_weight": NOT_NEGATIVE},
        make_pulls=lambda kl_weight: Pulls.of((directions.label(), 1.0), (directions.reference(), kl_weight)),
        make_claim=lambda kl_weight: Claim(
            "normalized",
            f"1 / (1 + {kl_weight:g})",
            f"1/(1+{kl_weight:g})",
            "reference",
            r"\pi_{\mathrm{ref}}",
            gamma=lambda s: constant(1 / (1 + kl_weight), s),
            residual=lambda s: softmax_of("reference_logits", s),
            differs_from="reference_logits",
        ),
        formula="-log p_y + l KL(ref || p), l = kl_weight",
        latex=r"-\log p_y + \lambda\,\mathrm{KL}(\pi_{\mathrm{ref}}\,\|\,p)",
        reference="arXiv 2606.11189",
        source="paper",
    ),
    Variant(
        name="asft",
        title="ASFT",
        loss=losses.asft,
        category="residual distribution",
        parameters={"kl_weight": 0.05},
        ranges={"kl_weight": NOT_NEGATIVE},
        make_pulls=lambda kl_weight: Pulls.of(
            (directions.label(), laws.label_prob()), (directions.reference(), kl_weight)
        ),
        make_claim=lambda kl_weight: Claim(
            "normalized",
            f"p_y / (p_y + {kl_weight:g})",
            f"p_y/(p_y+{kl_weight:g})",
            "reference",
            r"\pi_{\mathrm{ref}}",
            gamma=lambda s: label_prob(s) / (label_prob(s) + kl_weight),
            residual=lambda s: softmax_of("reference_logits", s),
            differs_from="reference_logits",
        ),
        stop_gradient=True,
        formula="-sg[p_y] log p_y + l KL(ref || p), l = kl_weight",
        latex=r"-\mathrm{sg}[p_y]\log p_y + \lambda\,\mathrm{KL}(\pi_{\mathrm{ref}}\,\|\,p)",
        reference="arXiv 2509.23753",
        source="paper",
    ),
    Variant(
        name="psft",
        title="Proximal SFT",
        loss=losses.psft,
        category="residual distribution",
        parameters={"epsilon": 0.2, "epsilon_high": 0.28},
        ranges={"epsilon": SHARE_BELOW_ONE, "epsilon_high": NOT_NEGATIVE},
        make_pulls=lambda epsilon, epsilon_high: Pulls.of((directions.label(), laws.ratio_below(1 + epsilon_high))),
        make_claim=lambda epsilon, epsilon_high: Claim(
            "unit",
            "clipping-dependent",
            r"\text{clipping-dependent}",
            "old policy",
            r"\pi_{\mathrm{old}}",
            gamma=None,
            residual=lambda s: softmax_of("old_logits", s),
            differs_from="old_logits",
        ),
        formula="-min(r, clip(r, 1-epsilon, 1+epsilon_high)), r = p_y / old_y",
        latex=r"-\min(r, \mathrm{clip}(r, 1-\epsilon, 1+\epsilon_{\mathrm{high}}))",
        reference="arXiv 2508.17784",
        source="paper",
    ),
    Variant(
        name="gem",
        title="GEM",
        loss=losses.gem,
        category="residual distribution",
        parameters={"beta": 0.7},
        ranges={"beta": POSITIVE},
        make_pulls=lambda beta: Pulls.of((directions.label(), 1.0), (directions.power(1 / beta), -1.0)),
        make_claim=lambda beta: Claim(
            "unit",
            "1",
            "1",
            "p - q (remainder)",
            "p - q",
            gamma=lambda s: constant(1.0, s),
            remainder=lambda s: s.p - torch.softmax(s.log_p / beta, dim=-1),
        ),
        stop_gradient=True,
        formula="CE(label, p) - CE(sg q, p), q = p^(1/beta) / Z",
        latex=r"\mathrm{CE}(\mathbf{1}_y, p) - \mathrm{CE}(\mathrm{sg}\,q, p),\; q \propto p^{1/\beta}",
        reference="arXiv 2408.16673",
        source="paper",
    ),
    Variant(
        name="kd",
        title="KD",
        loss=losses.kd,
        category="residual distribution",
        parameters={"temperature": 1.0},
        ranges={"temperature": POSITIVE},
        make_pulls=_kd_pulls,
        make_claim=lambda temperature: Claim(
            "both",
            "0",
            "0",
            "teacher",
            r"\pi_T",
            gamma=lambda s: constant(0.0, s),
            residual=lambda s: softmax_of("teacher_logits", s, temperature),
            differs_from="teacher_logits",
        ),
        formula="tau^2 CE(teacher^(1/tau), p^(1/tau)), tau = temperature",
        latex=r"\tau^2\,\mathrm{CE}(\pi_T^{1/\tau}, p^{1/\tau})",
        reference="arXiv 1503.02531",
        source="paper",
    ),
    Variant(
        name="kd-hybrid",
        title="hybrid KD",
        loss=losses.kd_hybrid,
        category="residual distribution",
        parameters={"kd_weight": 0.5},
        ranges={"kd_weight": SHARE},
        make_pulls=lambda kd_weight: Pulls.of((directions.label(), 1 - kd_weight), (directions.teacher(), kd_weight)),
        make_claim=lambda kd_weight: Claim(
            "both",
            f"{1 - kd_weight:g}",
            f"{1 - kd_weight:g}",
            "teacher",
            r"\pi_T",
            gamma=lambda s: constant(1 - kd_weight, s),
            residual=lambda s: softmax_of("teacher_logits", s),
            differs_from="teacher_logits",
        ),
        formula="(1-l) CE(label, p) + l KL(teacher || p), l = kd_weight",
        latex=r"(1-\lambda)\,\mathrm{CE}(\mathbf{1}_y, p) + \lambda\,\mathrm{KL}(\pi_T\,\|\,p)",
        reference="arXiv 1503.02531",
        source="paper",
    ),
)
