"""Cross-entropy to a teacher: KD, hybrid KD."""

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
