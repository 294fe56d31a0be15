"""Rounds in turn, medians and ratios: the arithmetic, with a clock of our own. No test asserts a time."""

import itertools

import pytest

from qtarget_inspect.benchmark.spread import Spread, ratios, spread
from qtarget_inspect.benchmark.timing import SHORTEST, interleaved


class Clock:
    """A clock that calls move on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lasting(clock, order, name, *seconds):
    """A call that notes its name and takes these seconds, one after the other, the last ones again and again."""
    each = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    def call():
        order.append(name)
        clock.now += next(each)

    return call


def test_every_round_calls_each_contender_once_in_order():
    clock, order = Clock(), []
    calls = {name: lasting(clock, order, name, 1.0) for name in "abc"}
    interleaved(calls, 4, clock=clock)
    assert "".join(order) == "abc" * 5  # once before the rounds


def test_seconds_are_those_of_each_round_and_the_call_before_them_is_not_counted():
    clock, order = Clock(), []
    calls = {"a": lasting(clock, order, "a", 5.0, 1.0, 2.0, 3.0), "b": lasting(clock, order, "b", 4.0)}
    times = interleaved(calls, 3, clock=clock)
    assert times["a"].seconds == (1.0, 2.0, 3.0)
    assert times["b"].seconds == (4.0, 4.0, 4.0)


def test_short_calls_are_repeated_within_a_sample_and_the_time_is_that_of_one():
    clock, order = Clock(), []
    times = interleaved({"short": lasting(clock, order, "short", SHORTEST / 4)}, 2, clock=clock)
    assert len(order) == 1 + 2 * 4
    assert times["short"].seconds == pytest.approx((SHORTEST / 4, SHORTEST / 4))


def test_a_call_that_takes_too_long_stays_out_of_the_rounds():
    clock, order = Clock(), []
    calls = {"slow": lasting(clock, order, "slow", 7.0), "quick": lasting(clock, order, "quick", 1.0)}
    times = interleaved(calls, 3, clock=clock, longest=6.0)
    assert order.count("slow") == 1
    assert times["slow"].seconds == (7.0,)
    assert not times["slow"].repeated
    assert times["quick"].repeated


def test_the_device_is_waited_for_before_the_clock_is_read():
    events = []
    calls = {"a": lambda: events.append("call")}
    clock = itertools.count()

    def read():
        events.append("clock")
        return float(next(clock))

    interleaved(calls, 1, clock=read, synchronize=lambda: events.append("wait"))
    once = ["wait", "clock", "call", "wait", "clock"]
    assert events == once * 2


def test_garbage_is_collected_before_a_round_and_not_within():
    import gc

    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, 2)
    assert set(seen[-2:]) == {False}
    assert gc.isenabled()


def test_spread_is_median_and_quartiles():
    assert spread([4.0, 1.0, 3.0, 2.0, 100.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0)


def test_ratios_are_taken_round_by_round():
    times, floor = [2.0, 40.0, 6.0], [1.0, 20.0, 2.0]  # the second round was slow for both
    assert ratios(times, floor) == [2.0, 2.0, 3.0]


def test_what_is_counted_apart_is_taken_off_in_its_own_round():
    assert ratios([5.0, 9.0], [2.0, 4.0], less=[1.0, 1.0]) == [2.0, 2.0]


def test_one_sample_beside_many_is_held_against_their_median():
    assert ratios([30.0], [1.0, 2.0, 3.0]) == [15.0]
