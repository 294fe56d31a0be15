"""The switch, and the numbers of a row read off one softmax, against the plain ways to them."""

import os
import subprocess
import sys

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.core import row_statistics
from qtarget_inspect.core.fast_paths import fast_paths, fast_paths_enabled
from qtarget_inspect.core.memory import empty
from qtarget_inspect.core.state import State
from qtarget_inspect.core.top_tokens import top_tokens

DTYPES = {torch.float32: 2e-6, torch.float64: 1e-13}


def test_the_switch_holds_in_its_block_only():
    assert fast_paths_enabled()
    with fast_paths(False):
        assert not fast_paths_enabled()
        with fast_paths(True):
            assert fast_paths_enabled()
        assert not fast_paths_enabled()
    assert fast_paths_enabled()


@pytest.mark.parametrize(("value", "expected"), [("0", "False"), ("1", "True")])
def test_the_environment_switches_a_whole_process(value, expected):
    code = "from qtarget_inspect.core.fast_paths import fast_paths_enabled; print(fast_paths_enabled())"
    environment = {**os.environ, "QTARGET_INSPECT_FAST_PATHS": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def extreme_states(dtype: torch.dtype, vocabulary: int = 50) -> qt.TokenBatch:
    """Labels from impossible to certain, logits far from zero, entries of -inf."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(60, vocabulary, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(vocabulary, (60,), generator=generator)
    logits[torch.arange(60), labels] += torch.linspace(-900, 900, 60, dtype=torch.float64)
    logits[::7, 3] = -torch.inf
    logits[::11] += 60
    logits[5, labels[5]] = -torch.inf
    return qt.TokenBatch(logits.to(dtype), labels, teacher_logits=logits.flip(1).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "read",
    [
        lambda s: s.log_p_label,
        lambda s: s.p_label,
        lambda s: s.one_minus_p_label,
        lambda s: s.entropy,
        lambda s: s.top_k_entropy(5),
        lambda s: s.log_prob_of_label("teacher_logits"),
    ],
    ids=["log p_y", "p_y", "1 - p_y", "entropy", "top-5 entropy", "teacher's log p_y"],
)
def test_numbers_of_a_row_agree_with_log_space(read, dtype):
    batch = extreme_states(dtype)
    judge = read(State(batch.to(torch.float64), fast=False))
    fast = read(State(batch, fast=True)).double()
    assert torch.equal(torch.isinf(fast), torch.isinf(judge))
    known = ~torch.isinf(judge)
    assert known.sum() >= 58
    # log p_y and 1 - p_y keep their relative precision, up to what rounding of the logits themselves does
    rounding = torch.finfo(dtype).eps * batch.logits.double().nan_to_num(neginf=0).abs().amax(-1)[known]
    apart, size = (fast[known] - judge[known]).abs(), judge[known].abs()
    assert (apart <= (DTYPES[dtype] + 4 * rounding) * size + 8 * torch.finfo(dtype).eps).all()


def test_one_minus_label_prob_leaves_the_probabilities_as_they_were():
    batch = extreme_states(torch.float64)
    probabilities = batch.logits.softmax(-1)
    before = probabilities.clone()
    row_statistics.one_minus_label_prob(batch.logits, probabilities, batch.labels)
    assert torch.equal(before, probabilities)


def test_one_minus_label_prob_keeps_its_digits_next_to_one():
    logits = torch.zeros(1, 4)
    logits[0, 1] = 40.0
    exact = float(3 * torch.exp(torch.tensor(-40.0, dtype=torch.float64)))
    batch = qt.TokenBatch(logits, torch.tensor([1]))
    assert float(State(batch, fast=True).one_minus_p_label) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("vocabulary", [7, 640, 4096, 4101, 50257])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_top_tokens_are_those_of_topk(vocabulary, k, dtype):
    values = torch.randn(9, vocabulary, generator=torch.Generator().manual_seed(1)).to(dtype)
    values[0, : vocabulary // 2] = -torch.inf
    values[1] = -torch.inf
    values[1, -1] = 0.0  # after the last whole block
    top, index = top_tokens(values, k)
    assert torch.equal(top, values.topk(min(k, vocabulary)).values)
    assert torch.equal(values.gather(-1, index), top)
    assert all(len(set(row)) == len(row) for row in index[2:].tolist())


def test_top_tokens_of_a_view_and_of_many_rows():
    values = torch.randn(1100, 2 * 1500, generator=torch.Generator().manual_seed(2))
    for view in (values[:, ::2], values[::3], values[:, 100:2900]):
        top, index = top_tokens(view, 3)
        assert torch.equal(top, view.topk(3).values)
        assert torch.equal(view.gather(-1, index), top)


def test_top_tokens_reads_few_numbers_of_a_long_row():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Selected(TorchDispatchMode):
        entries = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket.__name__ == "topk":
                self.entries += args[0].numel()
            return function(*args, **(kwargs or {}))

    values = torch.randn(8, 49152)
    with Selected() as selected:
        top_tokens(values, 20)
    assert 0 < selected.entries < 0.06 * values.numel()


def test_large_results_are_ordinary_tensors():
    tensor = empty(300, 40000, dtype=torch.float32, device=torch.device("cpu"))
    tensor.fill_(2.0)
    assert tensor.shape == (300, 40000)
    assert tensor.is_contiguous()
    assert float(tensor.sum()) == 2.0 * tensor.numel()
