"""Skipped time and those who work: leases and polls are not touched by it, limits of attempts are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast import RunFailedError, TaskContext, Worker, handler
from holdfast.errors import RunCanceledError
from holdfast.testing import WorkerProcess
from holdfast_server.testing import LocalServer, NotAtRestError
from tests.integration.raw import RawWorker, Stubs, open_channel
from tests.kit.world import START, lines, passed, times_of

YEAR = timedelta(days=365)
MINUTE = timedelta(minutes=1)

JOB = """
name: job
steps:
  - name: work
    task: {handler: work}
    retry: {max_attempts: 3, initial_interval: 1m, max_interval: 1m, jitter: 0}
    timeouts: {start_to_close: 10m, schedule_to_start: 2h}
output: "${steps.work.output}"
"""


class Hands:
    """A handler whose attempts a test lets end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.attempts: list[int] = []
        self.stopped: list[int] = []

        @handler
        async def work(ctx: TaskContext) -> int:
            self.attempts.append(ctx.attempt)
            self.begun.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.stopped.append(ctx.attempt)
                raise
            return ctx.attempt

        self.work = work


@asynccontextmanager
async def working(timeout_s: float = 60.0) -> AsyncIterator[tuple[LocalServer, Hands]]:
    hands = Hands()
    async with (
        LocalServer(start=START, timeout_s=timeout_s) as server,
        Worker(server.client, handlers=[hands.work], grace_s=0.0),
    ):
        await server.client.register(JOB)
        yield server, hands


@asynccontextmanager
async def raw_worker(server: LocalServer) -> AsyncIterator[RawWorker]:
    """A worker that heartbeats only when told, and is dead when the block is left."""
    channel = open_channel(server.target)
    try:
        yield RawWorker(Stubs(channel), "work")
    finally:
        await channel.close()


@pytest.mark.asyncio
async def test_a_worker_that_waits_gets_its_next_task_at_once_after_a_year() -> None:
    async with working() as (server, hands):
        hands.go_on.set()
        for number in range(1, 6):
            assert await server.client.run("job") == 1
            assert await server.skip(days=365) == START + number * YEAR
        (worker,) = [one async for one in server.client.operations.workers()]
        assert worker.slots_used == 0

        assert hands.attempts == [1] * 5


@pytest.mark.asyncio
async def test_time_does_not_pass_while_a_handler_runs_and_skip_says_which() -> None:
    async with working(timeout_s=0.3) as (server, hands):
        handle = await server.client.start("job")
        awaited = asyncio.ensure_future(handle.result())
        await hands.begun.wait()
        with pytest.raises(NotAtRestError) as held_up:
            await server.skip(days=1)
        (worker,) = [one async for one in server.client.operations.workers()]

        assert held_up.value.reasons == [
            f"attempt 1 of step work of run {handle.run_id} is with worker {worker.worker.id}"
        ]
        assert "despite_running=True" in str(held_up.value)
        assert passed(server) == timedelta()
        hands.go_on.set()
        assert await awaited == 1


@pytest.mark.asyncio
async def test_skipped_time_takes_no_lease_from_a_handler_within_its_limits() -> None:
    async with working() as (server, hands):
        handle = await server.client.start("job")
        await hands.begun.wait()
        await server.skip(minutes=9, seconds=59, despite_running=True)  # far beyond a lease
        hands.go_on.set()

        assert await handle.result() == 1
        assert hands.attempts == [1]
        assert await times_of(handle, "step_succeeded") == [timedelta(minutes=9, seconds=59)]


@pytest.mark.asyncio
async def test_a_handler_that_never_ends_reaches_its_limit_and_is_told() -> None:
    async with working() as (server, hands):
        handle = await server.client.start("job")
        await server.skip(hours=1, despite_running=True)

        assert await lines(handle) == [
            "0:00:00 run_started",
            "0:00:00 step_queued work",
            "0:00:00 step_started work",
            "0:10:00 step_attempt_failed work",
            "0:11:00 step_queued work",
            "0:11:00 step_started work",
            "0:21:00 step_attempt_failed work",
            "0:22:00 step_queued work",
            "0:22:00 step_started work",
            "0:32:00 step_failed work",
            "0:32:00 run_failed",
        ]
        with pytest.raises(RunFailedError) as failed:
            await handle.result()
        assert failed.value.failure_type == "Timeout.StartToClose"
    assert hands.attempts == [1, 2, 3]
    assert sorted(hands.stopped) == [1, 2, 3]


BEATS = JOB.replace("start_to_close: 10m", "start_to_close: 10m, heartbeat: 2m")


@pytest.mark.asyncio
async def test_a_handler_may_be_silent_for_as_long_as_its_definition_says() -> None:
    async with LocalServer(start=START) as server, raw_worker(server) as worker:
        await server.client.register(BEATS)
        handle = await server.client.start("job")
        task = await worker.task()
        await server.skip(minutes=1, despite_running=True)
        await worker.beat(task, alive=True)
        await server.skip(minutes=1, seconds=59, despite_running=True)
        assert await times_of(handle, "step_attempt_failed") == []
        await server.skip(seconds=1, despite_running=True)

        assert await times_of(handle, "step_attempt_failed") == [3 * MINUTE]


@pytest.mark.asyncio
async def test_a_task_nobody_serves_holds_time_and_skip_says_so() -> None:
    async with LocalServer(start=START, timeout_s=1.0) as server:
        await server.client.register(JOB)
        handle = await server.client.start("job")
        with pytest.raises(NotAtRestError, match="no worker serves handler 'work' on queue 'default'"):
            await server.skip(hours=2, despite_running=True)
        assert passed(server) == timedelta()

        await server.skip(hours=3, despite_queued=True)
        with pytest.raises(RunFailedError) as failed:
            await handle.result()
        assert failed.value.failure_type == "Timeout.ScheduleToStart"
        assert await times_of(handle, "run_failed") == [timedelta(hours=2)]


@pytest.mark.asyncio
async def test_a_cancelled_handler_hears_of_it_at_once() -> None:
    async with working() as (server, hands):
        handle = await server.client.start("job")
        await hands.begun.wait()
        await handle.cancel()
        with pytest.raises(RunCanceledError):
            await handle.result()

        assert hands.stopped == [1]
        assert passed(server) == timedelta()


@pytest.mark.asyncio
async def test_a_worker_that_dies_loses_its_lease_by_the_clock_of_the_machine() -> None:
    async with LocalServer(start=START, settings={"lease_s": 0.3}) as server:
        await server.client.register(JOB)
        handle = await server.client.start("job")
        async with raw_worker(server) as worker:
            await worker.beat(await worker.task())

        hands = Hands()
        hands.go_on.set()
        async with Worker(server.client, handlers=[hands.work]):
            assert await handle.result() == 2
        assert await times_of(handle, "step_attempt_failed") == [timedelta()]
        assert passed(server) == MINUTE  # the wait before the second attempt


@pytest.mark.asyncio
async def test_workers_may_be_other_processes() -> None:
    hello = Path(__file__).parents[2] / "examples" / "hello"
    async with (
        LocalServer(start=START) as server,
        WorkerProcess("examples.hello.hello", target=server.target),
    ):
        await server.client.register(hello / "hello.yaml")
        handle = await server.client.start("hello", {"name": "Ada"})
        await server.settled()
        await server.client.gates.approve(await server.client.gates.get(handle.run_id))
        await handle.result()
