"""A server that goes down: whoever waits is told to come again, what was accepted is there, and nobody has to hurry."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from holdfast.v1.gate_service_pb2 import WatchGatesRequest
from holdfast.v1.run_service_pb2 import WaitRunRequest, WaitRunsRequest, WatchRunRequest, WatchRunsRequest
from tests.integration.raw import RawWorker, Stubs, open_channel, refused

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${steps.hold.output}"
"""
WORK = "{name: work, steps: [{name: one, task: {handler: work}}], output: '${steps.one.output}'}"


async def drained(stream: Any) -> None:
    """A stream ends because the server goes down, after whatever it had to say."""
    with refused("DRAINING", "UNAVAILABLE"):
        async for _ in stream:
            pass


@pytest.mark.asyncio
async def test_calls_that_last_end_when_the_server_goes_down(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db", environment={"HOLDFAST_DRAIN_S": "60"}) as server:
        channel = open_channel(server.target)
        stubs = Stubs(channel)
        async with Client(server.target) as client:
            await client.register(HOLD)
            run_id = (await client.start("hold")).run_id
        waits = stubs.runs.WaitRuns()
        await waits.write(WaitRunsRequest(run_ids=[run_id]))
        streams = [
            waits,
            stubs.runs.WatchRun(WatchRunRequest(run_id=run_id)),
            stubs.runs.WatchRuns(WatchRunsRequest()),
            stubs.gates.WatchGates(WatchGatesRequest()),
        ]
        ends = [asyncio.create_task(drained(stream)) for stream in streams]
        parked = asyncio.create_task(RawWorker(stubs, "work").poll_once(park_s=60))
        waiting = asyncio.ensure_future(stubs.runs.WaitRun(WaitRunRequest(run_id=run_id)))
        await streams_are_open(stubs, run_id)
        # With a minute for calls to end, a stop within the time a test has shows that they end by themselves.
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.gather(*ends)
        assert await parked == []
        assert (await waiting).closed is False
        assert "Traceback" not in server.log_tail()
        await channel.close()


async def streams_are_open(stubs: Stubs, run_id: str) -> None:
    """Calls on one connection arrive in order, so what was begun before this is there when it is answered."""
    call = stubs.runs.WatchRun(WatchRunRequest(run_id=run_id))
    await anext(aiter(call))
    call.cancel()


@pytest.mark.asyncio
async def test_clients_and_workers_go_on_with_the_next_server(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db") as server, Client(server.target) as client:
        await client.register(HOLD)
        await client.register(WORK)
        held, working = await client.start("hold"), await client.start("work")
        channel = open_channel(server.target)
        worker = RawWorker(Stubs(channel), "work")
        task = await worker.task()
        result = asyncio.create_task(held.result())
        seen: list[int] = []

        async def watch() -> None:
            seen.extend([event.seq async for event in held.watch()])

        watching = asyncio.create_task(watch())
        for number in range(3):
            await held.signal("other", number)
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        await worker.succeed(task, "kept")
        assert await working.result() == "kept"
        await held.signal("go", "on")
        assert await result == "on"
        await watching
        assert seen == list(range(1, (await held.get()).summary.last_seq + 1))
        await channel.close()


@pytest.mark.asyncio
async def test_a_stop_under_load_loses_nothing_and_ends_in_order(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db") as server, Client(server.target) as client:
        await client.register("{name: at-once, steps: [{name: only, compute: {}, input: '${input}'}]}")
        accepted: list[str] = []
        stopping = asyncio.Event()

        async def drive() -> None:
            while not stopping.is_set():
                accepted.append((await client.start("at-once", len(accepted))).run_id)

        drivers = [asyncio.create_task(drive()) for _ in range(20)]
        for _ in range(3):
            before = len(accepted)
            while len(accepted) < before + 200:
                await asyncio.wait(drivers, timeout=0.01)
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        stopping.set()
        await asyncio.gather(*drivers)
        assert len(set(accepted)) == len(accepted)
        assert (await client.runs.count()).total == len(accepted)
        assert "Traceback" not in server.log_tail()


@pytest.mark.asyncio
async def test_health_watchers_hear_of_the_end(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db", environment={"HOLDFAST_DRAIN_S": "0.5"}) as server:
        channel = open_channel(server.target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answers = aiter(stub.Watch(health_pb2.HealthCheckRequest(service="holdfast.v1.GateService")))
        assert (await anext(answers)).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert (await anext(answers)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await anext(answers)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert await stopping == 0
        await channel.close()
