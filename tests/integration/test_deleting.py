"""Deleting runs: closed ones go with all they have, their ids stay taken, and nobody can bring them back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from holdfast import Client, run_filter
from holdfast.client import RunHandle
from holdfast.errors import IllegalStateError, RunExistsError, RunNotFoundError, UnavailableError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import DeleteRunRequest, StartRunRequest, WatchRunsRequest
from holdfast_server.engine.payloads import payload_hash
from holdfast_server.store.sqlite.driver import find_driver
from holdfast_server.store.sqlite.inspection import inspecting
from tests.integration.faulty import FaultyStore, running
from tests.integration.raw import Stubs, json_payload, refused

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${input}"
"""
LARGE = "x" * 20_000
Asks: dict[str, Callable[[RunHandle], Awaitable[object]]] = {
    "get": lambda handle: handle.get(),
    "history": lambda handle: anext(handle.history()),
    "watch": lambda handle: anext(handle.watch()),
    "wait": lambda handle: handle.outcome(),
    "signal": lambda handle: handle.signal("go"),
    "query": lambda handle: handle.query_expression("input"),
    "retry": lambda handle: handle.retry(),
    "terminate": lambda handle: handle.terminate(),
}


async def closed(client: Client, *, input: object = None, **options: Any) -> RunHandle:
    """A run that was terminated."""
    handle = await client.start("hold", input, **options)
    await handle.terminate()
    return handle


async def cancelled(client: Client) -> RunHandle:
    """A run that was cancelled, so that it may be retried."""
    handle = await client.start("hold")
    await handle.cancel()
    await handle.outcome()
    return handle


class Looks:
    """Counts how often a store was asked for one run."""

    def __init__(self, store: FaultyStore) -> None:
        self._run = store.run
        self._count = 0
        self._changed = asyncio.Condition()
        store.run = self.run  # type: ignore[attr-defined]

    async def run(self, namespace: str, run_id: str) -> object:
        row = await self._run(namespace, run_id)
        async with self._changed:
            self._count += 1
            self._changed.notify_all()
        return row

    async def until(self, count: int) -> None:
        """Waits until it was asked so often."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._count >= count)


@pytest.mark.asyncio
async def test_a_deleted_run_is_gone_for_every_question(client: Client) -> None:
    await client.register(HOLD)
    handle = await closed(client)
    when = await handle.delete()

    for ask in Asks.values():
        with pytest.raises(RunNotFoundError, match=f"run '{handle.run_id}' .* was deleted at") as told:
            await ask(handle)
        assert told.value.metadata["delete_time"] == when.isoformat().replace("+00:00", "Z")
    assert handle.run_id not in [run.run_id async for run in client.runs.list()]


@pytest.mark.asyncio
async def test_open_runs_are_not_deleted(client: Client) -> None:
    await client.register(HOLD)
    handle = await client.start("hold")
    with pytest.raises(IllegalStateError, match="is RUNNING; only closed runs") as told:
        await handle.delete()
    assert (told.value.reason, told.value.metadata["state"]) == ("ILLEGAL_STATE", "RUNNING")
    await handle.pause()
    with pytest.raises(IllegalStateError, match="is PAUSED"):
        await handle.delete()

    assert (await handle.get()).summary.state == RunState.RUN_STATE_PAUSED
    await handle.terminate()
    await handle.delete()


@pytest.mark.asyncio
async def test_a_repeated_deletion_gets_the_first_answer_and_another_one_does_not(client: Client, stubs: Stubs) -> None:
    await client.register(HOLD)
    handle = await closed(client)
    request = DeleteRunRequest(run_id=handle.run_id, request_id=uuid4().hex)
    first, second = await asyncio.gather(stubs.runs.DeleteRun(request), stubs.runs.DeleteRun(request))
    assert first == second == await stubs.runs.DeleteRun(request)
    for other in ("", uuid4().hex):
        with refused("RUN_NOT_FOUND", "NOT_FOUND") as told:
            await stubs.runs.DeleteRun(DeleteRunRequest(run_id=handle.run_id, request_id=other))
        assert "delete_time" in told.metadata
    with refused("RUN_NOT_FOUND", "NOT_FOUND") as told:
        await stubs.runs.DeleteRun(DeleteRunRequest(run_id="never-there", request_id=request.request_id))
    assert "delete_time" not in told.metadata


@pytest.mark.asyncio
async def test_the_id_stays_taken_and_the_request_and_the_key_are_free(
    client: Client, server: ServerProcess, stubs: Stubs
) -> None:
    await client.register(HOLD)
    run_id, key = f"mine-{uuid4().hex}", uuid4().hex
    request = StartRunRequest(workflow="hold", request_id=uuid4().hex)
    by_request = client.handle((await stubs.runs.StartRun(request)).run_id)
    await by_request.terminate()
    await by_request.delete()
    handle = await closed(client, run_id=run_id, key=key)
    await handle.delete()
    for _ in range(2):
        with pytest.raises(RunExistsError, match="never reused"):
            await client.start("hold", run_id=run_id)
        server.kill()
        await asyncio.to_thread(server.start)

    assert (await stubs.runs.StartRun(request)).started
    other = await client.start("hold", key=key)
    assert other.started
    assert other.run_id != run_id


@pytest.mark.asyncio
async def test_watchers_of_runs_are_told(client: Client, stubs: Stubs) -> None:
    workflow = f"watched-{uuid4().hex}"
    await client.register(HOLD.replace("name: hold\n", f"name: {workflow}\n", 1))
    handles = [await client.start(workflow) for _ in range(3)]
    for handle in handles[:2]:
        await handle.terminate()
    wanted = run_filter(workflow=workflow)
    async with aclosing(client.runs.watch(wanted)) as changes:  # type: ignore[type-var]
        known: set[str] = set()
        async for change in changes:
            known.update(run.run_id for run in change.runs)
            if change.live:
                cursor = change.cursor
                break
        assert known == {handle.run_id for handle in handles}
        await handles[0].delete()
        async for change in changes:
            if change.deleted_run_ids:
                assert list(change.deleted_run_ids) == [handles[0].run_id]
                break
    call = stubs.runs.WatchRuns(WatchRunsRequest(filter=run_filter(workflow="another")))
    assert (await anext(aiter(call))).live
    await handles[1].delete()
    await handles[2].terminate()
    resumed = stubs.runs.WatchRuns(WatchRunsRequest(filter=wanted, cursor=cursor))
    seen: list[str] = []
    async for change in resumed:
        seen += change.deleted_run_ids
        if any(run.run_id == handles[2].run_id for run in change.runs):
            break
    assert handles[1].run_id in seen
    call.cancel()
    resumed.cancel()


@pytest.mark.asyncio
async def test_payloads_go_with_the_last_run_that_has_them(tmp_path: Path) -> None:
    digest = payload_hash(json_payload(LARGE))
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handles = [await closed(client, input=LARGE) for _ in range(2)]
        await handles[0].delete()
        assert await store.payloads([digest])
        assert (await handles[1].get()).input.data == json_payload(LARGE).data
        await handles[1].delete()
        assert await store.payloads([digest]) == {}

        third = await closed(client, input=LARGE)
        assert await store.payloads([digest])
        assert (await third.get()).input.data == json_payload(LARGE).data


@pytest.mark.asyncio
async def test_a_run_that_is_being_deleted_cannot_be_retried(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await cancelled(client)
        store.delete_gate.clear()
        deleting = asyncio.create_task(handle.delete())
        await store.tried_to_delete(1)
        retrying = asyncio.create_task(handle.retry())
        again = asyncio.create_task(client.start("hold", run_id=handle.run_id))
        assert (await handle.get()).summary.state == RunState.RUN_STATE_CANCELED  # it is there until it is not
        store.delete_gate.set()
        await deleting
        with pytest.raises(RunNotFoundError):
            await retrying
        with pytest.raises(RunExistsError):
            await again


@pytest.mark.asyncio
async def test_a_run_whose_deletion_failed_is_as_it_was(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "holdfast.db") as (store, client),
        Client(client.connection.target, timeout_s=1.0) as short,
    ):
        await client.register(HOLD)
        handle = await cancelled(client)
        store.delete_gate.clear()
        deleting = asyncio.create_task(short.handle(handle.run_id).delete())
        await store.tried_to_delete(1)
        retrying = asyncio.create_task(handle.retry())
        store.broken = True
        store.delete_gate.set()
        with pytest.raises(UnavailableError):
            await deleting
        store.broken = False
        assert (await retrying).state == RunState.RUN_STATE_RUNNING


@pytest.mark.asyncio
async def test_a_deletion_whose_answer_was_lost_is_found_by_its_request(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await closed(client)
        store.forgetful = True
        await handle.delete()  # the client repeats it by itself
        store.forgetful = False

        assert store.deletions == [1]
        with pytest.raises(RunNotFoundError):
            await handle.get()


@pytest.mark.asyncio
async def test_what_is_deleted_at_the_same_time_shares_deletions(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handles = await asyncio.gather(*(closed(client) for _ in range(250)))
        store.delete_gate.clear()
        looks = Looks(store)
        first = asyncio.create_task(handles[0].delete())
        await store.tried_to_delete(1)
        others = [asyncio.create_task(handle.delete()) for handle in handles[1:]]
        await looks.until(250)
        store.delete_gate.set()
        await asyncio.gather(first, *others)

        assert sum(store.deletions) == 250
        assert max(store.deletions) == 100
        assert len(store.deletions) <= 5  # the first, three, and maybe one that came late
        assert (await client.runs.count()).total == 0


@pytest.mark.asyncio
async def test_a_run_is_deleted_only_once_its_end_is_on_disk(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await client.start("hold")
        store.gate.clear()
        ending = asyncio.create_task(handle.terminate())
        await store.tried(3)  # a definition, a start, and the end
        deleting = asyncio.create_task(handle.delete())
        await asyncio.wait([deleting], timeout=0.2)
        assert store.deletions == []
        store.gate.set()
        await asyncio.gather(ending, deleting)

        with pytest.raises(RunNotFoundError):
            await handle.get()
    async with running(tmp_path / "holdfast.db") as (_, client):
        assert (await client.runs.count()).total == 0


@pytest.mark.asyncio
async def test_a_read_that_was_overtaken_by_a_deletion_says_so(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db") as (store, client):
        await client.register(HOLD)
        handle = await closed(client)
        row = await store.run("default", handle.run_id)
        await handle.delete()

        async def stale(_namespace: str, _run_id: str) -> object:
            return row if next(asked, False) else None

        for ask in ("get", "history", "watch"):
            asked = iter([True])
            store.run = stale  # type: ignore[attr-defined]
            with pytest.raises(RunNotFoundError, match="was deleted at"):
                await Asks[ask](handle)


@pytest.mark.asyncio
async def test_runs_that_are_not_in_memory_are_open_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    async with running(path, hot_runs=1) as (store, client):
        await client.register(HOLD)
        handles = [await client.start("hold", LARGE) for _ in range(5)]
        first = handles[0].run_id
        while (await store.run("default", first)).hot:
            await closed(client)
        with pytest.raises(IllegalStateError, match="is RUNNING"):
            await handles[0].delete()
        for handle in handles:
            await handle.signal("go")
            await handle.outcome()
            await handle.delete()
        kept = await closed(client, input=LARGE)
    with inspecting(path, find_driver()) as inspection:
        assert kept.run_id in {row.run_id for row in inspection.runs(0, 1_000)}
        assert (inspection.orphans(), inspection.deleted_and_there()) == ([], [])
        assert [one.used for one in inspection.payloads(0, 10)] == [True]
