"""The loop of the simulation: time is virtual, order is fixed, and what is killed does nothing more."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.simulation.loop import Process, SimulatedLoop, Violation


def run(make: Callable[[SimulatedLoop], Coroutine[Any, Any, object]]) -> SimulatedLoop:
    loop = SimulatedLoop()
    try:
        _ = loop.run(loop.create_task(make(loop)))
    finally:
        loop.close()
    return loop


def test_a_year_passes_at_once() -> None:
    async def main(_loop: SimulatedLoop) -> None:
        await asyncio.sleep(365 * 24 * 3600)

    assert run(main).time() == 365 * 24 * 3600


def test_what_is_ready_runs_in_the_order_in_which_it_became_ready() -> None:
    seen: list[str] = []

    async def main(loop: SimulatedLoop) -> None:
        loop.call_later(2, seen.append, "later")
        loop.call_later(1, seen.append, "first")
        loop.call_later(1, seen.append, "second")
        loop.call_soon(seen.append, "now")
        await asyncio.sleep(3)

    run(main)

    assert seen == ["now", "first", "second", "later"]


def test_a_cancelled_timer_does_not_fire() -> None:
    seen: list[str] = []

    async def main(loop: SimulatedLoop) -> None:
        loop.call_later(1, seen.append, "fired").cancel()
        await asyncio.sleep(2)

    run(main)

    assert seen == []


def test_a_timeout_ends_what_takes_too_long() -> None:
    async def main(_loop: SimulatedLoop) -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(6)

    with pytest.raises(TimeoutError):
        run(main)


def test_work_on_threads_takes_time() -> None:
    async def main(loop: SimulatedLoop) -> None:
        loop.thread_delay_s = lambda: 0.25
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    assert run(main).time() == 0.5


def test_a_killed_process_does_nothing_more_and_cleans_nothing_up() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
            seen.append("one")
            await asyncio.sleep(1)
            seen.append("two")
        finally:
            seen.append("cleaned up")

    async def main(loop: SimulatedLoop) -> None:
        process = Process(loop, "p")
        _ = process.spawn(work())
        process.later(1.9, seen.append, "timer of the dead")
        await asyncio.sleep(1.5)
        process.kill()
        await asyncio.sleep(5)
        assert seen == ["one"]

    run(main)


def test_what_a_process_begins_is_its_own() -> None:
    seen: list[str] = []

    async def child() -> None:
        await asyncio.sleep(2)
        seen.append("child")

    async def parent() -> None:
        _ = asyncio.get_running_loop().create_task(child())
        await asyncio.sleep(10)

    async def main(loop: SimulatedLoop) -> None:
        process = Process(loop, "p")
        _ = process.spawn(parent())
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(5)

    run(main)

    assert seen == []


def test_a_doomed_process_dies_after_so_many_steps() -> None:
    steps: list[float] = []

    async def work(loop: SimulatedLoop) -> None:
        while True:
            steps.append(loop.time())
            await asyncio.sleep(1)

    async def main(loop: SimulatedLoop) -> None:
        process = Process(loop, "p")
        process.doomed_at = 9
        _ = process.spawn(work(loop))
        await asyncio.sleep(100)
        assert not process.alive
        assert process.steps == 9

    run(main)

    assert 2 <= len(steps) <= 9


def test_an_exception_nobody_catches_is_a_violation() -> None:
    def fail() -> None:
        raise ValueError("nobody catches this")

    async def main(loop: SimulatedLoop) -> None:
        loop.call_later(1, fail)
        await asyncio.sleep(2)

    with pytest.raises(Violation, match="nobody catches this"):
        run(main)


def test_a_loop_on_which_nothing_will_happen_is_a_violation() -> None:
    async def main(loop: SimulatedLoop) -> None:
        await loop.create_future()

    with pytest.raises(Violation, match="nothing will ever happen"):
        run(main)


def test_a_step_that_does_not_end_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.loop.STEP_S", 0.02)

    async def main(_loop: SimulatedLoop) -> None:
        while True:
            pass

    with pytest.raises(Violation, match=r"a step does not end: it is in .*test_loop\.py:\d+"):
        run(main)


def test_the_first_violation_stops_the_loop() -> None:
    async def main(loop: SimulatedLoop) -> None:
        loop.call_later(1, loop.fail, "first")
        loop.call_later(1, loop.fail, "second")
        await asyncio.sleep(1000)

    with pytest.raises(Violation, match="first"):
        run(main)
