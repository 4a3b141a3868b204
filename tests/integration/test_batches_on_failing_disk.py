"""A batch whose first item fails to be written while a later one still waits for something: nothing of it is taken."""

import asyncio
from pathlib import Path

import pytest

from holdfast.errors import RunNotFoundError
from holdfast.v1.run_service_pb2 import SignalRunRequest, SignalRunsRequest, StartRunRequest, StartRunsRequest
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.task_pb2 import TaskResult
from holdfast_server.runtime import runtime
from holdfast_server.store.port import Commit, StoreError
from tests.integration.faulty import running
from tests.integration.following import bodies, until
from tests.integration.raw import RawWorker, Stubs, json_payload, open_channel, refused

HOLD = "{name: hold, steps: [{name: hold, wait: {signal: go}}]}"
WORK = """
name: work
steps:
  - {name: one, task: {handler: work}}
  - {name: two, after: [{step: one}], wait: {signal: go}}
"""


@pytest.mark.asyncio
async def test_a_signal_that_was_lost_is_not_accepted(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        run, closed = await client.start("hold"), await client.start("hold")
        await closed.cancel()
        await closed.outcome()
        channel = open_channel(client.connection.target)
        signals = [
            SignalRunRequest(run_id=one.run_id, signal=Signal(name="other"), request_id="1") for one in (run, closed)
        ]
        store.reads.clear()
        store.gate.clear()
        commits = store.commits
        sending = asyncio.ensure_future(Stubs(channel).runs.SignalRuns(SignalRunsRequest(signals=signals)))
        await store.tried(commits + 1)
        store.broken = True
        store.gate.set()
        await store.probed()
        store.broken = False
        store.reads.set()
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await sending
        assert await bodies(run) == ["run_started", "wait_opened"]
        await channel.close()


@pytest.mark.asyncio
async def test_a_result_that_was_lost_is_not_accepted(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(WORK)
        run, closed = await client.start("work"), await client.start("work")
        channel = open_channel(client.connection.target)
        worker = RawWorker(Stubs(channel), "work")
        tasks = {task.run_id: task for task in await worker.poll(2)}
        for one in (run, closed):
            await until(one, "step_started")
        await closed.terminate()
        await closed.outcome()
        results = [TaskResult(token=tasks[one.run_id].token, output=json_payload(1)) for one in (run, closed)]
        store.reads.clear()
        store.gate.clear()
        commits = store.commits
        settling = asyncio.ensure_future(worker.settle(*results))
        await store.tried(commits + 1)
        store.broken = True
        store.gate.set()
        await store.probed()
        store.broken = False
        store.reads.set()
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await settling
        assert await bodies(run) == ["run_started", "step_queued", "step_started"]
        await channel.close()


@pytest.mark.asyncio
async def test_a_start_that_was_lost_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on between the items of a batch, and so does the journal."""
    monkeypatch.setattr(runtime, "EVENTS_AT_ONCE", 0)
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        channel = open_channel(client.connection.target)
        starts = [StartRunRequest(workflow="hold", run_id=f"run-{number}") for number in range(3)]

        def fail_once(_commit: Commit) -> None:
            store.refuse = lambda _commit: None
            raise StoreError("the disk is full")

        store.refuse = fail_once
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await Stubs(channel).runs.StartRuns(StartRunsRequest(starts=starts))
        with pytest.raises(RunNotFoundError):
            await client.handle("run-0").get()
        await channel.close()
