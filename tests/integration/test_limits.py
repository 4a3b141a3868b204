"""Limits of a real server, set low: what is at a limit is taken, what is over it is refused by name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_service_pb2 import DecideGateRequest, GetGateRequest, WatchGatesRequest
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest, ListWorkersRequest
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import (
    GetRunRequest,
    SignalRunRequest,
    SignalRunsRequest,
    StartRunRequest,
    StartRunsRequest,
    WaitRunRequest,
    WaitRunsRequest,
    WatchRunRequest,
    WatchRunsRequest,
)
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.task_pb2 import TaskResult
from holdfast.v1.worker_service_pb2 import HeldTask
from tests.integration.raw import RawWorker, Stubs, cancelled_at_end, json_payload, refused, refused_item

KIB = 1024
SETTINGS = {
    "PAYLOAD_BYTES": 2 * KIB,
    "BATCH_ITEMS": 3,
    "UNCONSUMED_SIGNALS": 2,
    "GATE_BODY_BYTES": 1 * KIB,
    "HISTORY_BYTES": 4 * KIB,
    "HISTORY_WARNING_BYTES": 2 * KIB,
    "OPEN_CALLS": 3,
    "WAITS": 3,
    "WORKERS": 12,
    "PARKED_POLLS": 2,
}
HOLD = """
name: hold
signals: [{name: go}, {name: other}, {name: done}]
steps:
  - {name: ask, gate: {title: Ask, body: "${input.body}", decisions: [APPROVE, EDIT]}, input: {n: 1}}
  - {name: work, task: {handler: work}, retry: {max_attempts: 9, initial_interval: 1ms}}
  - {name: go, wait: {signal: go}}
  - {name: done, after: [{step: ask}, {step: work}, {step: go}], wait: {signal: done}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("limits")
    environment = {f"HOLDFAST_{name}": str(value) for name, value in SETTINGS.items()}
    with ServerProcess(folder / "holdfast.db", environment=environment, log=folder / "server.log") as process:
        yield process
        assert "Traceback" not in process.log.read_text(encoding="utf-8")


@pytest_asyncio.fixture
async def run_id(client: Client, stubs: Stubs) -> str:
    await client.register(HOLD)
    return (await stubs.runs.StartRun(StartRunRequest(workflow="hold"))).run_id


def signal(run_id: str, name: str = "other", value: object = None) -> SignalRunRequest:
    return SignalRunRequest(run_id=run_id, signal=Signal(name=name, payload=json_payload(value)))


async def decide(stubs: Stubs, run_id: str, decision: Decision.ValueType, value: object = None) -> None:
    """Decides on what the gate shows now."""
    gate = (await stubs.gates.GetGate(GetGateRequest(run_id=run_id, step_path="ask"))).gate
    request = DecideGateRequest(
        run_id=run_id,
        step_path="ask",
        revision=gate.revision,
        content_hash=gate.content_hash,
        decision=decision,
        payload=None if value is None else json_payload(value),
    )
    await stubs.gates.DecideGate(request)


def text(size_bytes: int) -> Payload:
    return Payload(data=b'"' + b"x" * (size_bytes - 2) + b'"')


def deep(levels: int) -> Payload:
    return Payload(data=b'{"a":' * levels + b"1" + b"}" * levels)


@pytest.mark.asyncio
async def test_settings_are_the_limits_in_force(stubs: Stubs) -> None:
    info = await stubs.operations.GetServerInfo(GetServerInfoRequest())
    listed = {limit.name: limit.value for limit in info.limits}
    assert {name: listed[name.lower()] for name in SETTINGS} == SETTINGS


@pytest.mark.asyncio
async def test_a_payload_is_as_large_and_as_deep_as_allowed(stubs: Stubs, run_id: str) -> None:
    size = SETTINGS["PAYLOAD_BYTES"]
    await stubs.runs.StartRun(StartRunRequest(workflow="hold", input=text(size)))
    with refused("PAYLOAD_TOO_LARGE", "INVALID_ARGUMENT", "input") as told:
        await stubs.runs.StartRun(StartRunRequest(workflow="hold", input=text(size + 1)))
    assert (told.metadata["limit"], told.metadata["actual"]) == ("payload_bytes", str(size + 1))
    await stubs.runs.StartRun(StartRunRequest(workflow="hold", input=deep(64)))
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "signal.payload") as told:
        await stubs.runs.SignalRun(SignalRunRequest(run_id=run_id, signal=Signal(name="other", payload=deep(65))))
    assert told.metadata == {"limit": "json_depth", "value": "64", "actual": "65", "field": "signal.payload"}


@pytest.mark.asyncio
async def test_outputs_and_heartbeats_are_as_deep_as_allowed(stubs: Stubs, run_id: str) -> None:
    worker = RawWorker(stubs, "work")
    tasks = {task.run_id: task for task in await worker.poll()}
    task = tasks[run_id]
    await worker.beat(HeldTask(token=task.token, details=deep(64)))
    with refused("LIMIT_EXCEEDED", None, "held[0].details"):
        await worker.beat(HeldTask(token=task.token, details=deep(65)))
    answer = await worker.settle(TaskResult(token=task.token, output=deep(65)))
    refused_item(answer.rejected[0].error, "LIMIT_EXCEEDED")
    facts = {"limit": "json_depth", "value": "64", "actual": "65", "field": "results.output", "step_path": "work"}
    assert dict(answer.rejected[0].error.metadata) == facts
    run = (await stubs.runs.GetRun(GetRunRequest(run_id=run_id))).run
    assert (run.failure.type, run.failure.step_path) == ("LimitExceeded", "work")
    await worker.drain()


@pytest.mark.asyncio
async def test_a_batch_is_as_long_as_allowed(stubs: Stubs, run_id: str) -> None:
    most = SETTINGS["BATCH_ITEMS"]
    starts = [StartRunRequest(workflow="hold")] * (most + 1)
    assert len((await stubs.runs.StartRuns(StartRunsRequest(starts=starts[:most]))).results) == most
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "starts") as told:
        await stubs.runs.StartRuns(StartRunsRequest(starts=starts))
    assert (told.metadata["limit"], told.metadata["actual"]) == ("batch_items", str(most + 1))
    worker = RawWorker(stubs, "nothing")
    assert len((await worker.settle(*[TaskResult(token=b"x")] * most)).rejected) == most
    with refused("LIMIT_EXCEEDED", None, "results"):
        await worker.settle(*[TaskResult(token=b"x")] * (most + 1))


@pytest.mark.asyncio
async def test_a_run_holds_as_many_signals_as_allowed_and_gets_those_it_waits_for(stubs: Stubs, run_id: str) -> None:
    for number in range(SETTINGS["UNCONSUMED_SIGNALS"]):
        await stubs.runs.SignalRun(signal(run_id, value=number))
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "signal") as told:
        await stubs.runs.SignalRun(signal(run_id, value="too many"))
    assert (told.metadata["limit"], told.metadata["actual"]) == ("unconsumed_signals", "3")
    await stubs.runs.SignalRun(signal(run_id, "go"))
    run = (await stubs.runs.GetRun(GetRunRequest(run_id=run_id))).run
    assert [one.payload.data for one in run.unconsumed_signals] == [b"0", b"1"]


@pytest.mark.asyncio
async def test_a_gate_shows_a_body_as_large_as_allowed(stubs: Stubs, run_id: str) -> None:
    size = SETTINGS["GATE_BODY_BYTES"]
    for body_bytes, shown in ((size, True), (size + 1, False)):
        request = StartRunRequest(workflow="hold", input=json_payload({"body": "x" * body_bytes}))
        started = (await stubs.runs.StartRun(request)).run_id
        if shown:
            gate = (await stubs.gates.GetGate(GetGateRequest(run_id=started, step_path="ask"))).gate
            assert len(gate.content.body.data) == size
        else:
            run = (await stubs.runs.GetRun(GetRunRequest(run_id=started))).run
            assert run.failure.type == "PayloadTooLarge"
            assert f"has {size + 1} bytes; the limit gate_body_bytes is {size}" in run.failure.message


@pytest.mark.asyncio
async def test_a_run_with_too_long_a_history_comes_to_its_end(server: ServerProcess, stubs: Stubs, run_id: str) -> None:
    for name in ("go", "done"):
        await stubs.runs.SignalRun(signal(run_id, name, "x" * KIB))
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED") as told:
        for number in range(20):
            await decide(stubs, run_id, Decision.DECISION_EDIT, {"n": number, "text": "x" * 500})
    assert told.metadata["limit"] == "history_bytes"
    assert int(told.metadata["actual"]) > int(told.metadata["value"]) == SETTINGS["HISTORY_BYTES"]
    await decide(stubs, run_id, Decision.DECISION_APPROVE)
    worker = RawWorker(stubs, "work")
    mine = [task for task in await worker.poll() if task.run_id == run_id]
    await worker.succeed(mine[0], 1)
    waited = await stubs.runs.WaitRun(WaitRunRequest(run_id=run_id))
    assert waited.outcome.state == RunState.RUN_STATE_SUCCEEDED
    assert "the history of a run is large" in server.log.read_text(encoding="utf-8")
    await worker.drain()


@pytest.mark.asyncio
async def test_as_many_calls_last_as_allowed(stubs: Stubs, run_id: str) -> None:
    streams = (
        stubs.runs.WatchRun(WatchRunRequest(run_id=run_id)),
        stubs.runs.WatchRuns(WatchRunsRequest()),
        stubs.gates.WatchGates(WatchGatesRequest()),
    )
    async with contextlib.AsyncExitStack() as stack:
        for stream in streams:
            await stack.enter_async_context(cancelled_at_end(stream))
            assert await stream.read()
        for call in (
            lambda: stubs.runs.WaitRun(WaitRunRequest(run_id=run_id)),
            lambda: anext(aiter(stubs.runs.WatchRun(WatchRunRequest(run_id=run_id)))),
        ):
            with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED") as told:
                await call()
            assert told.metadata == {"limit": "open_calls", "value": "3", "actual": "4"}
    waited = None
    while waited is None:  # until the server has noticed that they left
        with contextlib.suppress(aio.AioRpcError):
            park = Duration(nanos=1_000_000)
            waited = await stubs.runs.WaitRun(WaitRunRequest(run_id=run_id, park_timeout=park))
    assert not waited.closed


@pytest.mark.asyncio
async def test_as_many_runs_are_waited_for_as_allowed(stubs: Stubs, run_id: str) -> None:
    starts = [StartRunRequest(workflow="hold")] * SETTINGS["WAITS"]
    ids = [
        run_id,
        *(one.accepted.run_id for one in (await stubs.runs.StartRuns(StartRunsRequest(starts=starts))).results),
    ]
    asked = asyncio.Event()

    async def requests() -> AsyncIterator[WaitRunsRequest]:
        for one in ids:
            yield WaitRunsRequest(run_ids=[one])
        await asked.wait()

    stream = stubs.runs.WaitRuns(requests())
    async with cancelled_at_end(stream):
        answer: Any = await stream.read()
        refused_item(answer.errors[0], "LIMIT_EXCEEDED")
        assert dict(answer.errors[0].metadata)["run_id"] == ids[-1]
        await stubs.runs.SignalRuns(SignalRunsRequest(signals=[signal(ids[0], "other")]))
        asked.set()


@pytest.mark.asyncio
async def test_as_many_workers_and_polls_are_there_as_allowed(stubs: Stubs) -> None:
    workers = [RawWorker(stubs, "nothing", name=f"bound-{number}") for number in range(SETTINGS["WORKERS"] + 1)]
    polls = [asyncio.ensure_future(worker.poll_once(30)) for worker in workers[:2]]
    here: set[str] = set()
    while not {"bound-0", "bound-1"} <= here:
        here = {one.worker.id for one in (await stubs.operations.ListWorkers(ListWorkersRequest())).workers}
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED") as told:
        await workers[2].poll_once(0.001)
    assert told.metadata == {"limit": "parked_polls", "value": "2", "actual": "3"}
    for worker in workers[:2]:
        await worker.drain()
    assert await asyncio.gather(*polls) == [[], []]
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "worker.id") as told:
        for worker in workers:
            await worker.beat()
    assert told.metadata == {"limit": "workers", "value": "12", "actual": "13", "field": "worker.id"}
