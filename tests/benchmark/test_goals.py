"""Goals: every one names contenders that exist; verdicts say met, not met, or why not measured."""

import dataclasses
import math

import pytest

from qtarget_inspect.benchmark.contenders.collection import contenders
from qtarget_inspect.benchmark.contenders.identify_cases import CASES, USERS_BATCH, identify_name
from qtarget_inspect.benchmark.contenders.streamed import LONG
from qtarget_inspect.benchmark.goals import MEMORY, Goal, goals
from qtarget_inspect.benchmark.machine import this_machine
from qtarget_inspect.benchmark.own_process import AGAIN, FIRST, SECOND
from qtarget_inspect.benchmark.results import Peak, Results, Section, Timing
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.verdicts import NOT_ASKED, judge, verdicts

SETTING = Setting(4, 64)


def section(times, *, kind="shape", peaks=(), notices=(), setting=SETTING):
    timings = tuple(Timing(name, "plain", tuple(seconds), seconds[0]) for name, seconds in times.items())
    return Section(kind, setting, timings, tuple(peaks), tuple(notices))


def results(*sections):
    return Results(this_machine(), 2, 1000, tuple(sections))


def test_every_goal_names_what_is_measured():
    known = {contender.name for contender in contenders(SETTING)}
    known |= {contender.name for contender in contenders(Setting(4, LONG[1], device="cuda"))}
    known |= {identify_name(case) for case in (*CASES, USERS_BATCH)} | {FIRST, SECOND, AGAIN}
    for goal in goals():
        assert goal.contender in known, goal.text
        assert goal.quantity in ("seconds", "GiB", *MEMORY) or goal.reference in known, goal.text
        assert goal.less is None or goal.less in known, goal.text


def test_no_two_goals_are_the_same_line():
    lines = [(goal.text, goal.limit, goal.unit) for goal in goals()]
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize(("seconds", "met"), [([2.0, 2.0, 9.0], True), ([2.1, 3.0, 0.1], False)])
def test_a_ratio_is_met_by_its_median(seconds, met):
    goal = Goal("x", "ratio", "x", 2.0, reference="floor")
    verdict = judge(goal, section({"floor": [1.0, 1.0, 1.0], "x": seconds}), 1)
    assert verdict.met is met
    assert verdict.text == ("met" if met else "NOT met")


def test_what_is_counted_apart_is_taken_off():
    goal = Goal("x", "ratio", "x", 1.0, reference="floor", less="top")
    verdict = judge(goal, section({"floor": [2.0], "x": [5.0], "top": [3.5]}), 1)
    assert verdict.value.median == 0.75
    assert verdict.met


def test_seconds_are_not_held_against_a_floor():
    verdict = judge(Goal("x", "seconds", "x", 2.0), section({"x": [1.0, 2.5, 3.0]}), 1)
    assert (verdict.value.median, verdict.met) == (2.5, False)


def test_bandwidth_is_a_share_of_a_copys_and_is_to_be_reached():
    goal = Goal("x", "bandwidth", "x", 0.8, reference="copy", device="cuda")
    copied = {"copy": [1.0], "x": [1.25]}
    assert judge(goal, section(copied), 1).value.median == 0.8
    assert judge(goal, section(copied), 1).met
    assert not judge(dataclasses.replace(goal, limit=0.81), section(copied), 1).met


@pytest.mark.parametrize(("quantity", "value"), [("torch memory", 0.5), ("system memory", 2.5), ("GiB", 500 / 2**30)])
def test_peak_memory_is_counted_in_chunks_by_either_account(quantity, value):
    goal = Goal("x", quantity, "x", 2.0)
    verdict = judge(goal, section({"x": [1.0]}, peaks=[Peak("x", 500, 2500)]), 1000)
    assert (verdict.value.median, verdict.met) == (value, value <= 2)
    assert judge(goal, section({"x": [1.0]}, peaks=[Peak("x", None, None)]), 1000).met is None


def test_a_contender_that_is_not_there_is_not_measured_and_the_notice_says_why():
    goal = Goal("x", "ratio", "x", 2.0, reference="floor")
    silent = judge(goal, section({"floor": [1.0]}), 1)
    assert (silent.met, silent.text) == (None, f"not measured: {NOT_ASKED}")
    told = judge(goal, section({"floor": [1.0]}, notices=["xy: something", "x: left out, no compiler"]), 1)
    assert told.text == "not measured: left out, no compiler"


def test_goals_of_a_gpu_are_not_measured_without_one():
    found = verdicts(results(section({"softmax, out=": [1.0]})))
    gpu = [verdict for verdict in found if verdict.goal.device == "cuda"]
    assert gpu
    assert {verdict.text for verdict in gpu} == {"not measured: no CUDA device"}
    assert all(verdict.section is None for verdict in gpu)


def test_goals_of_a_cpu_are_not_measured_on_a_gpu():
    there = section({"copy, out=": [1.0], "closed form, dft, out=": [1.1]}, setting=Setting(4, 64, device="cuda"))
    found = {verdict.goal.text: verdict for verdict in verdicts(results(there))}
    assert found["GPU, closed form: dft"].met
    assert found["closed form: dft"].text == "not measured: this run is on a GPU"


def test_every_setting_has_its_own_verdict():
    goal = Goal("x", "ratio", "x", 2.0, reference="floor")
    one = section({"floor": [1.0], "x": [1.0]})
    other = section({"floor": [1.0], "x": [3.0]}, setting=Setting(8, 64))
    found = verdicts(results(one, other), [goal])
    assert [(verdict.section.setting.rows, verdict.met) for verdict in found] == [(4, True), (8, False)]
    assert not any(math.isnan(verdict.value.median) for verdict in found)
