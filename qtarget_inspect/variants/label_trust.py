"""The category label trust: the loss sets gamma, the residual is the model itself."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qtarget_inspect import losses
from qtarget_inspect.core.state import State
from qtarget_inspect.variants.claim_terms import label_prob
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.ranges import POSITIVE, SHARE_BELOW_ONE, Range
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.pulls import Pulls


def _label_pull(weight: Law) -> Pulls:
    return Pulls.of((directions.label(), weight))


def _claim(text: str, latex: str, gamma: Callable[[State], Tensor]) -> Claim:
    """gamma as said, residual = p, in the unit gauge (in the normalized one every reweighting has gamma = 1)."""
    return Claim("unit", text, latex, "model", "p", gamma=gamma, residual=lambda s: s.p)


def _claimed_normalized_entropy(state: State, top_k: int) -> Tensor:
    size = min(top_k, state.batch.vocabulary)
    top = state.p.topk(size, dim=-1).values
    top = top / top.sum(-1, keepdim=True)
    return -torch.special.xlogy(top, top).sum(-1) / math.log(size)


def _claimed_trajectory_weight(state: State, maximum: float) -> Tensor:
    """w(tau) sequence by sequence, by a plain loop."""
    log_reference = state.log_probs("reference_logits").gather(-1, state.labels.unsqueeze(-1)).squeeze(-1)
    log_ratio = state.log_p.gather(-1, state.labels.unsqueeze(-1)).squeeze(-1) - log_reference
    sequence_ids = state.context("sequence_ids")
    weight = torch.empty_like(log_ratio)
    for sequence in sequence_ids.unique():
        member = sequence_ids == sequence
        weight[member] = log_ratio[member].mean().exp().clamp(max=maximum)
    return weight


VARIANTS = (
    Variant(
        name="dft",
        title="DFT",
        loss=losses.dft,
        category="label trust",
        make_pulls=lambda: _label_pull(laws.label_prob()),
        make_claim=lambda: _claim("p_y", "p_y", label_prob),
        stop_gradient=True,
        formula="-sg[p_y] log p_y",
        latex=r"-\mathrm{sg}[p_y]\log p_y",
        reference="arXiv 2508.05629",
        source="paper",
    ),
    Variant(
        name="p-loss",
        title="p-loss",
        loss=losses.p_loss,
        category="label trust",
        make_pulls=lambda: _label_pull(laws.label_prob()),
        make_claim=lambda: _claim("p_y", "p_y", label_prob),
        formula="-p_y",
        latex="-p_y",
        reference="arXiv 2510.00526",
        source="paper",
    ),
    Variant(
        name="beyond-log",
        title="Beyond-log",
        loss=losses.beyond_log,
        category="label trust",
        parameters={"alpha": 10.0},
        ranges={"alpha": Range()},
        make_pulls=lambda alpha: _label_pull(laws.label_prob(alpha)),
        make_claim=lambda alpha: _claim(f"p_y^{alpha:g}", f"p_y^{{{alpha:g}}}", lambda s: label_prob(s) ** alpha),
        formula="(1 - p_y^alpha) / alpha",
        latex=r"(1 - p_y^{\alpha})/\alpha",
        reference="arXiv 2510.00526",
        source="paper",
    ),
    Variant(
        name="profit",
        title="ProFiT",
        loss=losses.profit,
        category="label trust",
        parameters={"threshold": 0.1},
        ranges={"threshold": SHARE_BELOW_ONE},
        make_pulls=lambda threshold: _label_pull(laws.label_prob_above(threshold)),
        make_claim=lambda threshold: _claim(
            f"1[p_y > {threshold:g}]",
            rf"\mathbf{{1}}[p_y > {threshold:g}]",
            lambda s: torch.where(label_prob(s) > threshold, 1.0, 0.0).to(s.dtype),
        ),
        stop_gradient=True,
        formula="-1[sg p_y > threshold] log p_y",
        latex=r"-\mathbf{1}[\mathrm{sg}\,p_y > t]\log p_y",
        reference="arXiv 2601.09195",
        source="paper",
    ),
    Variant(
        name="eaft",
        title="EAFT",
        loss=losses.eaft,
        category="label trust",
        parameters={"top_k": 20},
        ranges={"top_k": Range(2, integer=True)},
        make_pulls=lambda top_k: _label_pull(laws.normalized_top_k_entropy(top_k)),
        make_claim=lambda top_k: _claim(
            f"H_{top_k}/ln {top_k}", rf"H_{{{top_k}}}/\ln {top_k}", lambda s: _claimed_normalized_entropy(s, top_k)
        ),
        stop_gradient=True,
        formula="-sg[H_k / ln k] log p_y",
        latex=r"-\mathrm{sg}[H_k/\ln k]\log p_y",
        reference="arXiv 2601.02151",
        source="paper",
    ),
    Variant(
        name="iw-sft",
        title="iw-SFT",
        loss=losses.iw_sft,
        category="label trust",
        parameters={"maximum": 16.0},
        ranges={"maximum": POSITIVE},
        make_pulls=lambda maximum: _label_pull(laws.trajectory_weight(maximum)),
        make_claim=lambda maximum: _claim("w(tau)", r"w(\tau)", lambda s: _claimed_trajectory_weight(s, maximum)),
        stop_gradient=True,
        coupling="a detached weight per sequence",
        formula="-w(tau) log p_y, w = clip(q / ref, 0, maximum), length-normalised",
        latex=r"-w(\tau)\log p_y",
        reference="arXiv 2507.12856",
        source="paper",
    ),
    Variant(
        name="cft",
        title="CFT",
        loss=losses.cft,
        category="label trust",
        make_pulls=lambda: _label_pull(laws.critical_mask()),
        make_claim=lambda: _claim("c_t", "c_t", lambda s: s.context("critical").to(s.dtype)),
        formula="-c_t log p_y",
        latex=r"-c_t\log p_y",
        reference="arXiv 2510.10974",
        source="paper",
    ),
)
