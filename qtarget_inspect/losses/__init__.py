"""Losses: pure functions (logits, labels, context) -> one unreduced value a token, one file a mechanism.

They compute everything from the logits themselves and share no formula with the declared pulls or with the claims, on
purpose: differentiating a loss is what both are held against, and a mistake made once must not count as agreement.
"""

from qtarget_inspect.losses.distillation import kd, kd_hybrid
from qtarget_inspect.losses.entropy_contrast import gem
from qtarget_inspect.losses.likelihood import label_smoothing, sft
from qtarget_inspect.losses.probability import beyond_log, p_loss
from qtarget_inspect.losses.proximal import psft
from qtarget_inspect.losses.regularized import asft, sft_kl
from qtarget_inspect.losses.reweighted import cft, dft, eaft, iw_sft, profit
from qtarget_inspect.losses.target import target_sft

__all__ = [
    "asft",
    "beyond_log",
    "cft",
    "dft",
    "eaft",
    "gem",
    "iw_sft",
    "kd",
    "kd_hybrid",
    "label_smoothing",
    "p_loss",
    "profit",
    "psft",
    "sft",
    "sft_kl",
    "target_sft",
]
