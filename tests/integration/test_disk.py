"""A disk that fails: what is accepted stays, what is not is said, and the server goes on when writing works again."""

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import Client
from holdfast.errors import RunNotFoundError, UnavailableError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest, HealthState
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import GetHistoryRequest, StartRunRequest, WaitRunRequest
from holdfast.v1.task_pb2 import TaskResult
from holdfast.v1.worker_service_pb2 import HeldState
from tests.integration.faulty import hasty, running
from tests.integration.following import bodies, until
from tests.integration.raw import RawWorker, Stubs, json_payload, open_channel, refused

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${steps.hold.output}"
"""
SLEEP = "{name: sleep, steps: [{name: s, sleep: {for: 300ms}}], output: woke}"
WORK = """
name: work
steps:
  - {name: one, task: {handler: work}}
  - {name: two, after: [{step: one}], task: {handler: work}}
output: "${steps.two.output}"
"""


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again; the limit of the test ends what never holds."""
    while not await holds():
        pass


@contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """The server cannot write beyond the first page of any file."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.asyncio
async def test_a_full_disk_refuses_changes_and_nothing_else(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db") as server, Client(server.target, timeout_s=0.5) as client:
        for definition in (HOLD, SLEEP, WORK):
            await client.register(definition)
        channel = open_channel(server.target)
        stubs = Stubs(channel)
        health = health_pb2_grpc.HealthStub(channel)
        worker = RawWorker(stubs, "work")
        held, asleep, working = [await client.start(name) for name in ("hold", "sleep", "work")]
        task = await worker.task()
        await until(working, "step_started")  # else it is in the commit that fails, and nobody knows who has the task

        async def serving() -> bool:
            request = health_pb2.HealthCheckRequest(service="holdfast.v1.RunService")
            answer = await health.Check(request)  # type: ignore[attr-defined]
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        async def state() -> HealthState.ValueType:
            return (await stubs.operations.GetServerInfo(GetServerInfoRequest())).health

        with full_disk(server):
            request_id = uuid4().hex
            with pytest.raises(UnavailableError) as caught:
                await client.start("hold", request_id=request_id)
            assert caught.value.reason == "STORE_UNAVAILABLE"
            assert await state() == HealthState.HEALTH_STATE_READ_ONLY
            assert not await serving()
            with pytest.raises(UnavailableError):
                await held.signal("go", 1)
            with pytest.raises(UnavailableError):
                await client.register(HOLD.replace("hold", "held"))
            with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
                await worker.settle(TaskResult(token=task.token, output=json_payload(1)))
            assert (await worker.beat(task)).states == [HeldState.HELD_STATE_HELD]
            assert (await held.get()).summary.state == RunState.RUN_STATE_RUNNING
            assert await held.query_expression("run.id") == held.run_id
            assert len([run async for run in client.runs.list()]) == 3
            assert await bodies(working) == ["run_started", "step_queued", "step_started"]

        async with Client(server.target) as patient:
            again = await patient.start("hold", request_id=request_id)
            await patient.handle(again.run_id).signal("go", "a")
            assert await patient.handle(again.run_id).result() == "a"
            assert await patient.handle(asleep.run_id).result() == "woke"
            await patient.handle(held.run_id).signal("go", "b")
            assert await patient.handle(held.run_id).result() == "b"
        assert await state() == HealthState.HEALTH_STATE_OK
        await eventually(serving)
        await worker.succeed(task, 1)
        await worker.succeed(await worker.task(), 2)
        assert await working.result() == 2
        await channel.close()
        assert "Traceback" not in server.log_tail()


@pytest.mark.asyncio
async def test_what_fails_to_be_written_did_not_happen(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await client.start("hold")
        store.broken = True
        run_id = f"run-{uuid4().hex}"
        async with hasty(client) as impatient:
            with pytest.raises(UnavailableError):
                await impatient.start("hold", run_id=run_id)
            with pytest.raises(UnavailableError):
                await impatient.handle(handle.run_id).signal("go", "lost")
        with pytest.raises(RunNotFoundError):
            await client.handle(run_id).get()
        assert await bodies(handle) == ["run_started", "wait_opened"]
        store.broken = False
        await recovered(client)
        assert (await client.start("hold", run_id=run_id)).started
        await handle.signal("go", "kept")
        assert await handle.result() == "kept"


async def recovered(client: Client) -> None:
    """The server takes changes again."""

    async def well() -> bool:
        return (await client.operations.server_info()).health == HealthState.HEALTH_STATE_OK

    await eventually(well)


@pytest.mark.asyncio
async def test_what_was_written_without_an_answer_happens_once(tmp_path: Path) -> None:
    """The client repeats what was not answered, and the server finds it done."""
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await client.start("hold")
        store.forgetful = True
        assert (await client.start("hold", request_id="start")).started is False
        first = await handle.signal("other", 1, request_id="signal")
        store.forgetful = False
        await recovered(client)
        again = await client.start("hold", request_id="start")
        assert again.started is False
        seq = await handle.signal("other", 1, request_id="signal")
        assert seq == first
        assert (await bodies(handle)).count("signal_received") == 1
        assert (await handle.get()).summary.last_seq == seq
        assert len([run async for run in client.runs.list()]) == 2


@pytest.mark.asyncio
async def test_watchers_and_waiters_live_through_a_failure(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await client.start("hold")
        result = asyncio.create_task(handle.result())

        async def watch() -> list[int]:
            return [event.seq async for event in handle.watch()]

        watching = asyncio.create_task(watch())
        store.forgetful = True
        await handle.signal("go", "end")  # the end of the run is on disk, and nobody was told
        store.forgetful = False
        assert await result == "end"
        assert await watching == list(range(1, (await handle.get()).summary.last_seq + 1))


@pytest.mark.asyncio
async def test_waiting_for_a_run_that_was_never_accepted_ends(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        channel = open_channel(client.connection.target)
        stubs = Stubs(channel)
        store.gate.clear()
        run_id = f"run-{uuid4().hex}"
        starting = asyncio.ensure_future(stubs.runs.StartRun(StartRunRequest(workflow="hold", run_id=run_id)))

        await store.tried(2)
        waits = [
            asyncio.ensure_future(stubs.runs.WaitRun(WaitRunRequest(run_id=run_id))),
            asyncio.ensure_future(client.handle(run_id).outcome()),
            asyncio.ensure_future(_listed(client, run_id)),
        ]
        # Calls on one connection arrive in order.
        await stubs.operations.GetServerInfo(GetServerInfoRequest())
        await client.operations.server_info()
        store.broken = True
        store.gate.set()
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await starting
        store.broken = False
        with refused("RUN_NOT_FOUND", "NOT_FOUND"):
            await waits[0]
        for waiting in waits[1:]:
            with pytest.raises(RunNotFoundError):
                await waiting
        await channel.close()


@pytest.mark.asyncio
async def test_a_start_that_failed_is_in_nobodys_way(tmp_path: Path) -> None:
    """Also before the disk has said whether it is there."""
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        channel = open_channel(client.connection.target)
        stubs = Stubs(channel)
        request = StartRunRequest(workflow="hold", run_id=f"run-{uuid4().hex}", key="order", request_id=uuid4().hex)
        store.broken = True
        store.reads.clear()
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await stubs.runs.StartRun(request)
        store.broken = False
        await recovered(client)
        history = asyncio.ensure_future(stubs.runs.GetHistory(GetHistoryRequest(run_id=request.run_id)))
        again = asyncio.ensure_future(stubs.runs.StartRun(request))
        await stubs.operations.GetServerInfo(GetServerInfoRequest())  # calls on one connection arrive in order
        store.reads.set()
        with refused("RUN_NOT_FOUND", "NOT_FOUND"):
            await history
        assert (await again).started
        assert await bodies(client.handle(request.run_id)) == ["run_started", "wait_opened"]
        await channel.close()


@pytest.mark.asyncio
async def test_a_server_that_cannot_read_says_so(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        await client.start("hold")
        store.unreadable = True
        info = await client.operations.server_info()
        assert info.health_message == "the database cannot be read: the disk refuses to read"
        assert info.open_runs == 1
        store.unreadable = False
        assert not (await client.operations.server_info()).health_message


async def _listed(client: Client, run_id: str) -> list[int]:
    return [event.seq async for event in client.handle(run_id).watch()]
