"""One sleep for all timers: to the earliest, never past an hour, whatever the consequences run into."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from holdfast_server.timers.heap import TimerHandle
from holdfast_server.timers.service import LONGEST_SLEEP_US, SHORTEST_SLEEP_US, TimerService


class Bench:
    """A service with a clock and an alarm that the test moves by hand."""

    def __init__(self, loop: "_Loop") -> None:
        self.loop = loop
        self.now_us = 1_000_000
        self.handed: list[list[str]] = []
        self.service: TimerService[str] = TimerService(lambda: self.now_us, self.on_due)

    def on_due(self, due: Sequence[str]) -> None:
        self.handed.append(list(due))

    def sleep_us(self) -> int | None:
        """How long the service sleeps; None if it does not. It never sleeps twice at once."""
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
        self.failures: list[BaseException] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context["exception"]))

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
def test_nothing_happens_before_the_start(bench: Bench) -> None:
    bench.service.add(0, "a")
    assert bench.sleep_us() is None

    bench.service.start()
    assert bench.sleep_us() == 0
    bench.awake(0)
    assert bench.handed == [["a"]]
    assert bench.sleep_us() is None


@on_bench
def test_it_sleeps_to_the_earliest(bench: Bench) -> None:
    bench.service.start()
    assert bench.sleep_us() is None

    bench.service.add(bench.now_us + 50_000, "late")
    assert bench.sleep_us() == 50_000
    bench.service.add(bench.now_us + 60_000, "later")
    assert bench.sleep_us() == 50_000
    bench.service.add(bench.now_us + 20_000, "early")
    assert bench.sleep_us() == 20_000

    bench.awake(20_000)
    assert bench.handed == [["early"]]
    assert bench.sleep_us() == 30_000
    bench.awake(40_000)
    assert bench.handed == [["early"], ["late", "later"]]


@on_bench
def test_what_is_due_already_is_handed_over_from_the_loop_and_not_at_once(bench: Bench) -> None:
    bench.service.start()
    bench.service.add(bench.now_us - 5, "a")
    assert (bench.sleep_us(), bench.handed) == (0, [])

    bench.awake(0)
    assert bench.handed == [["a"]]


@on_bench
def test_close_ones_come_together(bench: Bench) -> None:
    bench.service.start()
    for index in range(10):
        bench.service.add(bench.now_us + 1 + index * 50, str(index))
    assert bench.sleep_us() == SHORTEST_SLEEP_US

    bench.awake(SHORTEST_SLEEP_US)
    assert len(bench.handed) == 1


@on_bench
def test_a_long_sleep_is_cut_so_that_a_clock_set_forward_is_noticed(bench: Bench) -> None:
    bench.service.start()
    day_us = 24 * 3600 * 1_000_000
    bench.service.add(bench.now_us + day_us, "tomorrow")
    assert bench.sleep_us() == LONGEST_SLEEP_US

    bench.awake(LONGEST_SLEEP_US)
    assert (bench.sleep_us(), bench.handed) == (LONGEST_SLEEP_US, [])
    bench.awake(day_us)
    assert bench.handed == [["tomorrow"]]


@on_bench
def test_a_clock_set_back_means_sleeping_again(bench: Bench) -> None:
    bench.service.start()
    bench.service.add(bench.now_us + 10_000, "a")
    bench.awake(-5_000)

    assert (bench.sleep_us(), bench.handed) == (15_000, [])


@on_bench
def test_a_cancelled_timer_is_not_handed_over(bench: Bench) -> None:
    bench.service.start()
    first = bench.service.add(bench.now_us + 10_000, "a")
    bench.service.add(bench.now_us + 30_000, "b")
    bench.service.cancel(first)

    bench.awake(10_000)
    assert (bench.sleep_us(), bench.handed) == (20_000, [])


@on_bench
def test_a_consequence_may_add_and_cancel(bench: Bench) -> None:
    handles: dict[str, TimerHandle[str]] = {}

    def on_due(due: Sequence[str]) -> None:
        bench.on_due(due)
        if due[0] == "a":
            bench.service.cancel(handles["b"])
            bench.service.add(bench.now_us + 5_000, "c")

    bench.service = TimerService(lambda: bench.now_us, on_due)
    bench.service.start()
    bench.service.add(bench.now_us + 1_000, "a")
    handles["b"] = bench.service.add(bench.now_us + 2_000, "b")

    bench.awake(1_000)
    assert bench.sleep_us() == 5_000
    bench.awake(5_000)
    assert bench.handed == [["a"], ["c"]]


@on_bench
def test_a_consequence_that_fails_does_not_stop_the_others(bench: Bench) -> None:
    def on_due(due: Sequence[str]) -> None:
        bench.on_due(due)
        if due[0] == "bad":
            raise ValueError("bad")

    bench.service = TimerService(lambda: bench.now_us, on_due)
    bench.service.start()
    bench.service.add(bench.now_us + 1_000, "bad")
    bench.service.add(bench.now_us + 2_000, "good")

    bench.awake(1_000)
    assert [type(failure) for failure in bench.loop.failures] == [ValueError]
    bench.awake(1_000)
    assert bench.handed == [["bad"], ["good"]]


@on_bench
def test_after_the_stop_nothing_wakes_and_a_new_start_goes_on(bench: Bench) -> None:
    bench.service.start()
    bench.service.add(bench.now_us + 1_000, "a")
    bench.service.stop()
    bench.service.add(bench.now_us + 2_000, "b")
    bench.service.stop()
    assert bench.sleep_us() is None

    bench.now_us += 5_000
    bench.service.start()
    bench.awake(0)
    assert bench.handed == [["a", "b"]]


@pytest.mark.asyncio
async def test_it_wakes_by_itself() -> None:
    handed: list[str] = []
    all_there = asyncio.Event()

    def on_due(due: Sequence[str]) -> None:
        handed.extend(due)
        if len(handed) == 3:
            all_there.set()

    def clock_us() -> int:
        return time.time_ns() // 1_000

    service: TimerService[str] = TimerService(clock_us, on_due)
    service.start()
    now_us = clock_us()
    for delay_us, payload in [(20_000, "c"), (0, "a"), (10_000, "b")]:
        service.add(now_us + delay_us, payload)

    await all_there.wait()
    service.stop()
    assert handed == ["a", "b", "c"]
