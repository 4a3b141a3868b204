"""What counts as rest, and what happens between being at rest and moving the clock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from holdfast import Client
from holdfast.v1.run_pb2 import RunState
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.testing import LocalServer
from holdfast_server.testing.auto import AutoSkip
from holdfast_server.testing.clock import SkippingClock
from holdfast_server.testing.rest import Rest
from tests.kit.world import START


@dataclass
class FakeRuntime:
    """As much of a runtime as is asked."""

    busy: bool = False
    on_done: Callable[[], None] = lambda: None
    tasks: list[Any] = field(default_factory=list)
    outside: int = 0
    rows: list[int] = field(default_factory=list)
    on_row: Callable[[], Awaitable[None]] | None = None

    @property
    def matching(self) -> Any:
        running = sum(task.lease is not None for task in self.tasks)
        return SimpleNamespace(
            running=running, waiting=len(self.tasks) - running + self.outside, attempts=lambda: self.tasks
        )

    @property
    def store(self) -> Any:
        return SimpleNamespace(run=self._row)

    async def _row(self, _namespace: str, _run_id: str) -> Any:
        if self.on_row is not None:
            await self.on_row()
        return SimpleNamespace(state=self.rows[0])


class World:
    """A rest, its clock and a runtime at rest whose next timer is due at 200."""

    def __init__(self) -> None:
        self.rest = Rest()
        self.clock = SkippingClock(100, self.rest.changed)
        self.runtime = FakeRuntime(rows=[RunState.RUN_STATE_RUNNING])
        self.rest.attach(cast("Runtime", self.runtime), self.clock)
        self.due: int | None = 200
        self.clock.alarm(lambda: self.due, self._ring).look()

    def _ring(self) -> None:
        self.due = None

    async def method(self, method: str, behaviour: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """A call of a method, as it runs inside the server."""

        async def unary(_request: object, _context: object) -> None:
            await behaviour()

        async def continuation(_details: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(unary)

        details: Any = SimpleNamespace(method=f"/holdfast.v1.{method}")
        handler = await self.rest.calls.intercept_service(continuation, details)
        return asyncio.ensure_future(handler.unary_unary(None, None))


async def turns() -> None:
    """Lets everything happen that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_call_that_is_being_answered_is_no_rest_and_its_end_is_told() -> None:
    world, go_on = World(), asyncio.Event()
    call = await world.method("RunService/SignalRuns", go_on.wait)  # type: ignore[arg-type]
    await turns()
    assert not world.rest.reached()
    assert world.rest.reasons() == ["1 × SignalRuns is under way"]

    told = asyncio.ensure_future(world.rest.change())
    await turns()
    assert not told.done()
    go_on.set()
    await call
    await told
    assert world.rest.reached()
    assert world.rest.reasons() == []


@pytest.mark.asyncio
async def test_a_call_that_fails_is_over_too() -> None:
    world = World()

    async def fail() -> None:
        raise ValueError("no")

    call = await world.method("RunService/SignalRuns", fail)
    with pytest.raises(ValueError, match="no"):
        await call
    assert world.rest.reached()


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["WorkerService/PollTasks", "RunService/WaitRun", "WorkerService/Heartbeat"])
async def test_calls_that_only_wait_are_rest(method: str) -> None:
    world = World()
    call = await world.method(method, asyncio.Event().wait)  # type: ignore[arg-type]
    await turns()

    assert world.rest.reached()
    call.cancel()


@pytest.mark.asyncio
async def test_a_call_of_a_client_is_no_rest_from_when_it_is_made() -> None:
    world = World()
    with world.rest.calls.of_client(), world.rest.calls.of_client():
        assert not world.rest.reached()
        assert world.rest.reasons() == ["2 × call of a client is under way"]
    assert world.rest.reached()


@pytest.mark.asyncio
async def test_calls_are_counted_at_both_ends() -> None:
    async with LocalServer(start=START) as server:
        await server.client.register("name: w\nsteps:\n  - {name: a, sleep: {for: 1h}}\n")
        async with Client(server.target) as another:
            handle = await another.start("w")
            await another.handle(handle.run_id).get()
            await handle.terminate()
        calls = server._rest.calls.open

    assert set(calls) == {"call of a client", "RegisterWorkflow", "StartRuns", "GetRun", "TerminateRun"}
    assert calls.total() == 0


@pytest.mark.asyncio
async def test_what_the_server_does_itself_is_no_rest() -> None:
    world = World()
    world.runtime.busy = True
    assert not world.rest.reached()
    world.runtime.busy = False
    assert world.rest.reached()

    world.clock.move(200)
    assert not world.rest.reached()
    await turns()
    assert world.rest.reached()


@pytest.mark.asyncio
async def test_attempts_are_no_rest_unless_they_do_not_count() -> None:
    world = World()
    waits, runs = SimpleNamespace(lease=None), SimpleNamespace(lease=object())
    for tasks, counts in (
        ([waits], {(True, False): False, (False, True): True, (True, True): True}),
        ([runs], {(True, False): True, (False, True): False, (True, True): True}),
        ([waits, runs], {(True, False): False, (False, True): False, (True, True): True}),
    ):
        world.runtime.tasks = tasks
        assert not world.rest.reached()
        for (running, queued), rest in counts.items():
            assert world.rest.reached(despite_running=running, despite_queued=queued) is rest


@pytest.mark.asyncio
async def test_attempts_of_runs_that_are_not_in_memory_are_no_rest_either() -> None:
    world = World()
    world.runtime.outside = 200
    assert not world.rest.reached()
    assert world.rest.reasons() == ["200 attempts of runs that are not in memory wait for workers"]
    assert world.rest.reached(despite_queued=True)
    assert world.rest.reasons(despite_queued=True) == []


async def _auto(world: World) -> tuple[AutoSkip, "asyncio.Task[None]"]:
    auto = AutoSkip(world.rest, world.clock, on=True, still_s=10.0)
    return auto, asyncio.ensure_future(auto.run(cast("Runtime", world.runtime)))


@pytest.mark.asyncio
async def test_the_clock_moves_once_somebody_waits() -> None:
    world = World()
    auto, task = await _auto(world)
    await turns()
    assert world.clock.now_us() == 100
    with auto.awaited("default", "r"):
        await turns()
        assert world.clock.now_us() == 200
    task.cancel()


@pytest.mark.asyncio
async def test_a_call_that_comes_while_the_store_is_asked_holds_the_clock() -> None:
    world, go_on = World(), asyncio.Event()
    calls = []

    async def come() -> None:
        world.runtime.on_row = None
        calls.append(await world.method("RunService/SignalRuns", go_on.wait))  # type: ignore[arg-type]
        await asyncio.sleep(0)

    world.runtime.on_row = come
    auto, task = await _auto(world)
    with auto.awaited("default", "r"):
        await turns()
        assert world.clock.now_us() == 100
        go_on.set()
        await calls[0]
        await turns()
        assert world.clock.now_us() == 200
    task.cancel()


@pytest.mark.asyncio
async def test_what_begins_and_ends_while_the_store_is_asked_makes_it_ask_again() -> None:
    world = World()

    async def second() -> None:
        world.runtime.rows = [RunState.RUN_STATE_SUCCEEDED]

    async def first() -> None:
        world.runtime.on_row = second
        world.rest.changed()

    world.runtime.on_row = first
    auto, task = await _auto(world)
    with auto.awaited("default", "r"):
        await turns()
        assert world.clock.now_us() == 100
    task.cancel()


@pytest.mark.asyncio
async def test_a_closed_run_lets_no_more_time_pass() -> None:
    world = World()
    world.runtime.rows = [RunState.RUN_STATE_FAILED]
    auto, task = await _auto(world)
    with auto.awaited("default", "r"):
        await turns()
        assert world.clock.now_us() == 100
    task.cancel()


@pytest.mark.asyncio
async def test_a_fault_is_not_swallowed() -> None:
    world = World()

    async def fail() -> None:
        raise OSError("the store is gone")

    world.runtime.on_row = fail
    auto, task = await _auto(world)
    with auto.awaited("default", "r"), pytest.raises(OSError, match="the store is gone"):
        await task
