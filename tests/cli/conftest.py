"""How the command line is run in tests, a file of losses, and a tiny language model in a folder."""

import pytest
from typer.testing import CliRunner

from qtarget_inspect.cli.app import app

LOSSES = """
import torch


def focal(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -((1 - log_p.exp()) ** 2) * log_p


def distil(logits, labels, teacher_logits):
    return -(teacher_logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def broken(logits, labels):
    raise RuntimeError("boom")


number = 3
"""


@pytest.fixture
def run():
    """Run the command line; returns what it printed and how it ended."""

    def run(*arguments, input=None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return run


@pytest.fixture
def losses(tmp_path):
    """A file of losses, as a user would write it."""
    path = tmp_path / "my_losses.py"
    path.write_text(LOSSES)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a random language model with a chat template and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(sorted(letters))}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}. {% endfor %}"
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
