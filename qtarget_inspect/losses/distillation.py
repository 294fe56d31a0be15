"""Cross-entropy to a teacher: KD, hybrid KD, hybrid KD at a temperature, KD to the teacher's top k."""

import torch

from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import cross_entropy, kl_to, negative_log_likelihood


def kd(logits: Rows, labels: Labels, teacher_logits: Rows, *, temperature: float = 1.0) -> PerToken:
    """Knowledge distillation: L = tau^2 CE(teacher^(1/tau), p^(1/tau)). The labels are not used (arXiv 1503.02531).

    At temperature 1 the target is the teacher; at others Q = p - tau (p^(1/tau)/Z - teacher^(1/tau)/Z) and no
    distribution.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.
        temperature: tau > 0.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> kd(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[3.0, -1.0]]))
        tensor([0.6931])
    """
    target = (teacher_logits / temperature).softmax(-1)
    return temperature**2 * cross_entropy(target, logits / temperature)


def kd_hybrid(logits: Rows, labels: Labels, teacher_logits: Rows, *, kd_weight: float = 0.5) -> PerToken:
    """Hybrid distillation: L = (1-l) CE(onehot(y), p) + l KL(teacher || p), at temperature 1.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        teacher_logits: [N, V] logits of the teacher.
        kd_weight: l in [0, 1]; 0 is SFT, 1 is KD.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> kd_hybrid(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2))
        tensor([0.3466])
    """
    kl = kl_to(teacher_logits.log_softmax(-1), logits)
    return (1 - kd_weight) * negative_log_likelihood(logits, labels) + kd_weight * kl


def kd_hybrid_temperature(
    logits: Rows, labels: Labels, teacher_logits: Rows, *, kd_weight: float = 0.5, temperature: float = 2.0
) -> PerToken:
    """Hybrid distillation at a temperature: L = (1-l) CE(onehot(y), p) + l tau^2 KL(teacher^(1/tau) || p^(1/tau)).

    The form of most distillation code (arXiv 1503.02531). Only at temperature 1, where it is `kd_hybrid`, is its target
    a mixture of label and teacher; at others the teacher's pull is l tau, and as much pushes away from p^(1/tau).

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        teacher_logits: [N, V] logits of the teacher.
        kd_weight: l in [0, 1]; 0 is SFT.
        temperature: tau > 0.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> kd_hybrid_temperature(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[2.0, 0.0]]))
        tensor([0.5685])
    """
    kl = kl_to((teacher_logits / temperature).log_softmax(-1), logits / temperature)
    return (1 - kd_weight) * negative_log_likelihood(logits, labels) + kd_weight * temperature**2 * kl


def kd_top_k(logits: Rows, labels: Labels, teacher_logits: Rows, *, top_k: int = 20) -> PerToken:
    """KD to the teacher's top k as they are: L = -sum_{k in top} teacher_k log p_k (arXiv 2503.16870).

    What cached top-k probabilities give when nothing is done about the rest. The pull is the mass M of the top k,
    toward the top k renormalised: a smaller step than KD's, and 1 - M of the target stays with the model.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.
        top_k: k, a whole number >= 1, cut to V.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> kd_top_k(torch.zeros(1, 4), torch.tensor([0]), torch.tensor([[3.0, 3.0, 0.0, 0.0]]), top_k=2)
        tensor([1.3205])
    """
    best = teacher_logits.log_softmax(-1).topk(min(top_k, logits.shape[-1]), dim=-1)
    target = torch.zeros_like(teacher_logits).scatter(-1, best.indices, best.values.exp())
    return cross_entropy(target, logits)


def kd_top_k_renormalized(logits: Rows, labels: Labels, teacher_logits: Rows, *, top_k: int = 20) -> PerToken:
    """KD to the teacher's top k, renormalised: L = CE(teacher_top, p), teacher_top = top k / their mass.

    A full step toward the top k: the target gives all other tokens nothing, more than the teacher ever said
    (arXiv 2503.16870). The model is not renormalised.

    Args:
        logits: [N, V] logits.
        labels: [N] labels, ignored.
        teacher_logits: [N, V] logits of the teacher.
        top_k: k, a whole number >= 1, cut to V.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> kd_top_k_renormalized(torch.zeros(1, 4), torch.tensor([0]), torch.tensor([[3.0, 3.0, 0.0, 0.0]]), top_k=2)
        tensor([1.3863])
    """
    best = teacher_logits.topk(min(top_k, logits.shape[-1]), dim=-1)
    target = torch.zeros_like(teacher_logits).scatter(-1, best.indices, best.values.softmax(-1))
    return cross_entropy(target, logits)
