"""Peak memory beyond the result is two chunks: live bytes are counted, storage by storage."""

import pytest
import torch
import torch.nn.functional as F
from live_bytes import LiveBytes

import qtarget_inspect as qt
from qtarget_inspect.core import chunks

CHUNK = 2**23


def test_the_counter_counts():
    with LiveBytes() as counter:
        a = torch.ones(1000)
        b = a * 2
        del a
        c = b + 1
        del b, c
    assert counter.peak == 8000
    assert counter.live == 0


def reweighted(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return -(log_p.exp().detach() * log_p).mean()


def entropy_regularised(logits, labels):
    log_p = logits.log_softmax(-1)
    return F.nll_loss(log_p, labels) + 0.1 * (log_p.exp() * log_p).sum(-1).mean()


LOSSES = {
    "closed form": "dft",
    "closed form, reference": "asft",
    "closed form, path": "target-sft",
    "closed form, power": "gem",
    "closed form, trajectory": "iw-sft",
    "cross entropy": lambda z, y: F.cross_entropy(z, y),
    "cross entropy, a vector": lambda z, y: F.cross_entropy(z, y, reduction="none"),
    "reweighted": reweighted,
    "entropy": entropy_regularised,
    "legacy path": "autograd",
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_peak_memory_beyond_the_result_is_two_chunks(name, dtype, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", CHUNK)
    logits = torch.randn(4096, 4096).to(dtype)
    batch = qt.TokenBatch(
        logits,
        torch.randint(4096, (4096,)),
        reference_logits=logits,
        teacher_logits=logits,
        sequence_ids=torch.arange(4096) // 8,
    )
    out = torch.empty(4096, 4096)
    loss, method = LOSSES[name], "auto"
    if loss == "autograd":
        loss, method = reweighted, "autograd"
    with LiveBytes() as counter:
        qt.invert(loss, batch, method=method, out=out)
    assert counter.peak <= 2 * CHUNK, f"{counter.peak / CHUNK:.2f} chunks"
    assert out.nbytes >= 8 * CHUNK  # so that two chunks are little beside the result


def test_a_naive_inversion_takes_more():
    """The yardstick: without chunks, the same loss holds several times the logits."""
    logits, labels = torch.randn(512, 4096), torch.randint(4096, (512,))
    with LiveBytes() as counter:
        logits.softmax(-1) - torch.func.grad(lambda z: reweighted(z, labels))(logits)
    assert counter.peak > 2.5 * logits.nbytes


@pytest.mark.parametrize("name", ["dft", "asft", "target-sft"])
def test_the_gradient_of_a_closed_form_takes_two_chunks_beside_itself(name, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", CHUNK)
    logits = torch.randn(4096, 4096)
    batch = qt.TokenBatch(logits, torch.randint(4096, (4096,)), reference_logits=logits, teacher_logits=logits)
    target = qt.invert(name, batch, method="closed-form", out=torch.empty(4096, 4096))
    with LiveBytes() as counter:
        gradient = target.g
    assert counter.peak <= gradient.nbytes + 2 * CHUNK, f"{(counter.peak - gradient.nbytes) / CHUNK:.2f} chunks"
