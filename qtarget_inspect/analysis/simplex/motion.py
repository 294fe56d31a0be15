"""Motion: how p moves where the logits move."""

from __future__ import annotations

from torch import Tensor


def on_simplex(logits: Tensor, flow: Tensor) -> Tensor:
    """A flow of the logits as it is seen on the simplex: dp/dt = p (v - sum_k p_k v_k), v = dz/dt.

    Args:
        logits: [M, V].
        flow: [M, V] v; a constant added to it changes nothing.

    Returns:
        [M, V], rows that sum to 0.

    Examples:
        >>> import torch
        >>> on_simplex(torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]))
        tensor([[ 0.5000, -0.5000]])
    """
    p = logits.softmax(-1)
    return p * (flow - (p * flow).sum(-1, keepdim=True))
