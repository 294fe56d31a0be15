"""Targets go to a file and come back whole."""

import pytest
import torch

import qtarget_inspect as qt


@pytest.mark.parametrize("loss", ["asft(kl_weight=0.2)", qt.losses.sft])
def test_there_and_back(loss, tmp_path):
    batch = qt.probe_batch(16, 20)
    batch = qt.TokenBatch(batch.logits, batch.labels, tokens=[f"t{i}" for i in range(16)], **batch.context)
    target = qt.invert(loss, batch)
    back = qt.load(target.save(tmp_path / "target.safetensors"))
    for name in ("q", "g", "mass", "p"):
        assert torch.equal(getattr(back, name), getattr(target, name)), name
    assert torch.equal(back.batch.teacher_logits, batch.teacher_logits)
    assert (back.loss, back.method, back.reduction, back.notes) == (
        target.loss,
        target.method,
        target.reduction,
        target.notes,
    )
    assert back.batch.tokens == batch.tokens
    assert torch.equal(qt.decompose(back).gamma, qt.decompose(target).gamma)


def test_a_causal_batch_keeps_its_grid(tmp_path):
    batch = qt.TokenBatch.from_causal_lm(
        torch.randn(2, 5, 7), torch.tensor([[-100, 1, 2, 3, 4], [-100, -100, 5, 6, 0]])
    )
    back = qt.load(qt.invert("dft", batch).save(tmp_path / "t.safetensors"))
    assert back.batch.grid == (2, 5)
    assert torch.equal(back.batch.to_grid(back.p_label).isnan(), batch.to_grid(back.p_label).isnan())


def test_a_divisor_a_token_comes_back(tmp_path):
    batch = qt.probe_batch(32, 20, sequence_length=5)

    def per_sample(logits, labels, sequence_ids):
        losses = qt.losses.sft(logits, labels)
        return torch.stack([losses[sequence_ids == s].mean() for s in sequence_ids.unique()]).mean()

    target = qt.invert(per_sample, batch)
    back = qt.load(target.save(tmp_path / "t.safetensors"))
    assert torch.equal(torch.as_tensor(back.reduction.divisor), torch.as_tensor(target.reduction.divisor))


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(qt.QTargetError, match="there is no file"):
        qt.load(tmp_path / "absent")
    (tmp_path / "text").write_text("not tensors at all, but long enough to be read as a header")
    with pytest.raises(qt.QTargetError, match="no safetensors file"):
        qt.load(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, str(tmp_path / "other"))
    with pytest.raises(qt.QTargetError, match="was not written by InducedTarget"):
        qt.load(tmp_path / "other")
