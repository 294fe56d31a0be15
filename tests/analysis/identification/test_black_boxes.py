"""Losses from outside the registry: each is named, its numbers are found, and its Q is predicted on other states."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import qtarget_inspect as qt

from .judging import FLOAT32_TOLERANCE, TOLERANCE, assert_never_wrong, entropy, kl, label_prob, nll, weighted


@dataclass(frozen=True)
class Expected:
    """What is to be found: the row, the numbers of gamma and of the residual, and the nearest variant."""

    gamma: str
    residual: str
    category: str
    gauge: str = "unit"
    gamma_numbers: dict[str, float] = field(default_factory=dict)
    residual_numbers: dict[str, float] = field(default_factory=dict)
    nearest: str = ""


def power_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return -(nll(logits, labels).neg().exp() ** 0.37)


def mixture(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    return 0.8 * nll(logits, labels) + 0.2 * kl(teacher_logits, logits)


def casting_mixture(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    return mixture(logits.float(), labels, teacher_logits.float())


def entropy_weighted(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    share = entropy(logits) / math.log(logits.shape[-1])
    return share * kl(teacher_logits, logits) + (1 - share) * nll(logits, labels)


def teacher_trust(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    return label_prob(teacher_logits, labels) * nll(logits, labels)


def trust_and_two_anchors(logits: Tensor, labels: Tensor, reference_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    anchors = 0.07 * kl(reference_logits, logits) + 0.11 * kl(teacher_logits, logits)
    return label_prob(logits, labels) * nll(logits, labels) + anchors


def hugging_face(outputs, labels, num_items_in_batch=None):
    logits, targets = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    values = functional.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
    count = (targets != -100).sum() if num_items_in_batch is None else num_items_in_batch
    return (values.detach().neg().exp() * values).sum() / count


class Root(torch.nn.Module):
    """sqrt(p_y)-weighted cross-entropy, its mean."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (label_prob(logits, labels).sqrt() * nll(logits, labels)).mean()


def scaled_power(logits: Tensor, labels: Tensor, *, alpha: float, scale: float) -> Tensor:
    return scale * label_prob(logits, labels) ** alpha * nll(logits, labels)


def z_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return nll(logits, labels) + 1.7e-3 * logits.logsumexp(-1) ** 2


def jsd_and_cross_entropy(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    middle = (0.3 * teacher_logits.softmax(-1) + 0.7 * logits.softmax(-1)).log()
    return nll(logits, labels) + 0.5 * (0.3 * kl(teacher_logits, middle) + 0.7 * kl(logits, middle))


def ppo(logits: Tensor, labels: Tensor, old_logits: Tensor, advantages: Tensor) -> Tensor:
    ratio = (nll(old_logits, labels) - nll(logits, labels)).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - 0.1371, 1 + 0.2913) * advantages)


def sequence_ratio(
    logits: Tensor, labels: Tensor, old_logits: Tensor, advantages: Tensor, sequence_ids: Tensor
) -> Tensor:
    """GSPO (arXiv 2507.18071) without its clip: the ratio of a sequence, length-normalised, times the advantage."""
    place = sequence_ids.unique(return_inverse=True)[1]
    logs = (nll(old_logits, labels) - nll(logits, labels)).detach()
    mean = torch.zeros(int(place.max()) + 1, dtype=logs.dtype).scatter_reduce(
        0, place, logs, "mean", include_self=False
    )
    return mean[place].exp() * advantages * nll(logits, labels)


def two_gates(logits: Tensor, labels: Tensor, reference_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    sure = label_prob(logits, labels) > 0.5
    return torch.where(sure, kl(teacher_logits, logits), kl(reference_logits, logits))


def clipped_ratio(logits: Tensor, labels: Tensor, reference_logits: Tensor) -> Tensor:
    ratio = (nll(reference_logits, labels) - nll(logits, labels)).exp().detach()
    return ratio.clamp(0.3, 2.7) * nll(logits, labels)


def entropy_gate(logits: Tensor, labels: Tensor) -> Tensor:
    return (entropy(logits) > 1.7320508) * nll(logits, labels)


def sharper_teacher(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    return kl(teacher_logits / 0.6, logits)


def entropy_bonus(logits: Tensor, labels: Tensor) -> Tensor:
    return nll(logits, labels) + 0.02 * (logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


TEACHER = {"residual": "teacher", "gauge": "unit"}
TRUST = {"residual": "model", "category": "label trust"}
SPREAD = "residual distribution"

LOSSES: dict[str, tuple[Callable[..., Tensor] | str, Expected]] = {
    "0.8 CE + 0.2 KL": (
        mixture,
        Expected("0.8", **TEACHER, category=SPREAD, nearest="kd-hybrid(kd_weight=0.2): the same gradient"),
    ),
    "the same in float32": (
        casting_mixture,
        Expected("0.8", **TEACHER, category=SPREAD, nearest="kd-hybrid(kd_weight=0.2): the same gradient"),
    ),
    "entropy-weighted KD": (entropy_weighted, Expected("1 - H/ln V", **TEACHER, category="both")),
    "-p_y^0.37": (
        power_loss,
        Expected(
            "0.37 p_y^0.37",
            **TRUST,
            gamma_numbers={"exponent": 0.37, "factor": 0.37},
            nearest="beyond-log(alpha=0.37): the same up to the factor 0.37",
        ),
    ),
    "0.3 + 0.7 p_y": (weighted(lambda p: 0.3 + 0.7 * p), Expected("0.3 + 0.7 p_y", **TRUST)),
    "(1 - p_y)^1.7": (weighted(lambda p: (1 - p) ** 1.7), Expected("(1 - p_y)^1.7", **TRUST)),
    "p_y / (p_y + 0.3)": (weighted(lambda p: p / (p + 0.3)), Expected("p_y / (p_y + 0.3)", **TRUST)),
    "4 p_y (1 - p_y)": (weighted(lambda p: 4 * p * (1 - p)), Expected("4 p_y (1 - p_y)", **TRUST)),
    "teacher_y": (teacher_trust, Expected("teacher_y", **TRUST)),
    "two anchors": (
        trust_and_two_anchors,
        Expected(
            "p_y / (p_y + 0.11 + 0.07)",
            "mix of teacher (pull 0.11), reference (pull 0.07)",
            "both",
            "normalized",
        ),
    ),
    "shift inside, items in batch": (hugging_face, Expected("p_y", **TRUST, nearest="dft: the same gradient")),
    "mean with label smoothing": (
        functools.partial(functional.cross_entropy, label_smoothing=0.13),
        Expected("0.87", "uniform", SPREAD, nearest="label-smoothing(label_smoothing=0.13): the same gradient"),
    ),
    "module of torch": (torch.nn.CrossEntropyLoss(label_smoothing=0.07), Expected("0.93", "uniform", SPREAD)),
    "module": (Root(), Expected("p_y^0.5", **TRUST, nearest="beyond-log(alpha=0.5): the same gradient")),
    "partial": (
        functools.partial(scaled_power, alpha=0.81, scale=2.5),
        Expected("2.5 p_y^0.81", **TRUST, gamma_numbers={"factor": 2.5, "exponent": 0.81}),
    ),
    "temperature 2": (
        lambda logits, labels: nll(logits / 2, labels),
        Expected(
            "0.5",
            "mix of model, p^0.5 / Z (pull -0.5)",
            SPREAD,
            residual_numbers={"exponent": 0.5},
            nearest="gem(beta=2): the same up to the factor 0.5",
        ),
    ),
    "z-loss": (
        z_loss,
        Expected(
            "1",
            "none (gamma is 1), with nowhere (pull 0.0034 log Z)",
            "regulariser",
            nearest="z-loss(z_weight=0.0017): the same gradient",
        ),
    ),
    "JSD and CE": (
        jsd_and_cross_entropy,
        Expected(
            "1",
            "none (gamma is 1), with tilt by log p (pull 0.35) and tilt by log(0.3 teacher + 0.7 p) (pull -0.35)",
            SPREAD,
            residual_numbers={"share": 0.3},
        ),
    ),
    "PPO, odd clips": (
        ppo,
        Expected(
            "(p_y/old_y) [1[p_y/old_y <= 1.2913] where A > 0, 1[p_y/old_y > 0.8629] where A < 0] A",
            "model",
            "policy gradient",
            gamma_numbers={"threshold at A > 0": 1.2913, "threshold at A < 0": 0.8629},
            nearest="ppo(epsilon=0.1371, epsilon_high=0.2913): the same gradient",
        ),
    ),
    "sequence ratio": (sequence_ratio, Expected("w(tau; old) A", "model", "policy gradient")),
    "teacher or reference": (
        two_gates,
        Expected("0", "mix of teacher (pull 1[p_y > 0.5]), reference (pull 1[p_y <= 0.5])", SPREAD),
    ),
    "threshold": (
        weighted(lambda p: (p > 0.28461739251).to(p)),
        Expected("1[p_y > 0.284617]", **TRUST, gamma_numbers={"threshold": 0.28461739251}),
    ),
    "p_y above a threshold": (
        weighted(lambda p: torch.where(p > 0.6138271, p, 0.0)),
        Expected("p_y 1[p_y > 0.613827]", **TRUST, gamma_numbers={"threshold": 0.6138271}),
    ),
    "entropy gate": (
        entropy_gate,
        Expected("1[H > 1.73205]", **TRUST, gamma_numbers={"threshold": 1.7320508}),
    ),
    "floor": (weighted(lambda p: p.clamp(min=0.0731)), Expected("max(p_y, 0.0731)", **TRUST)),
    "cap": (weighted(lambda p: p.clamp(max=0.6123)), Expected("min(p_y, 0.6123)", **TRUST)),
    "clipped ratio": (
        clipped_ratio,
        Expected("min(max(p_y/ref_y, 0.3), 2.7)", **TRUST, gamma_numbers={"low": 0.3, "high": 2.7}),
    ),
    "sharper teacher": (
        sharper_teacher,
        Expected("0", "teacher^(1/0.6)", SPREAD, residual_numbers={"temperature": 0.6}),
    ),
    "entropy bonus": (
        entropy_bonus,
        Expected("1", "none (gamma is 1), with tilt by log p (pull 0.02)", SPREAD),
    ),
    "spec": (
        "asft(kl_weight=0.3)",
        Expected(
            "p_y / (p_y + 0.3)", "reference", "both", "normalized", nearest="asft(kl_weight=0.3): the same gradient"
        ),
    ),
}


QUICK = (
    "0.8 CE + 0.2 KL",
    "the same in float32",
    "-p_y^0.37",
    "shift inside, items in batch",
    "partial",
    "PPO, odd clips",
    "threshold",
    "spec",
)
"""What runs every time; the others are marked slow, being many."""

CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LOSSES]


@functools.cache
def found_for(name: str) -> qt.Identification:
    return qt.identify(LOSSES[name][0])


@pytest.mark.xdist_group("black-boxes")
@pytest.mark.parametrize("name", CASES)
def test_a_loss_from_outside_gets_its_row(name):
    expected, found = LOSSES[name][1], found_for(name)
    row = (found.gamma_law.text, found.residual.text, found.category, found.gauge)
    assert row == (expected.gamma, expected.residual, expected.category, expected.gauge)
    for numbers, wanted in (
        (found.gamma_params, expected.gamma_numbers),
        (found.residual_params, expected.residual_numbers),
    ):
        for key, value in wanted.items():
            assert numbers[key] == pytest.approx(value, rel=1e-9), key
    if expected.nearest:
        assert found.nearest[0].text == expected.nearest


@pytest.mark.xdist_group("black-boxes")
@pytest.mark.parametrize("name", CASES)
def test_its_target_is_predicted_on_other_states(name):
    found = found_for(name)
    assert found.has_law
    casts = found.precision == torch.float32
    assert casts == (name == "the same in float32")
    assert_never_wrong(found, LOSSES[name][0], FLOAT32_TOLERANCE if casts else TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.02, 1 / 3, 0.5, 0.7182818284, 0.98])
def test_a_threshold_is_bisected_to_rounding(threshold):
    found = qt.identify(weighted(lambda p: (p >= threshold).to(p)))
    assert found.gamma_params["threshold"] == pytest.approx(threshold, abs=1e-9)


def test_a_threshold_in_float32_is_known_to_its_rounding():
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return (label_prob(logits.float(), labels) > 0.3331) * nll(logits.float(), labels)

    found = qt.identify(loss)
    assert found.precision == torch.float32
    assert found.gamma_params["threshold"] == pytest.approx(0.3331, rel=1e-6)


def test_a_file_and_a_name_are_taken(tmp_path):
    source = tmp_path / "my_losses.py"
    source.write_text(
        "import torch.nn.functional as F\n\n\n"
        "def halved(logits, labels):\n    return 0.5 * F.cross_entropy(logits, labels, reduction='none')\n"
    )
    found = qt.identify(f"{source}:halved")
    assert (found.gamma_law.text, found.category) == ("0.5", "label trust")
    assert found.nearest[0].text == "sft: the same up to the factor 0.5"


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_reduction_does_not_matter(reduction):
    found = qt.identify(functools.partial(functional.cross_entropy, reduction=reduction))
    assert (found.gamma_law.text, found.category) == ("1", "one-hot")


def test_a_loss_for_one_token_is_taken():
    def one_token(logits: Tensor, label: Tensor) -> Tensor:
        return -logits.log_softmax(-1)[label]

    assert qt.identify(one_token).nearest[0].text == "sft: the same gradient"
