"""The same answers on a GPU."""

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt

from . import naive
from . import third_party as styles

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.fixture
def on_gpu(batch):
    return batch.to("cuda")


@pytest.mark.parametrize("method", ["closed-form", "torch.func", "autograd", "vmap"])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_every_path(method, chunk_size, batch, on_gpu):
    target = qt.invert("asft(kl_weight=0.1)", on_gpu, method=method, chunk_size=chunk_size)
    assert target.q.device.type == "cuda"
    torch.testing.assert_close(target.q.cpu(), naive.naive_target(naive.anchored, batch), rtol=0, atol=1e-11)
    torch.testing.assert_close(target.g.cpu(), naive.naive_gradient(naive.anchored, batch), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision(dtype, batch):
    rounded = batch.to(dtype)
    target = qt.invert(lambda z, y: F.cross_entropy(z, y), rounded.to("cuda"), chunk_size=7)
    assert target.reduction.kind == "mean"
    expected = naive.naive_target(naive.cross_entropy, rounded)
    torch.testing.assert_close(target.q.cpu().double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "loss", [styles.legacy_function, styles.hf_attribute, styles.boolean_mask, styles.numpy_weight, styles.one_token]
)
def test_styles(loss, batch, on_gpu):
    if loss is styles.numpy_weight:
        pytest.skip("its numpy weight stays on the CPU")
    target = qt.invert(loss, on_gpu)
    torch.testing.assert_close(target.q.cpu(), naive.naive_target(naive.cross_entropy, batch), rtol=0, atol=1e-11)


def test_random_numbers_of_the_user_are_left_alone(on_gpu):
    torch.cuda.manual_seed(3)
    state = torch.cuda.get_rng_state()
    qt.invert(lambda z, y: F.cross_entropy(z, y), on_gpu)
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_dropout_on_the_device_is_seen(on_gpu):
    target = qt.invert(lambda z, y: F.cross_entropy(F.dropout(z, 0.5), y, reduction="none"), on_gpu)
    assert any("one draw" in note for note in target.notes)


def test_labels_on_another_device(batch):
    with pytest.raises(qt.BatchError, match=r"labels lie on cpu, logits on cuda.*labels.to\(logits.device\)"):
        qt.TokenBatch(batch.logits.cuda(), batch.labels)


@pytest.mark.parametrize("loss", ["dft", lambda z, y: F.cross_entropy(z, y)], ids=["closed form", "callable"])
def test_peak_memory(loss):
    from qtarget_inspect.core import chunks

    batch = qt.TokenBatch(torch.randn(8192, 151936, device="cuda"), torch.randint(151936, (8192,), device="cuda"))
    out = torch.empty_like(batch.logits)
    qt.invert(loss, batch.select(slice(0, 64)))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    qt.invert(loss, batch, out=out)
    assert torch.cuda.max_memory_allocated() - before <= 2 * chunks.CUDA_CHUNK_BYTES
