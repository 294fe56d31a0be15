"""Two losses that nobody here wrote, unmodified: trl's dft_loss and transformers' LabelSmoother."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtarget_inspect.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from qtarget_inspect.core.batch import TokenBatch


@dataclass(frozen=True)
class ForeignLoss:
    """A loss from another library.

    Args:
        loss: the function or object, as that library has it.
        name: how its library calls it.
        source: where it comes from, with the version.
        twin: the registered variant that it should be.
    """

    loss: Callable[..., Any]
    name: str
    source: str
    twin: str


def foreign_losses() -> list[ForeignLoss]:
    """Import both; trl takes some seconds.

    Returns:
        The losses.

    Raises:
        MissingDependencyError: trl or transformers is not installed, or too new to have the function.
    """
    try:
        import transformers
        import trl
        from transformers.trainer_pt_utils import LabelSmoother
        from trl.trainer.sft_trainer import dft_loss
    except ImportError as error:
        raise MissingDependencyError(
            f"the demo inspects losses of transformers and of trl 0.24 ({error}): pip install 'qtarget-inspect[demo]'"
        ) from error
    return [
        ForeignLoss(dft_loss, "dft_loss", f"trl {trl.__version__}, trl.trainer.sft_trainer", "dft"),
        ForeignLoss(
            LabelSmoother(0.1),
            "LabelSmoother(0.1)",
            f"transformers {transformers.__version__}, transformers.trainer_pt_utils",
            "label-smoothing(label_smoothing=0.1)",
        ),
    ]


def largest_difference(loss: ForeignLoss, batch: TokenBatch) -> float:
    """How far the target of a foreign loss lies from that of its registered twin, on real tokens.

    Args:
        loss: the loss.
        batch: the tokens.

    Returns:
        Largest |Q - Q_twin|, both differentiated.
    """
    import torch

    import qtarget_inspect as qt

    theirs = qt.invert(loss.loss, batch, dtype=torch.float64)
    ours = qt.invert(loss.twin, batch, method="torch.func", dtype=torch.float64)
    return float((theirs.q - ours.q).abs().max())
