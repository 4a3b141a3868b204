"""Commits that contradict what is stored: only the run concerned is affected, and it says so."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from holdfast.errors import IllegalStateError, RequestIdReusedError, RunExistsError, UnavailableError
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import StartRunRequest, StartRunsRequest
from holdfast.v1.task_pb2 import TaskResult
from holdfast_server.store.port import Commit, StoreConflictError
from tests.integration.faulty import FaultyStore, hasty, running
from tests.integration.following import bodies
from tests.integration.raw import RawWorker, Stubs, json_payload, open_channel, refused, refused_item

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${steps.hold.output}"
"""
WORK = "{name: work, steps: [{name: one, task: {handler: work}}], output: '${steps.one.output}'}"


async def key_of(store: FaultyStore, run_id: str) -> int:
    row = await store.run("default", run_id)
    assert row is not None
    return int(row.key)


def refusing(key: int) -> object:
    """Refuses commits with events of one run."""

    def refuse(commit: Commit) -> None:
        if any(row.run_key == key for row in commit.history):
            raise StoreConflictError(f"run {key} is not to your liking")

    return refuse


@pytest.mark.asyncio
async def test_one_run_is_quarantined_and_the_others_go_on(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handles = [await client.start("hold") for _ in range(9)]
        bad = handles[4]
        store.refuse = refusing(await key_of(store, bad.run_id))  # type: ignore[assignment]
        store.gate.clear()
        answers = [asyncio.create_task(handle.signal("other", "x" * 10_000)) for handle in handles]
        await store.tried(11)  # a definition, nine starts, and the first of the signals
        store.gate.set()
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert [isinstance(result, int) for result in results] == [handle is not bad for handle in handles]
        error = results[4]
        assert isinstance(error, IllegalStateError)
        assert (error.reason, error.code) == ("RUN_QUARANTINED", "FAILED_PRECONDITION")
        assert "not to your liking" in error.metadata["detail"]

        run = await bad.get()
        assert run.summary.state == RunState.RUN_STATE_RUNNING
        assert run.summary.waiting_reason == WaitingReason.WAITING_REASON_QUARANTINED
        assert "not to your liking" in run.summary.status_message
        assert await bodies(bad) == ["run_started", "wait_opened"]
        listed = [one.run_id async for one in client.runs.list() if "not to your liking" in one.status_message]
        assert listed == [bad.run_id]
        for operation in (bad.signal("go"), bad.cancel(), bad.pause()):
            with pytest.raises(IllegalStateError):
                await operation
        for handle in handles:
            if handle is not bad:
                await handle.signal("go", 1)
                assert await handle.result() == 1

    async with running(tmp_path / "holdfast.db") as (_, client):
        handle = client.handle(bad.run_id)
        await handle.signal("go", "mended")  # a new server takes it as it is on disk
        assert await handle.result() == "mended"


@pytest.mark.asyncio
async def test_results_of_a_quarantined_run_are_refused_alone(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(WORK)
        handles = [await client.start("work") for _ in range(3)]
        channel = open_channel(client.connection.target)
        worker = RawWorker(Stubs(channel), "work")
        tasks = await worker.poll(3)
        store.refuse = refusing(await key_of(store, handles[1].run_id))  # type: ignore[assignment]
        results = [TaskResult(token=task.token, output=json_payload(1)) for task in tasks]
        answer = await worker.settle(*results)
        assert [tasks[one.index].run_id for one in answer.rejected] == [handles[1].run_id]
        refused_item(answer.rejected[0].error, "RUN_QUARANTINED")
        assert [await handles[0].result(), await handles[2].result()] == [1, 1]
        assert (await handles[1].get()).summary.waiting_reason == WaitingReason.WAITING_REASON_QUARANTINED
        await channel.close()


@pytest.mark.asyncio
async def test_starts_that_were_made_before_are_found_in_the_end(tmp_path: Path) -> None:
    """Even if nothing of the first is found at first, as when it closed in between."""
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        run_id, request_id = f"run-{uuid4().hex}", uuid4().hex
        first = await client.start("hold", run_id=run_id, request_id=request_id)
        await first.signal("go")
        await first.result()
        store.blind = True
        channel = open_channel(client.connection.target)
        stubs = Stubs(channel)
        both = StartRunsRequest(
            starts=[
                StartRunRequest(workflow="hold", run_id=run_id),
                *(StartRunRequest(workflow="hold") for _ in range(20)),
                StartRunRequest(workflow="hold", request_id=request_id),
            ]
        )
        starting = asyncio.ensure_future(stubs.runs.StartRuns(both))
        await store.asked()
        store.blind = False
        results = (await starting).results
        refused_item(results[0].error, "RUN_EXISTS", "run_id")
        refused_item(results[21].error, "REQUEST_ID_REUSED", "request_id")
        for result in results[1:21]:
            handle = client.handle(result.accepted.run_id)
            assert (await handle.get()).summary.state == RunState.RUN_STATE_RUNNING
        with pytest.raises(RunExistsError):
            await client.start("hold", run_id=run_id)
        with pytest.raises(RequestIdReusedError):
            await client.start("hold", request_id=request_id)
        again = await client.start("hold", run_id=run_id, request_id=request_id)
        assert again.started is False
        await channel.close()


@pytest.mark.asyncio
async def test_a_batch_that_is_repeated_gets_its_first_answers(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (_, client):
        await client.register(HOLD)
        channel = open_channel(client.connection.target)
        stubs = Stubs(channel)
        batch = StartRunsRequest(starts=[StartRunRequest(workflow="hold", request_id=uuid4().hex) for _ in range(200)])
        first = (await stubs.runs.StartRuns(batch)).results
        again, other = await asyncio.gather(
            stubs.runs.StartRuns(batch), asyncio.gather(*(client.start("hold") for _ in range(20)))
        )
        assert [one.accepted.run_id for one in again.results] == [one.accepted.run_id for one in first]
        assert not any(one.accepted.started for one in again.results)
        assert all(handle.started for handle in other)
        assert (await client.runs.count()).total == 220
        await channel.close()


@pytest.mark.asyncio
async def test_too_much_that_waits_for_the_disk_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db", uncommitted_transitions=100) as (store, client):
        await client.register(HOLD)
        channel = open_channel(client.connection.target)
        stubs = Stubs(channel)
        store.gate.clear()
        full = StartRunsRequest(starts=[StartRunRequest(workflow="hold")] * 100)
        starting = asyncio.ensure_future(stubs.runs.StartRuns(full))
        await store.tried(2)
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE") as told:
            await stubs.runs.StartRun(StartRunRequest(workflow="hold"))
        assert told.metadata == {"limit": "uncommitted_transitions", "value": "100"}
        async with hasty(client) as impatient:
            with pytest.raises(UnavailableError):
                await impatient.start("hold")
        store.gate.set()
        assert len((await starting).results) == 100
        await client.start("hold")
        await channel.close()


@pytest.mark.asyncio
async def test_a_client_that_meets_a_full_server_comes_again(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db", uncommitted_transitions=100) as (_, client):
        await client.register(HOLD)
        handles = await asyncio.gather(*(client.start("hold") for _ in range(500)))
        assert len({handle.run_id for handle in handles}) == 500
