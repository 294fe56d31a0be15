"""Policy gradient on given tokens: REINFORCE, PPO, the k3 penalty, GRPO. Advantages come from outside."""

import math

import torch

from qtarget_inspect.core.numerics import label_log_prob
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import label_log_ratio, negative_log_likelihood


def reinforce(logits: Rows, labels: Labels, advantages: PerToken) -> PerToken:
    """REINFORCE: L = -A log p_y (Williams 1992, doi 10.1007/BF00992696).

    SFT with a signed weight: the label trust is A, and a token of negative advantage is pushed away without a bound.

    Args:
        logits: [N, V] logits.
        labels: [N] the tokens that were sampled.
        advantages: [N] A, signed.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> reinforce(torch.zeros(2, 2), torch.tensor([0, 0]), torch.tensor([1.0, -1.0]))
        tensor([ 0.6931, -0.6931])
    """
    nll = negative_log_likelihood(logits, labels)
    return advantages * torch.where(advantages == 0, 0.0, nll)


def ppo(
    logits: Rows,
    labels: Labels,
    old_logits: Rows,
    advantages: PerToken,
    *,
    epsilon: float = 0.2,
    epsilon_high: float = 0.2,
) -> PerToken:
    """PPO's clipped surrogate: L = -min(r A, clip(r, 1-e, 1+e_high) A), r = p_y / old_y (arXiv 1707.06347).

    The clip takes the gradient away where r > 1 + e_high and A > 0, and where r < 1 - e and A < 0; elsewhere the label
    trust is A r, also far outside the clip. With A = 1 it is Proximal SFT (`psft`).

    Args:
        logits: [N, V] logits.
        labels: [N] the tokens that were sampled.
        old_logits: [N, V] logits of the policy that sampled them.
        advantages: [N] A, signed.
        epsilon: e in [0, 1), the lower clip.
        epsilon_high: e_high >= 0, the upper clip; the same number in the paper, 0.28 in DAPO.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> z = torch.zeros(2, 2)
        >>> ppo(z, torch.tensor([0, 0]), z, torch.tensor([1.0, -1.0]))
        tensor([-1.,  1.])
    """
    nll = negative_log_likelihood(logits, labels)
    log_old = label_log_prob(old_logits.log_softmax(-1), labels)
    log_ratio = torch.where(torch.isinf(nll), float("-inf"), -nll - log_old)  # an impossible label has ratio 0, not 0/0
    high = math.log(1 + epsilon_high) + 1
    ratio = torch.where(advantages > 0, log_ratio.clamp(max=high), log_ratio).exp()  # cut before exp can overflow
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def k3(logits: Rows, labels: Labels, reference_logits: Rows, *, kl_weight: float = 1.0) -> PerToken:
    """The k3 penalty: L = l (u - log u - 1), u = ref_y / p_y (arXiv 2402.03300; Schulman 2020).

    An estimate of KL(p || ref) from the sampled token, unbiased in its value. Its gradient is a label pull of
    l (u - 1): toward tokens that the reference finds likelier, by any amount, and away from others by at most l. In
    expectation over the model's own tokens that is the gradient of l KL(ref || p), the forward KL.

    Nothing bounds u: a label that the model excludes (p_y = 0, or so small that u overflows) and the reference does not
    has an infinite loss and an infinite gradient, and inversion refuses such tokens. One that both exclude has u = 1.

    Args:
        logits: [N, V] logits.
        labels: [N] the tokens that were sampled.
        reference_logits: [N, V] logits of the reference.
        kl_weight: l > 0; in `grpo` 0 leaves it out.

    Returns:
        [N] values, >= 0; infinite where just one of p_y and ref_y is 0.

    Examples:
        >>> import torch
        >>> k3(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        tensor([0.0822])
    """
    log_ratio = -label_log_ratio(logits, reference_logits, labels)
    return kl_weight * (log_ratio.expm1() - log_ratio.clamp(max=torch.finfo(log_ratio.dtype).max))  # not inf - inf


def grpo(
    logits: Rows,
    labels: Labels,
    old_logits: Rows,
    reference_logits: Rows,
    advantages: PerToken,
    *,
    epsilon: float = 0.2,
    epsilon_high: float = 0.2,
    kl_weight: float = 0.04,
) -> PerToken:
    """GRPO: PPO's clipped surrogate plus l k3 (arXiv 2402.03300).

    Per token it differs from `ppo` by the penalty alone; what else is new, advantages normalised in a group and a mean
    over each answer's tokens, lies in `advantages` and in the reduction. Both terms can be infinite: the penalty where
    p_y is 0 and ref_y is not, the surrogate where old_y is 0, p_y is not, and A < 0.

    Args:
        logits: [N, V] logits.
        labels: [N] the tokens that were sampled.
        old_logits: [N, V] logits of the policy that sampled them.
        reference_logits: [N, V] logits of the reference.
        advantages: [N] A, signed.
        epsilon: e in [0, 1), the lower clip.
        epsilon_high: e_high >= 0, the upper clip.
        kl_weight: l >= 0; 0 is `ppo`.

    Returns:
        [N] values.

    Examples:
        >>> import torch
        >>> z = torch.zeros(1, 2)
        >>> grpo(z, torch.tensor([0]), z, torch.tensor([[1.0, 0.0]]), torch.tensor([1.0]), kl_weight=1.0)
        tensor([-0.9178])
    """
    surrogate = ppo(logits, labels, old_logits, advantages, epsilon=epsilon, epsilon_high=epsilon_high)
    if kl_weight == 0:
        return surrogate  # not 0 times a penalty that may be infinite
    return surrogate + k3(logits, labels, reference_logits, kl_weight=kl_weight)
