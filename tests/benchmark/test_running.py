"""A real benchmark at a tiny shape: every contender runs, gives the right result, and its memory is seen."""

import dataclasses

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.benchmark import own_process, running
from qtarget_inspect.benchmark.contenders.closed_forms import paper_rows
from qtarget_inspect.benchmark.contenders.collection import GROUPS, contenders
from qtarget_inspect.benchmark.contenders.contender import FLOOR, FLOOR_FRESH
from qtarget_inspect.benchmark.contenders.plain import LOOP_TOKENS
from qtarget_inspect.benchmark.memory import system_peak, torch_peak
from qtarget_inspect.benchmark.plain_losses import PLAIN_LOSSES, plain_loss
from qtarget_inspect.benchmark.results import results_from_json
from qtarget_inspect.benchmark.sections import shape_section
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.verdicts import verdicts
from qtarget_inspect.benchmark.workload import make_workload

EAGER = [group for group in GROUPS if group != "compiled"]
SHAPE = (24, 96)


def named(setting, name):
    return next(contender for contender in contenders(setting) if contender.name == name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_everything_runs_and_is_timed_in_every_round(dtype):
    section = shape_section(Setting(*SHAPE, dtype), EAGER, 2)
    assert section.notices == tuple(notice for notice in section.notices if "busy" in notice)
    expected = [contender.name for contender in contenders(Setting(*SHAPE, dtype), EAGER)]
    assert [timing.name for timing in section.timings] == expected
    assert len(set(expected)) == len(expected)
    for timing in section.timings:
        assert len(timing.seconds) == 2
        assert all(seconds > 0 for seconds in (*timing.seconds, timing.first))
        assert section.peak(timing.name).torch >= 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_contenders_give_the_same_target(dtype):
    """The naive line, the engine and the closed form of a loss are timed on the same task."""
    setting = Setting(*SHAPE, dtype)
    work = make_workload(setting)
    exact = qt.invert("dft", work.batch, method="vmap", dtype=torch.float64).q
    for name in ("naive line, dft", "invert, dft, fresh", "closed form, dft, fresh"):
        result = named(setting, name).prepare(work)()
        q = result.q if isinstance(result, qt.InducedTarget) else result
        assert q.dtype == torch.float32
        torch.testing.assert_close(q.double(), exact, rtol=0, atol=2e-6)
    for name in ("invert, dft, out=", "closed form, dft, out="):
        work.out.zero_()
        named(setting, name).prepare(work)()
        torch.testing.assert_close(work.out.double(), exact, rtol=0, atol=2e-6)
    work.out.zero_()
    named(setting, FLOOR).prepare(work)()
    torch.testing.assert_close(work.out.double(), work.logits.double().softmax(-1), rtol=0, atol=1e-6)
    rows = named(setting, "loop over tokens, dft").prepare(work)()
    torch.testing.assert_close(rows.double(), exact[:LOOP_TOKENS], rtol=0, atol=2e-6)


@pytest.mark.parametrize("loss", PLAIN_LOSSES, ids=lambda loss: loss.name)
def test_plain_losses_are_those_of_their_name(loss):
    batch = make_workload(Setting(*SHAPE)).batch.to(torch.float64)
    plain = qt.invert(loss.function, batch).q
    name = {"confidence penalty": "confidence-penalty(entropy_weight=0.1)"}.get(loss.name, loss.name)
    torch.testing.assert_close(plain, qt.invert(name, batch).q, rtol=0, atol=1e-12)
    naive = named(Setting(*SHAPE), f"naive line, {loss.name}").prepare(make_workload(Setting(*SHAPE)))()
    torch.testing.assert_close(naive.double(), plain, rtol=0, atol=2e-6)


def test_unknown_plain_losses_are_refused():
    with pytest.raises(qt.QTargetError, match="dft, asft, confidence penalty"):
        plain_loss("sft")


def test_a_contender_on_a_few_tokens_is_scaled_to_all():
    contender = named(Setting(*SHAPE), "loop over tokens, dft")
    assert contender.scale(10 * LOOP_TOKENS) == 10
    assert contender.scale(LOOP_TOKENS - 1) == 1
    assert named(Setting(*SHAPE), FLOOR).scale(1000) == 1


def test_the_closed_forms_are_all_rows_of_the_paper():
    assert len(paper_rows()) == 16
    names = {contender.name for contender in contenders(Setting(*SHAPE), ["closed-form"])}
    assert {f"closed form, {name}, out=" for name in paper_rows()} <= names


def test_a_workload_is_the_same_for_the_same_seed_and_holds_every_context():
    one, other = make_workload(Setting(*SHAPE)), make_workload(Setting(*SHAPE))
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.labels, other.labels)
    assert not torch.equal(one.logits, make_workload(Setting(*SHAPE), seed=1).logits)
    assert len(one.batch.context) == 7
    only = one.batch_with("reference_logits", old_logits=one.batch.reference_logits)
    assert set(only.context) == {"reference_logits", "old_logits"}
    assert only.old_logits.data_ptr() == only.reference_logits.data_ptr()


def test_torch_sees_peaks_and_not_sums():
    def call():
        first = torch.ones(1000) * 2
        del first
        return torch.ones(1000) + 1

    assert 8000 <= torch_peak(call) < 12000


def test_the_system_sees_what_torch_does_not():
    size = 2**26
    seen = system_peak(lambda: bytearray(b"x") * size)
    if seen is None:
        pytest.skip("this system has no account of peak memory that can be put back")
    assert seen >= 0.9 * size
    assert torch_peak(lambda: bytearray(b"x") * size) == 0
    assert system_peak(lambda: None) < size / 4


def test_a_fresh_result_is_not_memory_beyond_the_result():
    section = shape_section(Setting(64, 2048), ["floor"], 1)
    assert section.peak(FLOOR_FRESH).torch == 0
    assert section.peak("copy, out=").torch == 0


def test_what_cannot_be_called_is_left_out_with_a_notice(monkeypatch):
    from qtarget_inspect.benchmark import sections

    def refuse(work):
        raise qt.LossError("no such thing\nsecond line")

    refused = dataclasses.replace(named(Setting(*SHAPE), FLOOR_FRESH), prepare=refuse)
    monkeypatch.setattr(sections, "contenders", lambda *_, **__: (named(Setting(*SHAPE), FLOOR), refused))
    section = shape_section(Setting(*SHAPE), ["floor"], 1)
    assert [timing.name for timing in section.timings] == [FLOOR]
    assert section.notices[0] == f"{FLOOR_FRESH}: left out, no such thing"


def test_a_fault_of_a_contender_is_raised(monkeypatch):
    from qtarget_inspect.benchmark import sections

    def fail(work):
        raise KeyError("a fault")

    broken = dataclasses.replace(named(Setting(*SHAPE), FLOOR), prepare=fail)
    monkeypatch.setattr(sections, "contenders", lambda *_, **__: (broken,))
    with pytest.raises(KeyError):
        shape_section(Setting(*SHAPE), ["floor"], 1)


def test_a_busy_machine_is_told():
    from qtarget_inspect.benchmark.results import Timing
    from qtarget_inspect.benchmark.sections import _restless

    assert _restless([Timing(FLOOR, "floor", (1.0, 1.0, 1.1), 1.0)]) == []
    assert "busy" in _restless([Timing(FLOOR, "floor", (1.0, 2.0, 3.0), 1.0)])[0]


def test_a_benchmark_of_some_parts(monkeypatch):
    threads = torch.get_num_threads()
    told = []
    settings = [Setting(*SHAPE), Setting(8, 64, "bfloat16")]
    results = running.run_benchmark(settings, rounds=2, only=["top-k"], threads=1, notify=told.append)
    assert [section.setting for section in results.sections] == settings
    assert {timing.group for timing in results.sections[0].timings} == {"floor", "top-k"}
    assert results.machine.threads == 1
    assert torch.get_num_threads() == threads
    assert any("2 rounds" in line for line in told)
    assert results_from_json(results.to_json()).sections[0].setting == settings[0]


def test_parts_bring_what_their_goals_are_held_against():
    results = running.run_benchmark([Setting(*SHAPE)], rounds=1, only=["generic"])
    measured = [verdict for verdict in verdicts(results) if verdict.goal.text.startswith("any loss, eager")]
    assert len(measured) == len(PLAIN_LOSSES)
    assert all(verdict.met is not None for verdict in measured)


def test_few_contenders_where_not_all_are_wanted():
    few = running.run_benchmark([Setting(*SHAPE)], rounds=1, only=["generic"], whole=())
    names = [timing.name for timing in few.sections[0].timings]
    assert "invert, dft, fresh" in names
    assert "invert, asft, fresh" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["closed"]}, "no part closed; it has floor, plain"),
        ({"rounds": 0}, "at least 1, not 0"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(qt.QTargetError, match=message):
        running.run_benchmark([Setting(*SHAPE)], **arguments)
    with pytest.raises(qt.QTargetError, match="one setting"):
        running.run_benchmark([])


def test_shapes_that_do_not_fit_are_left_out(monkeypatch):
    small, large = Setting(16, 64), Setting(512, 49152)
    monkeypatch.setattr(running, "available_memory", lambda _: 2**20)
    told = []
    assert running.fitting([large, small], told.append) == [small]
    assert told == ["left out: 512 x 49152 float32 needs 0.9 GiB of memory, and 0.0 GiB are free"]
    with pytest.raises(qt.QTargetError, match="name a smaller shape"):
        running.fitting([large])


@pytest.mark.slow
def test_page_faults_are_measured_in_a_process_of_its_own():
    results = running.run_benchmark([Setting(*SHAPE)], rounds=1, only=["floor", "page-faults"])
    kinds = [section.kind for section in results.sections]
    if kinds == ["shape"]:
        pytest.skip("the C library here is not glibc")
    assert kinds == ["shape", "kept memory"]
    assert {FLOOR, FLOOR_FRESH, "naive line, dft"} <= {timing.name for timing in results.sections[1].timings}


@pytest.mark.slow
def test_a_process_that_fails_says_why():
    with pytest.raises(qt.QTargetError, match=r"nothing known failed: .*"):
        own_process._in_own_process({"task": "nothing known", "setting": {"rows": 0, "vocabulary": 0}}, {})


@pytest.mark.slow
def test_compile_time_is_said_for_three_first_calls():
    section = own_process.compile_time_section(Setting(4, 64), lambda _: None)
    if section.notices:
        pytest.skip(section.notices[0])
    assert [timing.name for timing in section.timings] == [own_process.FIRST, own_process.SECOND, own_process.AGAIN]
    assert all(timing.seconds[0] > 0 for timing in section.timings)


@pytest.mark.model
@pytest.mark.slow
def test_real_logits():
    work = make_workload(Setting(60, 49152, "bfloat16", "smollm2"))
    assert work.batch.logits.shape == (60, 49152)
    assert work.batch.teacher_logits.dtype == torch.bfloat16
    p_label = qt.invert("sft", work.batch).p_label
    assert p_label.mean() > 0.2  # a model that has read the problem


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_a_gpu():
    results = running.run_benchmark([Setting(64, 4096, "bfloat16", device="cuda")], rounds=2, only=EAGER)
    assert results.machine.gpu
    gpu = [
        verdict
        for verdict in verdicts(results)
        if verdict.goal.device == "cuda" and "compiled" not in verdict.goal.text
    ]
    assert all(verdict.met is not None for verdict in gpu)
