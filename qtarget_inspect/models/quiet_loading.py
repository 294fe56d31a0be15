"""Loading from disk only: no network, no progress bars, and everything as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qtarget_inspect.core.errors import MissingDependencyError


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


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hub access off and transformers' bars hidden inside the block; no environment variable is touched.

    The hub library reads its environment once, at import, into a constant: that constant is what is set and set back.
    """
    import huggingface_hub.constants
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    logging.disable_progress_bar()
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = offline
        if shown:
            logging.enable_progress_bar()
