"""Alarms of the system's clock: one sleep each, to what is due first, never past a second."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from holdfast_server.clock import LONGEST_SLEEP_US, SHORTEST_SLEEP_US, Clocks, SystemClock

DAY_US = 24 * 3600 * 1_000_000


class Bench:
    """An owner of an alarm, with a clock and an event loop that the test moves by hand."""

    def __init__(self, loop: "_Loop") -> None:
        self.loop = loop
        self.now_us = 1_000_000
        self.due_us: int | None = None
        self.rings = 0
        self.alarm = SystemClock(lambda: self.now_us).alarm(lambda: self.due_us, self.ring)

    def ring(self) -> None:
        self.rings += 1

    def expect(self, in_us: int) -> None:
        """Have something due, sooner than all else or not."""
        due_us = self.now_us + in_us
        self.due_us = due_us if self.due_us is None else min(self.due_us, due_us)
        self.alarm.expect(due_us)

    def sleep_us(self) -> int | None:
        """How long the alarm sleeps; None if it does not. It never sleeps twice at once."""
        sleeps = [sleep for sleep in self.loop.sleeps if not sleep.cancelled()]
        assert len(sleeps) <= 1
        return round(sleeps[0].when() * 1_000_000) if sleeps else None

    def awake(self, later_us: int) -> None:
        """Let time pass and the sleep end."""
        (sleep,) = (sleep for sleep in self.loop.sleeps if not sleep.cancelled())
        self.loop.sleeps.remove(sleep)
        self.now_us += later_us
        sleep._run()


class _Loop(asyncio.SelectorEventLoop):
    """A loop that notes what is to be called later and leaves the calling to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: list[asyncio.TimerHandle] = []

    def call_later(  # type: ignore[override]  # takes any callback, as a note of it needs no more
        self, delay: float, callback: Callable[..., object], *args: Any, **_: Any
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(delay, callback, args, self)
        self.sleeps.append(handle)
        return handle


def on_bench(test: Callable[[Bench], None]) -> Callable[[], None]:
    """Run a test inside a loop."""

    def run() -> None:
        loop = _Loop()

        async def inside() -> None:
            test(Bench(loop))

        try:
            loop.run_until_complete(inside())
        finally:
            loop.close()

    run.__name__ = test.__name__
    return run


@on_bench
def test_it_sleeps_to_what_is_due_first(bench: Bench) -> None:
    bench.alarm.look()
    assert bench.sleep_us() is None

    bench.expect(50_000)
    assert bench.sleep_us() == 50_000
    bench.expect(60_000)
    assert bench.sleep_us() == 50_000
    bench.expect(20_000)
    assert bench.sleep_us() == 20_000

    bench.awake(20_000)
    assert (bench.rings, bench.sleep_us()) == (1, None)
    bench.due_us = bench.now_us + 30_000
    bench.alarm.look()
    assert bench.sleep_us() == 30_000


@on_bench
def test_what_is_due_already_rings_from_the_loop_and_not_at_once(bench: Bench) -> None:
    bench.expect(-5)
    assert (bench.sleep_us(), bench.rings) == (0, 0)

    bench.awake(0)
    assert bench.rings == 1


@on_bench
def test_what_is_due_close_together_rings_once(bench: Bench) -> None:
    for index in range(10):
        bench.expect(1 + index * 50)

    assert bench.sleep_us() == SHORTEST_SLEEP_US


@on_bench
def test_a_long_sleep_is_cut_so_that_a_clock_set_forward_is_noticed(bench: Bench) -> None:
    bench.expect(DAY_US)
    assert bench.sleep_us() == LONGEST_SLEEP_US

    bench.awake(LONGEST_SLEEP_US)
    assert bench.rings == 1
    bench.alarm.look()
    assert bench.sleep_us() == LONGEST_SLEEP_US


@on_bench
def test_what_does_not_matter_any_more_is_not_slept_for(bench: Bench) -> None:
    bench.expect(10_000)
    bench.due_us = bench.now_us + 40_000

    bench.alarm.look()
    assert bench.sleep_us() == 40_000
    bench.due_us = None
    bench.alarm.look()
    assert bench.sleep_us() is None


@on_bench
def test_a_stopped_alarm_sleeps_no_more_until_it_looks_again(bench: Bench) -> None:
    bench.expect(10_000)
    bench.alarm.stop()
    assert bench.sleep_us() is None
    bench.alarm.stop()

    bench.alarm.look()
    assert bench.sleep_us() == 10_000


def test_a_wall_clock_that_is_set_moves_the_runs_and_nobody_else() -> None:
    wall_us, passed_us = [1_000_000], [500]
    clocks = Clocks.system(lambda: wall_us[0], lambda: passed_us[0])
    assert {clock.now_us() for clock in (clocks.runs, clocks.attempts, clocks.workers)} == {1_000_000}

    wall_us[0] += DAY_US
    passed_us[0] += 20
    assert clocks.runs.now_us() == 1_000_000 + DAY_US
    assert clocks.attempts.now_us() == clocks.workers.now_us() == 1_000_020


@pytest.mark.asyncio
async def test_it_rings_by_itself() -> None:
    clock = SystemClock(lambda: time.time_ns() // 1_000)
    due_us = clock.now_us() + 10_000
    rung = asyncio.Event()

    clock.alarm(lambda: due_us, rung.set).look()

    await rung.wait()
    assert clock.now_us() >= due_us
