"""Reading a model from disk only: no network, no progress bars, no random weights for missing ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def require_transformers() -> None:
    """Say what to install where the extra `models` is missing.

    Raises:
        MissingDependencyError: transformers cannot be imported.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"a language model needs transformers ({error}): pip install 'qtarget-inspect[models]'"
        ) from error


def read_weights(folder: Path, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """Read a causal language model from disk, and refuse it if weights are missing.

    HF fills missing weights with random numbers and goes on.

    Args:
        folder: where the model is.
        dtype: floating type of its weights.
        **options: more of what `from_pretrained` takes.

    Returns:
        The model.

    Raises:
        QTargetError: weights are missing.
    """
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, output_loading_info=True, **options
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise QTargetError(f"{len(missing)} of the model's weights are missing, the first is {missing[0]}")
    return model


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hub access off and progress bars hidden inside the block; no environment variable is touched.

    The hub library reads its environment once, at import, into a constant: that is what is set and set back.
    The bar of the GGUF conversion does not ask transformers' switch, so its class is exchanged.
    """
    import huggingface_hub.constants
    from transformers import modeling_gguf_pytorch_utils as conversion
    from transformers.utils import logging

    bar = getattr(conversion, "tqdm", None)
    shown = logging.is_progress_bar_enabled()
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    logging.disable_progress_bar()
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    if bar is not None:
        conversion.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        if bar is not None:
            conversion.tqdm = bar
        huggingface_hub.constants.HF_HUB_OFFLINE = offline
        if shown:
            logging.enable_progress_bar()
