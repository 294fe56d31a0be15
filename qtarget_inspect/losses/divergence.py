"""Divergences to a teacher: forward and reverse KL, generalised Jensen-Shannon, alpha-divergence, total variation.

The labels are not used. KL(a || b) is written with its direction.
"""

import math

import torch

from qtarget_inspect.core.numerics import expectation
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import kl_to


def forward_kl(logits: Rows, labels: Labels, teacher_logits: Rows) -> PerToken:
    """Forward KL to a teacher: L = KL(teacher || p) (arXiv 1503.02531).

    Cross-entropy to the teacher less the teacher's entropy, a constant: the gradient of `kd` at temperature 1.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.

    Returns:
        [N] nats, >= 0.

    Examples:
        >>> import torch
        >>> forward_kl(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        tensor([0.1109])
    """
    return kl_to(teacher_logits.log_softmax(-1), logits)


def reverse_kl(logits: Rows, labels: Labels, teacher_logits: Rows) -> PerToken:
    """Reverse KL to a teacher: L = KL(p || teacher) (arXiv 2306.08543).

    Mode-seeking where the forward KL covers. No pull toward the teacher, but two tilts, p (log p - E log p) and
    -p (log teacher - E log teacher): the tangent, at the model, of the path p^(1-h) teacher^h of Target-SFT.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.

    Returns:
        [N] nats, >= 0; infinite where the teacher excludes a token that the model does not.

    Examples:
        >>> import torch
        >>> reverse_kl(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        tensor([0.1201])
    """
    log_p = logits.log_softmax(-1)
    return expectation(log_p.exp(), log_p - teacher_logits.log_softmax(-1))


def generalized_jsd(logits: Rows, labels: Labels, teacher_logits: Rows, *, teacher_share: float = 0.5) -> PerToken:
    """Generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649).

        L = b KL(teacher || m) + (1-b) KL(p || m),    m = b teacher + (1-b) p

    The gradient is (1-b) p (log(p/m) - E_p log(p/m)). It vanishes at both ends of b; divided by b (1-b) it tends to the
    forward KL at b = 0 and to the reverse KL at b = 1, which common code puts in its place there.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.
        teacher_share: b in (0, 1), the paper's beta; 0.5 is the Jensen-Shannon divergence.

    Returns:
        [N] nats in [0, ln 2].

    Examples:
        >>> import torch
        >>> generalized_jsd(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[9.0, 0.0]]))
        tensor([0.2152])
    """
    log_p, log_teacher = logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    parts = torch.stack([log_p + math.log(1 - teacher_share), log_teacher + math.log(teacher_share)])
    impossible = torch.isneginf(parts).all(0)  # logsumexp of two -inf has no gradient
    log_mixture = torch.where(impossible, 0.0, parts).logsumexp(0)
    to_teacher = expectation(log_teacher.exp(), log_teacher - log_mixture)
    to_model = expectation(log_p.exp(), log_p - log_mixture)
    return teacher_share * to_teacher + (1 - teacher_share) * to_model


def alpha_divergence(logits: Rows, labels: Labels, teacher_logits: Rows, *, eta: float = 0.5) -> PerToken:
    """Alpha-divergence to a teacher: L = (1 - Z) / (h (1-h)), Z = sum_k p_k^(1-h) teacher_k^h (Amari 1985).

    The gradient is (Z/h) (p - p^(1-h) teacher^h / Z): its normalized target is the residual of Target-SFT, point h of
    the path to the teacher. h -> 1 is the forward KL, h -> 0 the reverse; h = 1/2 is 4 (1 - Bhattacharyya coefficient).

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.
        eta: h in (0, 1), the divergence's alpha.

    Returns:
        [N] values, >= 0.

    Examples:
        >>> import torch
        >>> alpha_divergence(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        tensor([0.1148])
    """
    log_product = (1 - eta) * logits.log_softmax(-1) + eta * teacher_logits.log_softmax(-1)
    return (1 - log_product.logsumexp(-1).exp()) / (eta * (1 - eta))


def total_variation(logits: Rows, labels: Labels, teacher_logits: Rows) -> PerToken:
    """Total variation to a teacher: L = 1/2 sum_k |p_k - teacher_k| (arXiv 2307.15190).

    The gradient is a tilt by half the sign of p - teacher. It knows which tokens the model overrates, not by how much,
    and has a kink wherever the two agree.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.

    Returns:
        [N] in [0, 1].

    Examples:
        >>> import torch
        >>> total_variation(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        tensor([0.2311])
    """
    return 0.5 * (logits.softmax(-1) - teacher_logits.softmax(-1)).abs().sum(-1)
