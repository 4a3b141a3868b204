"""A disk that takes its time: the server says so, changes wait, everything else goes on, and nothing is lost."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.v1 import gate_service_pb2 as gates, operations_service_pb2 as operations, run_service_pb2 as runs
from holdfast.v1.operations_service_pb2 import HealthState
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.worker_service_pb2 import HeldState
from holdfast_server.app import Server
from holdfast_server.config import ServerConfig
from holdfast_server.runtime import health
from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO_AT_SYNCS, Faults
from tests.chaos.power.server_load import Eyes, ServerLoad, serving
from tests.chaos.power.vfs import Asked, TracingVfs
from tests.integration.raw import Stubs, open_channel, refused

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

NAP = "{name: nap, steps: [{name: nap, sleep: {for: 50ms}}]}"


@pytest.fixture(autouse=True)
def soon_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SLOW_COMMIT_S", 0.05)


@contextmanager
def stuck(vfs: TracingVfs, name: str = "holdfast.db-wal") -> Iterator[threading.Event]:
    """Syncs of a file do not end. Answers what is set once there is one."""
    go_on, waiting = threading.Event(), threading.Event()

    def pause(asked: Asked) -> None:
        if asked.what == "sync" and asked.name == name:
            waiting.set()
            go_on.wait()

    vfs.pause = pause
    try:
        yield waiting
    finally:
        vfs.pause = lambda _asked: None
        go_on.set()


async def told(stubs: Stubs, state: HealthState.ValueType) -> operations.GetServerInfoResponse:
    """What the server says of itself once it is in a state."""
    while True:
        info = await stubs.operations.GetServerInfo(operations.GetServerInfoRequest())
        if info.health == state:
            return info


async def is_serving(stubs: Stubs) -> bool:
    answer = await health_pb2_grpc.HealthStub(stubs.channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
async def test_it_is_told(tmp_path: Path, several: bool) -> None:
    with TracingVfs() as vfs:
        driver = driver_over(vfs.name, several_connections=several)
        async with serving(tmp_path / "holdfast.db", driver) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            with stuck(vfs):
                starting = asyncio.create_task(load.start("hold", "slow"))
                info = await told(stubs, HealthState.HEALTH_STATE_SLOW)
                assert info.commit_age.ToMicroseconds() >= 50_000
                assert "a commit has waited for it for 0." in info.health_message
                assert info.open_runs > 0
                assert await is_serving(stubs)
                assert not starting.done()
            await starting
            info = await told(stubs, HealthState.HEALTH_STATE_OK)
            assert (info.health_message, info.HasField("commit_age")) == ("", False)


async def test_reads_leases_and_tasks_go_on(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        async with serving(tmp_path / "holdfast.db", driver_over(vfs.name), lease_s=0.3) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            for number in range(2):
                await load.start("chain", f"work-{number}", number)
            (first, second) = await load.tasks()
            await load.settle(second)
            await load.look(first.run_id)
            with stuck(vfs) as waiting:
                signal = runs.SignalRunRequest(run_id="left-0", signal=Signal(name="go"))
                changing = asyncio.ensure_future(stubs.runs.SignalRun(signal))
                await asyncio.to_thread(waiting.wait)

                assert await _state(stubs, "hold-0") == RunState.RUN_STATE_SUCCEEDED
                assert len(await load.look(first.run_id)) == 3
                query = runs.QueryRunRequest(run_id=first.run_id, expression="run.id")
                assert (await stubs.runs.QueryRun(query)).result.data == f'"{first.run_id}"'.encode()
                closed = runs.RunFilter(states=[RunState.RUN_STATE_SUCCEEDED])
                assert len((await stubs.runs.ListRuns(runs.ListRunsRequest(filter=closed))).runs) == 3
                assert not (await stubs.gates.ListGates(gates.ListGatesRequest())).gates
                # The task it makes ready is on disk, and so it is handed out; that this is noted can wait.
                (third,) = await load.worker.poll_once(5.0)
                assert (third.run_id, third.step_path) == (second.run_id, "b")
                # Longer than a lease lasts.
                for _ in range(10):
                    answer = await load.worker.beat(first, third)
                    assert set(answer.states) == {HeldState.HELD_STATE_HELD}
                    await asyncio.sleep(0.05)
                assert not changing.done()
            await changing
            await load.settle(first)
            await load.settle(third)
            await load.work("work-0", "work-1")


async def _state(stubs: Stubs, run_id: str) -> RunState.ValueType:
    return (await stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run.summary.state


async def test_what_waits_is_limited(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        settings = {"uncommitted_transitions": 100}
        async with serving(tmp_path / "holdfast.db", driver_over(vfs.name), **settings) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            with stuck(vfs) as waiting:
                starting = asyncio.create_task(load.start_all("hold", [f"full-{number}" for number in range(100)]))
                await asyncio.to_thread(waiting.wait)
                with refused("STORE_UNAVAILABLE", "UNAVAILABLE") as why:
                    await stubs.runs.StartRun(runs.StartRunRequest(workflow="hold"))
                assert why.metadata == {"limit": "uncommitted_transitions", "value": "100"}
            await starting
            await load.start("hold", "room")


async def test_what_falls_due_meanwhile_happens_afterwards(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        async with serving(tmp_path / "holdfast.db", driver_over(vfs.name)) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            await load.register(NAP)
            await load.start("nap", "nap")
            with stuck(vfs) as waiting:
                await asyncio.to_thread(waiting.wait)  # the end of the nap
                await told(stubs, HealthState.HEALTH_STATE_SLOW)
            await load.work("nap")


async def test_a_slow_commit_that_fails_was_not_made(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        async with serving(tmp_path / "holdfast.db", driver_over(vfs.name)) as (server, stubs):
            server.runtime.health._retry_s = 0.02
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            faults = Faults(vfs)
            faults.arm(EIO_AT_SYNCS, 1, lasting=True)
            with stuck(vfs):
                request = runs.StartRunRequest(workflow="hold", run_id="lost")
                starting = asyncio.ensure_future(stubs.runs.StartRun(request))
                await told(stubs, HealthState.HEALTH_STATE_SLOW)
            with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
                await starting
            info = await told(stubs, HealthState.HEALTH_STATE_READ_ONLY)
            assert not info.HasField("commit_age")
            with refused("RUN_NOT_FOUND", "NOT_FOUND"):
                await stubs.runs.GetRun(runs.GetRunRequest(run_id="lost"))
            faults.heal()
            await told(stubs, HealthState.HEALTH_STATE_OK)


@pytest.mark.usefixtures("frequent_checkpoints")
async def test_commits_do_not_wait_for_a_checkpoint(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        async with serving(tmp_path / "holdfast.db", driver_over(vfs.name)) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            with stuck(vfs, "holdfast.db") as waiting:
                for number in range(3):
                    await load.go_round(str(number))
                assert waiting.is_set()
            await load.finish()


async def test_a_stop_waits_for_the_commit(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    with TracingVfs() as vfs:
        config = ServerConfig(listen="127.0.0.1:0", database=str(database), drain_s=0.1)
        server = Server(config, SqliteStore(str(database), driver=driver_over(vfs.name)))
        await server.start()
        channel = open_channel(f"127.0.0.1:{server.port}")
        stubs = Stubs(channel)
        await ServerLoad(stubs, Eyes(), vfs.mark).go_short_round("0")
        with stuck(vfs) as waiting:
            request = runs.StartRunRequest(workflow="hold", run_id="last")
            starting = asyncio.ensure_future(stubs.runs.StartRun(request))
            await asyncio.to_thread(waiting.wait)
            stopping = asyncio.create_task(server.stop())
            with pytest.raises(aio.AioRpcError):
                await starting  # the drain is over, and nobody knows yet whether it is on disk
            assert not stopping.done()
        await stopping
        await channel.close()
    async with serving(database) as (_server, stubs):
        assert await _state(stubs, "last") == RunState.RUN_STATE_RUNNING
