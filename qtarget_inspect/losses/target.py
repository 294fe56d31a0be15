"""Cross-entropy to a designed target: Target-SFT."""

from qtarget_inspect.core.numerics import one_hot
from qtarget_inspect.core.shapes import Labels, PerToken, Rows
from qtarget_inspect.losses.terms import cross_entropy, negative_log_likelihood


def target_sft(logits: Rows, labels: Labels, teacher_logits: Rows, *, eta: float = 0.5) -> PerToken:
    """Target-SFT: L = CE(sg Q, p) (arXiv 2606.11189).

        Q = p_y onehot(y) + (1 - p_y) r,    r proportional to p^(1-h) teacher^h

    The stop-gradient is essential: without it the loss would pull its own target along. h = 0 is DFT.

    Args:
        logits: [N, V] logits.
        labels: [N] labels.
        teacher_logits: [N, V] logits of the teacher.
        eta: h in [0, 1], how far the residual goes to the teacher; 0.2, 0.5, 1.0 in the paper's ablation.

    Returns:
        [N] nats.

    Examples:
        >>> import torch
        >>> z = torch.zeros(1, 2)
        >>> target_sft(z, torch.tensor([0]), z)
        tensor([0.6931])
    """
    detached = logits.detach()
    log_residual = detached.log_softmax(-1)
    if eta == 1:
        log_residual = teacher_logits.log_softmax(-1)  # not (1-h) log p, which is 0 * inf for impossible tokens
    elif eta != 0:
        log_residual = ((1 - eta) * log_residual + eta * teacher_logits.log_softmax(-1)).log_softmax(-1)
    trust = (-negative_log_likelihood(detached, labels)).exp().unsqueeze(-1)
    target = trust * one_hot(labels, detached) + (1 - trust) * log_residual.exp()
    return cross_entropy(target, logits)
