"""Formulas: the pulls of registered losses as data, which the page's own JavaScript evaluates.

A pull is a direction and a weight, each an expression: a number, the name of a parameter, or [operation, arguments...].
Operations are + - * / and the names in `assets/laws.js` and `assets/directions.js`. They are written apart from the
registry's own pulls; a test holds what the page computes from them against the engine, loss by loss.
"""

from __future__ import annotations

from typing import Any

Expression = Any
"""A number, the name of a parameter, or a list [operation, arguments...]."""

Term = dict[str, Any]

P_LABEL = ["label_prob", 1]
REFERENCE_KL = ["k3_trust", "kl_weight"]


def pull(direction: Expression, weight: Expression, unless: tuple[str, float] | None = None) -> Term:
    """One pull as data.

    Args:
        direction: [name, arguments...].
        weight: an expression.
        unless: (parameter, value): no such pull where the parameter has that value.

    Returns:
        direction, weight, unless.
    """
    return {"direction": direction, "weight": weight, "unless": unless}


def label(weight: Expression) -> Term:
    """A pull to the label."""
    return pull(["label"], weight)


def _tempered(weight: Expression) -> tuple[Term, ...]:
    """Distillation at a temperature: toward the tempered teacher, away from the model's own power."""
    step = ["*", weight, "temperature"]
    return (
        pull(["teacher", "temperature"], step),
        pull(["power", ["/", 1, "temperature"]], ["-", 0, step], unless=("temperature", 1)),
    )


def _clipped_advantage() -> Expression:
    return ["clipped_advantage", ["-", 1, "epsilon"], ["+", 1, "epsilon_high"]]


FORMULAS: dict[str, tuple[Term, ...]] = {
    "sft": (label(1),),
    "dft": (label(P_LABEL),),
    "p-loss": (label(P_LABEL),),
    "beyond-log": (label(["label_prob", "alpha"]),),
    "profit": (label(["label_prob_above", "threshold"]),),
    "eaft": (label(["normalized_top_k_entropy", "top_k"]),),
    "iw-sft": (label(["trajectory_weight", "maximum"]),),
    "cft": (label(["critical_mask"]),),
    "label-smoothing": (label(["-", 1, "label_smoothing"]), pull(["uniform"], "label_smoothing")),
    "sft-kl": (label(1), pull(["reference"], "kl_weight")),
    "asft": (label(P_LABEL), pull(["reference"], "kl_weight")),
    "psft": (label(["ratio_below", ["+", 1, "epsilon_high"]]),),
    "gem": (label(1), pull(["power", ["/", 1, "beta"]], -1)),
    "kd": _tempered(1),
    "kd-hybrid": (label(["-", 1, "kd_weight"]), pull(["teacher", 1], "kd_weight")),
    "target-sft": (label(P_LABEL), pull(["path", "eta"], ["-", 1, P_LABEL])),
    "focal": (label(["focal_trust", "focusing"]),),
    "gce": (label(["label_prob", "alpha"]),),
    "symmetric-ce": (label(["+", "ce_weight", ["*", ["*", "reverse_weight", ["-", 0, "log_zero"]], P_LABEL]]),),
    "poly-1": (label(["+", 1, ["*", "poly_weight", P_LABEL]]),),
    "unlikelihood": (pull(["others"], 1),),
    "thresholded-log": (label(["label_prob_at_least", "threshold"]),),
    "thresholded-log-below": (label(["label_prob_at_most", "threshold"]),),
    "tailr": (label(["saturated_label_prob", "ratio_threshold", "min_weight"]),),
    "deft": (label(["label_prob_to_concentration"]),),
    "prift-prob": (label(["reference_label_prob"]),),
    "prift-mass": (label(["label_support_at_least", "threshold"]),),
    "eaft-llama-factory": (label(["/", ["top_k_entropy", "top_k"], "divisor"]),),
    "eaft-axolotl": (label(["top_k_entropy", "top_k"]),),
    "iw-sft-per-token": (label(["clipped_ratio", ["-", 1, "epsilon"], ["+", 1, "epsilon"]]),),
    "gem-sigmoid": (
        label(["sigmoid_mass", ["/", 1, "beta"], "scale"]),
        pull(["weighted_power", ["/", 1, "beta"], "scale"], ["-", 0, ["sigmoid_mass", ["/", 1, "beta"], "scale"]]),
    ),
    "asft-reverse-kl": (
        label(P_LABEL),
        pull(["tilt", "p"], "kl_weight"),
        pull(["tilt", "reference"], ["-", 0, "kl_weight"]),
    ),
    "forward-kl": (pull(["teacher", 1], 1),),
    "reverse-kl": (pull(["tilt", "p"], 1), pull(["tilt", "teacher"], -1)),
    "jsd": (
        pull(["tilt", "p"], ["-", 1, "teacher_share"]),
        pull(["mixture_tilt", "teacher_share"], ["-", "teacher_share", 1]),
    ),
    "alpha-divergence": (pull(["path", "eta"], ["/", ["path_normalizer", "eta"], "eta"]),),
    "total-variation": (pull(["sign_tilt"], 0.5),),
    "kd-top-k": (pull(["top_k", "top_k"], ["top_k_mass", "top_k"]),),
    "kd-top-k-renormalized": (pull(["top_k", "top_k"], 1),),
    "kd-hybrid-temperature": (label(["-", 1, "kd_weight"]), *_tempered("kd_weight")),
    "confidence-penalty": (label(1), pull(["tilt", "p"], "entropy_weight")),
    "z-loss": (label(1), pull(["nowhere"], ["*", ["*", 2, "z_weight"], ["log_partition"]])),
    "reinforce": (label(["advantage"]),),
    "ppo": (label(_clipped_advantage()),),
    "k3": (label(REFERENCE_KL),),
    "grpo": (label(["+", _clipped_advantage(), REFERENCE_KL]),),
}
"""Registered name -> its pulls."""

NO_PULLS = {
    "squared-logits": "its gradient is in the logits themselves, which is no pull",
    "logit-norm": "its gradient is that of softmax(z / |z|), orthogonal to z, which is no pull",
}
"""Registered losses that the page has no formula for, and why; --loss works them out on the grid."""

NOT_ONE_TOKEN = {
    "unlikelihood-tokens": "it pushes earlier labels of the sequence away, and the page has one token",
    "dpo": "it compares two sequences, and the page has one token",
    "simpo": "it compares two sequences, and the page has one token",
    "orpo": "it compares two sequences, and the page has one token",
}
"""Registered losses that cannot be shown on the page at all, and why."""
