"""Timers are handed over at their times, in order, whatever the consequences run into."""

from collections.abc import Sequence

import pytest

from holdfast_server.timers.heap import TimerHandle
from holdfast_server.timers.service import TimerService
from tests.unit.hand_clock import HandClock


class Bench:
    """A service on a clock that the test moves by hand."""

    def __init__(self) -> None:
        self.clock = HandClock(1_000_000)
        self.handed: list[list[str]] = []
        self.service: TimerService[str] = TimerService(self.clock, self.on_due)

    def on_due(self, due: Sequence[str]) -> None:
        self.handed.append(list(due))

    def add(self, in_us: int, payload: str) -> TimerHandle[str]:
        return self.service.add(self.clock.time_us + in_us, payload)

    def sleep_us(self) -> int | None:
        """How long the service sleeps; None if it does not."""
        wake_us = self.clock.alarms[-1].wake_us
        return None if wake_us is None else wake_us - self.clock.time_us

    def later(self, by_us: int) -> None:
        self.clock.pass_to(self.clock.time_us + by_us)


def test_nothing_happens_before_the_start() -> None:
    bench = Bench()
    bench.add(0, "a")
    bench.later(10)
    assert (bench.sleep_us(), bench.handed) == (None, [])

    bench.service.start()
    bench.later(0)
    assert bench.handed == [["a"]]
    assert bench.sleep_us() is None


def test_it_sleeps_to_the_earliest() -> None:
    bench = Bench()
    bench.service.start()
    assert bench.sleep_us() is None

    bench.add(50_000, "late")
    assert bench.sleep_us() == 50_000
    bench.add(60_000, "later")
    assert bench.sleep_us() == 50_000
    bench.add(20_000, "early")
    assert bench.sleep_us() == 20_000

    bench.later(20_000)
    assert bench.handed == [["early"]]
    assert bench.sleep_us() == 30_000
    bench.later(40_000)
    assert bench.handed == [["early"], ["late"], ["later"]]


def test_what_is_due_by_then_comes_together() -> None:
    bench = Bench()
    bench.service.start()
    bench.add(10, "a")
    bench.add(20, "b")
    bench.clock.time_us += 30  # the loop was busy

    bench.later(0)
    assert bench.handed == [["a", "b"]]


def test_a_ring_that_comes_too_early_hands_over_nothing_and_sleeps_again() -> None:
    bench = Bench()
    bench.service.start()
    bench.add(10_000, "a")

    bench.service.wake()
    assert (bench.sleep_us(), bench.handed) == (10_000, [])


def test_a_cancelled_timer_is_not_handed_over() -> None:
    bench = Bench()
    bench.service.start()
    first = bench.add(10_000, "a")
    bench.add(30_000, "b")
    bench.service.cancel(first)

    bench.later(10_000)
    assert (bench.sleep_us(), bench.handed) == (20_000, [])


def test_a_consequence_may_add_and_cancel() -> None:
    bench = Bench()
    handles: dict[str, TimerHandle[str]] = {}

    def on_due(due: Sequence[str]) -> None:
        bench.on_due(due)
        if due[0] == "a":
            bench.service.cancel(handles["b"])
            bench.add(5_000, "c")

    bench.service = TimerService(bench.clock, on_due)
    bench.service.start()
    bench.add(1_000, "a")
    handles["b"] = bench.add(2_000, "b")

    bench.later(1_000)
    assert bench.sleep_us() == 5_000
    bench.later(5_000)
    assert bench.handed == [["a"], ["c"]]


def test_a_consequence_that_fails_does_not_stop_the_others() -> None:
    bench = Bench()

    def on_due(due: Sequence[str]) -> None:
        bench.on_due(due)
        if due[0] == "bad":
            raise ValueError("bad")

    bench.service = TimerService(bench.clock, on_due)
    bench.service.start()
    bench.add(1_000, "bad")
    bench.add(2_000, "good")

    with pytest.raises(ValueError, match="bad"):
        bench.later(1_000)
    bench.later(1_000)
    assert bench.handed == [["bad"], ["good"]]


def test_after_the_stop_nothing_wakes_and_a_new_start_goes_on() -> None:
    bench = Bench()
    bench.service.start()
    bench.add(1_000, "a")
    bench.service.stop()
    bench.add(2_000, "b")
    bench.service.stop()
    assert bench.sleep_us() is None

    bench.later(5_000)
    assert bench.handed == []
    bench.service.start()
    bench.later(0)
    assert bench.handed == [["a", "b"]]
