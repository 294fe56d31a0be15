"""Scenes: states of the page that a lecture can start from, each with the one sentence it shows."""

from __future__ import annotations

SCENES: tuple[tuple[str, str, str], ...] = (
    (
        "Cross-entropy, and trust in the model's own belief",
        "losses=sft,dft&p=0.05",
        "SFT moves all mass to the label, however unlikely; DFT trusts the label as far as the model already does.",
    ),
    (
        "A teacher decides where the rest goes",
        "losses=dft,target-sft(eta=0.5),kd-hybrid(kd_weight=0.5)&p=0.2&teacher=0.6&favourite=3",
        "DFT's trust, another residual: Target-SFT sends what the label does not get towards the teacher's tokens.",
    ),
    (
        "Negative mass",
        "losses=gem(beta=0.7),focal(focusing=2)&p=0.1&shape=1",
        "Q need not be a distribution: GEM and the focal loss take more from other tokens than these have.",
    ),
    (
        "One gradient, two gauges",
        "losses=asft(kl_weight=0.05),dft&p=0.05&gauge=normalized",
        "In the normalized gauge every reweighting has gamma = 1, and ASFT p_y / (p_y + 0.05); in the unit gauge p_y.",
    ),
    (
        "When does a loss believe an unlikely label?",
        "losses=focal(focusing=2),eaft(top_k=20),profit(threshold=0.1),tailr(ratio_threshold=0.3,min_weight=0)&p=0.05",
        "Four laws of trust against p_y; EAFT's asks how uncertain the model is, not how likely the label.",
    ),
    (
        "Towards a teacher, by three divergences",
        "losses=forward-kl,reverse-kl,jsd(teacher_share=0.5)&p=0.2&teacher=0.35&favourite=3",
        "Forward KL pulls to the teacher; reverse KL and JSD are tilts, which die out where the model has no mass.",
    ),
    (
        "A bad action",
        "losses=reinforce,ppo(epsilon=0.2,epsilon_high=0.2)&p=0.3&advantage=-1",
        "A negative advantage pushes the label away: gamma is negative, and so is Q on it where p_y is below 1/2.",
    ),
)
"""Title, fragment, sentence."""
