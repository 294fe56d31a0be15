"""Losses: pure functions (logits, labels, context) -> one unreduced value a token, one file a mechanism.

They compute everything from the logits themselves and share no formula with the declared pulls or with the claims, on
purpose: differentiating a loss is what both are held against, and a mistake made once must not count as agreement.
"""

from qtarget_inspect.losses.confidence import focal, gce, poly_1, symmetric_ce
from qtarget_inspect.losses.distillation import kd, kd_hybrid, kd_hybrid_temperature, kd_top_k, kd_top_k_renormalized
from qtarget_inspect.losses.divergence import (
    alpha_divergence,
    forward_kl,
    generalized_jsd,
    reverse_kl,
    total_variation,
)
from qtarget_inspect.losses.entropy_contrast import gem
from qtarget_inspect.losses.gates import deft, prift_mass, prift_prob, tailr, thresholded_log, thresholded_log_below
from qtarget_inspect.losses.likelihood import label_smoothing, sft
from qtarget_inspect.losses.policy_gradient import grpo, k3, ppo, reinforce
from qtarget_inspect.losses.preference import dpo, orpo, simpo
from qtarget_inspect.losses.probability import beyond_log, p_loss
from qtarget_inspect.losses.proximal import psft
from qtarget_inspect.losses.regularized import asft, sft_kl
from qtarget_inspect.losses.regularizers import confidence_penalty, logit_norm, squared_logits, z_loss
from qtarget_inspect.losses.releases import (
    asft_reverse_kl,
    eaft_axolotl,
    eaft_llama_factory,
    gem_sigmoid,
    iw_sft_per_token,
)
from qtarget_inspect.losses.reweighted import cft, dft, eaft, iw_sft, profit
from qtarget_inspect.losses.target import target_sft
from qtarget_inspect.losses.unlikelihood import unlikelihood, unlikelihood_tokens

__all__ = [
    "alpha_divergence",
    "asft",
    "asft_reverse_kl",
    "beyond_log",
    "cft",
    "confidence_penalty",
    "deft",
    "dft",
    "dpo",
    "eaft",
    "eaft_axolotl",
    "eaft_llama_factory",
    "focal",
    "forward_kl",
    "gce",
    "gem",
    "gem_sigmoid",
    "generalized_jsd",
    "grpo",
    "iw_sft",
    "iw_sft_per_token",
    "k3",
    "kd",
    "kd_hybrid",
    "kd_hybrid_temperature",
    "kd_top_k",
    "kd_top_k_renormalized",
    "label_smoothing",
    "logit_norm",
    "orpo",
    "p_loss",
    "poly_1",
    "ppo",
    "prift_mass",
    "prift_prob",
    "profit",
    "psft",
    "reinforce",
    "reverse_kl",
    "sft",
    "sft_kl",
    "simpo",
    "squared_logits",
    "symmetric_ce",
    "tailr",
    "target_sft",
    "thresholded_log",
    "thresholded_log_below",
    "total_variation",
    "unlikelihood",
    "unlikelihood_tokens",
    "z_loss",
]
