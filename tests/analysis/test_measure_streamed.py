"""Streaming: hidden states give the numbers of their logits, in memory that does not grow with their number."""

import pytest
import torch
from live_bytes import LiveBytes

import qtarget_inspect as qt
from qtarget_inspect.analysis.measurement.records import NUMBERS
from qtarget_inspect.core import hidden_states
from qtarget_inspect.variants import BEYOND_VARIANTS, PAPER_VARIANTS

DECLARED = [variant.name for variant in PAPER_VARIANTS + BEYOND_VARIANTS if variant.pulls is not None]
PAPER = [variant.name for variant in PAPER_VARIANTS]


def states_and_batch(tokens=60, vocabulary=40, size=8, dtype=torch.float64):
    """The same tokens as hidden states and as logits."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    head, hidden = normal(vocabulary, size), normal(tokens, size)
    others = {name: hidden + 0.3 * normal(tokens, size) for name in ("reference_logits", "teacher_logits")}
    context = {
        "old_logits": (hidden + 0.1 * normal(tokens, size)) @ head.T,
        "advantages": normal(tokens),
        "critical": torch.rand(tokens, generator=generator) < 0.5,
        "sequence_ids": torch.arange(tokens) // 5,
    }
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    pairs = {name: (other, head) for name, other in others.items()}
    logits = {name: other @ head.T for name, other in others.items()}
    states = qt.HiddenStates(hidden, head, labels, **pairs, **context)
    return states, qt.TokenBatch(hidden @ head.T, labels, **logits, **context)


@pytest.fixture
def small_chunks(monkeypatch):
    """Seven tokens a chunk, which cuts sequences of five apart."""
    monkeypatch.setattr(hidden_states, "CHUNK_BYTES", 7 * 4 * 40)


@pytest.mark.parametrize("gauge", ["natural", "unit", "normalized"])
def test_all_registered_losses_have_the_numbers_of_the_logits(gauge, small_chunks):
    """Coupled ones too: their weights are taken on all tokens."""
    states, batch = states_and_batch()
    assert states.default_rows == 7
    streamed, whole = (qt.measure(DECLARED, one, gauge=gauge, top_tokens=3) for one in (states, batch))
    for one, other in zip(streamed, whole, strict=True):
        assert (one.loss, one.gauge, one.coupled) == (other.loss, other.gauge, other.coupled)
        for name in NUMBERS:
            assert torch.allclose(one[name], other[name], rtol=1e-9, atol=1e-11, equal_nan=True), (one.loss, name)
        assert torch.allclose(one.drops.values, other.drops.values, atol=1e-12, equal_nan=True)


def test_callables_run_chunk_by_chunk(small_chunks):
    states, batch = states_and_batch()

    def mine(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)

    one, other = (qt.measure([mine], tokens, top_tokens=2)[0] for tokens in (states, batch))
    for name in NUMBERS:
        assert torch.allclose(one[name], other[name], atol=1e-6, equal_nan=True), name
    assert torch.allclose(one.gains.values, other.gains.values, atol=1e-9)


def test_a_callable_with_coupled_tokens_is_refused(small_chunks):
    states, batch = states_and_batch()

    def centred(logits, labels):
        values = qt.losses.sft(logits, labels)
        return (values.detach() / values.detach().mean()) * values

    assert qt.measure([centred], batch)[0].coupled is not None
    with pytest.raises(qt.LossError, match=r"centred couples the tokens of a batch .* Measure it on a TokenBatch"):
        qt.measure([centred], states)


def test_without_fast_paths_chunks_are_inverted(small_chunks):
    states, _ = states_and_batch()
    names = ["dft", "asft", "target-sft", "gem"]
    fast = qt.measure(names, states)
    with qt.fast_paths(False):
        plain = qt.measure(names, states)
    for one, other in zip(fast, plain, strict=True):
        assert one.gauge == other.gauge
        for name in NUMBERS:
            assert torch.allclose(one[name], other[name], atol=1e-8, equal_nan=True), (one.loss, name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast_after_the_head(dtype):
    states, batch = states_and_batch(dtype=dtype)
    one, other = (qt.measure(["target-sft"], tokens)[0] for tokens in (states, batch))
    for name in NUMBERS:
        assert torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-6, equal_nan=True), name


def peak_of(tokens, monkeypatch):
    """Peak bytes over inputs of measuring the paper's losses, those of its result, and those of a chunk of logits."""
    vocabulary, size = 4096, 16
    monkeypatch.setattr(hidden_states, "CHUNK_BYTES", 32 * vocabulary * 4)
    monkeypatch.setattr("qtarget_inspect.analysis.measurement.stream.PIECE_BYTES", 32 * vocabulary * 4)
    head, hidden = torch.randn(vocabulary, size), torch.randn(tokens, size)
    states = qt.HiddenStates(
        hidden,
        head,
        torch.randint(vocabulary, (tokens,)),
        reference_logits=(hidden + 1, head),
        teacher_logits=(hidden - 1, head),
        old_logits=(hidden * 0.9, head),
        critical=torch.rand(tokens) < 0.5,
        sequence_ids=torch.arange(tokens) // 8,
    )
    with LiveBytes() as counter:
        found = qt.measure(PAPER, states)
    return counter.peak, result_bytes(found), 32 * vocabulary * 4


def result_bytes(found):
    """Bytes of all numbers of a measurement."""
    return sum(value.nbytes for one in found for value in (*one.values.values(), one.unexplained))


def test_peak_memory_is_two_chunks_a_context_tensor_whatever_n_is(monkeypatch):
    """Beyond that it grows as the numbers do, which take a thousandth of the logits' memory at V = 50,000."""
    (few, least, chunk), (many, most, _) = (peak_of(tokens, monkeypatch) for tokens in (64, 4096))
    assert few - least <= 2 * 4 * chunk, f"{few / chunk:.2f} chunks"
    assert many - few <= 3 * (most - least), f"{(many - few) / (most - least):.2f} times the result"
    assert most < 4096 * 4096 * 4 / 8


def test_peak_memory_on_logits_is_small(monkeypatch):
    monkeypatch.setattr("qtarget_inspect.analysis.measurement.stream.PIECE_BYTES", 2**22)
    logits = torch.randn(2048, 4096)
    batch = qt.TokenBatch(
        logits,
        torch.randint(4096, (2048,)),
        reference_logits=logits + 0.1,
        teacher_logits=logits - 0.1,
        old_logits=logits,
        critical=torch.rand(2048) < 0.5,
        sequence_ids=torch.arange(2048) // 8,
    )
    with LiveBytes() as counter:
        found = qt.measure(PAPER, batch)
    assert counter.peak - 3 * result_bytes(found) <= 2 * 2**22, f"{counter.peak / 2**22:.2f} chunks"
