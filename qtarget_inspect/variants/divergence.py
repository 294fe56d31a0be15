"""Beyond the paper, divergences to a teacher and distillation from part of it."""

from qtarget_inspect import losses
from qtarget_inspect.variants.ranges import POSITIVE, SHARE, Range
from qtarget_inspect.variants.sources import BEYOND
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, quantities
from qtarget_inspect.vocabulary.pulls import Pulls

INSIDE = Range(0, 1, low_open=True, high_open=True)
"""Numbers between 0 and 1, without either."""


def _hybrid_pulls(kd_weight: float, temperature: float) -> Pulls:
    label = (directions.label(), 1 - kd_weight)
    if temperature == 1.0:
        return Pulls.of(label, (directions.teacher(), kd_weight))
    step = kd_weight * temperature
    return Pulls.of(label, (directions.teacher(temperature), step), (directions.power(1 / temperature), -step))


VARIANTS = (
    Variant(
        name="forward-kl",
        title="forward KL",
        loss=losses.forward_kl,
        category="divergence",
        make_pulls=lambda: Pulls.of((directions.teacher(), 1.0)),
        formula="KL(teacher || p)",
        latex=r"\mathrm{KL}(\pi_T\,\|\,p)",
        reference="arXiv 1503.02531",
        source=BEYOND,
        twin_of="kd",
    ),
    Variant(
        name="reverse-kl",
        title="reverse KL",
        loss=losses.reverse_kl,
        category="divergence",
        make_pulls=lambda: Pulls.of((directions.tilt(), 1.0), (directions.tilt("teacher_logits"), -1.0)),
        formula="KL(p || teacher)",
        latex=r"\mathrm{KL}(p\,\|\,\pi_T)",
        reference="arXiv 2306.08543",
        source=BEYOND,
    ),
    Variant(
        name="jsd",
        title="generalised JSD",
        loss=losses.generalized_jsd,
        category="divergence",
        parameters={"teacher_share": 0.5},
        ranges={"teacher_share": INSIDE},
        make_pulls=lambda teacher_share: Pulls.of(
            (directions.tilt(), 1 - teacher_share), (directions.mixture_tilt(teacher_share), teacher_share - 1)
        ),
        formula="b KL(teacher || m) + (1-b) KL(p || m), m = b teacher + (1-b) p, b = teacher_share",
        latex=r"b\,\mathrm{KL}(\pi_T\,\|\,m) + (1-b)\,\mathrm{KL}(p\,\|\,m),\; m = b\pi_T + (1-b)p",
        reference="arXiv 2306.13649",
        source=BEYOND,
    ),
    Variant(
        name="alpha-divergence",
        title="alpha-divergence",
        loss=losses.alpha_divergence,
        category="divergence",
        parameters={"eta": 0.5},
        ranges={"eta": INSIDE},
        make_pulls=lambda eta: Pulls.of((
            directions.path(eta),
            quantities.path_normalizer(eta, "teacher_logits").law() / eta,
        )),
        formula="(1 - Z) / (eta (1-eta)), Z = sum_k p_k^(1-eta) teacher_k^eta",
        latex=r"(1 - \sum_k p_k^{1-\eta}\pi_T(k)^{\eta})/(\eta(1-\eta))",
        reference="Amari 1985",
        source=BEYOND,
    ),
    Variant(
        name="total-variation",
        title="total variation",
        loss=losses.total_variation,
        category="divergence",
        make_pulls=lambda: Pulls.of((directions.sign_tilt(), 0.5)),
        formula="1/2 sum_k |p_k - teacher_k|",
        latex=r"\tfrac12\sum_k |p_k - \pi_T(k)|",
        reference="arXiv 2307.15190",
        source=BEYOND,
    ),
    Variant(
        name="kd-top-k",
        title="top-k KD",
        loss=losses.kd_top_k,
        category="divergence",
        parameters={"top_k": 20},
        ranges={"top_k": Range(1, integer=True)},
        make_pulls=lambda top_k: Pulls.of((
            directions.top_k(top_k, "teacher_logits"),
            quantities.top_k_mass(top_k, "teacher_logits").law(),
        )),
        formula="-sum_{k in top} teacher_k log p_k",
        latex=r"-\sum_{k\in\mathrm{top}} \pi_T(k)\log p_k",
        reference="arXiv 2503.16870",
        source=BEYOND,
    ),
    Variant(
        name="kd-top-k-renormalized",
        title="top-k KD, renormalised",
        loss=losses.kd_top_k_renormalized,
        category="divergence",
        parameters={"top_k": 20},
        ranges={"top_k": Range(1, integer=True)},
        make_pulls=lambda top_k: Pulls.of((directions.top_k(top_k, "teacher_logits"), 1.0)),
        formula="CE(top k of the teacher / their mass, p)",
        latex=r"\mathrm{CE}(\pi_{T,\mathrm{top}}/M, p)",
        reference="arXiv 2503.16870",
        source=BEYOND,
    ),
    Variant(
        name="kd-hybrid-temperature",
        title="hybrid KD, tempered",
        loss=losses.kd_hybrid_temperature,
        category="divergence",
        parameters={"kd_weight": 0.5, "temperature": 2.0},
        ranges={"kd_weight": SHARE, "temperature": POSITIVE},
        make_pulls=_hybrid_pulls,
        formula="(1-l) CE(label, p) + l tau^2 KL(teacher^(1/tau) || p^(1/tau)), l = kd_weight, tau = temperature",
        latex=r"(1-\lambda)\,\mathrm{CE}(\mathbf{1}_y, p) + \lambda\tau^2\,\mathrm{KL}(\pi_T^{1/\tau}\,\|\,p^{1/\tau})",
        reference="arXiv 1503.02531",
        source=BEYOND,
    ),
)
