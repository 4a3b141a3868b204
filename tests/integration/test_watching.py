"""Calls that last: waits for runs and streams, over restarts, without a gap and without a repetition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration

from holdfast import Client
from holdfast.client import run_filter
from holdfast.testing.processes import ServerProcess
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import (
    RunFilter,
    WaitRunRequest,
    WaitRunsRequest,
    WatchRunRequest,
    WatchRunsRequest,
)
from tests.integration.raw import Stubs, refused, value_of

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${steps.hold.output}"
"""


# -- waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_wait_run_parks_until_the_end(client: Client, stubs: Stubs) -> None:
    await client.register(HOLD)
    handle = await client.start("hold")
    short = Duration(nanos=50_000_000)
    parked = await stubs.runs.WaitRun(WaitRunRequest(run_id=handle.run_id, park_timeout=short))
    assert (parked.closed, parked.HasField("outcome")) == (False, False)
    none = await stubs.runs.WaitRun(WaitRunRequest(run_id=handle.run_id, park_timeout=Duration()))
    assert not none.closed
    waiting = [asyncio.ensure_future(stubs.runs.WaitRun(WaitRunRequest(run_id=handle.run_id))) for _ in range(5)]
    left = stubs.runs.WaitRun(WaitRunRequest(run_id=handle.run_id))
    await asyncio.sleep(0)
    left.cancel()
    await handle.signal("go", "x" * 10_000)
    for answer in await asyncio.gather(*waiting):
        assert (answer.closed, answer.outcome.state) == (True, RunState.RUN_STATE_SUCCEEDED)
        assert value_of(answer.outcome.output) == "x" * 10_000
    again = await stubs.runs.WaitRun(WaitRunRequest(run_id=handle.run_id))
    assert again.outcome.run_id == handle.run_id
    with refused("RUN_NOT_FOUND", "NOT_FOUND"):
        await stubs.runs.WaitRun(WaitRunRequest(run_id="nowhere"))


@pytest.mark.asyncio
async def test_wait_runs_answers_each_and_ends_when_all_are_answered(client: Client, stubs: Stubs) -> None:
    await client.register(HOLD)
    handles = [await client.start("hold", signals=[("go", number)] if number < 3 else ()) for number in range(5)]
    for handle in handles[:3]:
        await handle.outcome()
    stream = stubs.runs.WaitRuns()
    await stream.write(WaitRunsRequest(run_ids=[handle.run_id for handle in handles]))
    await stream.write(WaitRunsRequest(run_ids=["nowhere", "no/name", handles[4].run_id]))
    await stream.done_writing()
    outcomes: dict[str, Any] = {}
    errors: dict[str, str] = {}
    async for answer in stream:
        for outcome in answer.outcomes:
            assert outcome.run_id not in outcomes
            outcomes[outcome.run_id] = value_of(outcome.output)
        for error in answer.errors:
            errors[error.metadata["run_id"]] = error.message
        for handle in handles[len(outcomes) :]:
            if len(outcomes) == 3 and len(errors) == 2:
                await handle.signal("go", "late")
    assert outcomes == {handle.run_id: ("late" if i > 2 else i) for i, handle in enumerate(handles)}
    assert set(errors) == {"nowhere", "no/name"}


@pytest.mark.asyncio
async def test_wait_runs_refuses_what_is_not_right(stubs: Stubs) -> None:
    for request, reason in (
        (WaitRunsRequest(), "INVALID_REQUEST"),
        (WaitRunsRequest(run_ids=["x"] * 1_001), "LIMIT_EXCEEDED"),
        (WaitRunsRequest(namespace="elsewhere", run_ids=["x"]), "NAMESPACE_NOT_FOUND"),
    ):
        stream = stubs.runs.WaitRuns()
        await stream.write(request)
        with refused(reason):
            async for _ in stream:
                pytest.fail("it answered")


@pytest.mark.asyncio
async def test_results_are_waited_for_over_kills(client: Client, server: ServerProcess) -> None:
    await client.register(HOLD)
    handles = [await client.start("hold") for _ in range(20)]
    results = [asyncio.create_task(handle.result()) for handle in handles]
    for number, handle in enumerate(handles):
        await handle.signal("go", number)
        if number % 10 == 5:
            server.kill()
            await asyncio.to_thread(server.start)
    assert await asyncio.gather(*results) == list(range(20))


# -- the events of one run ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_watcher_sees_every_event_once_over_kills(client: Client, server: ServerProcess) -> None:
    await client.register(HOLD)
    handle = await client.start("hold")
    seen: list[int] = []

    async def watch() -> None:
        seen.extend([event.seq async for event in handle.watch()])

    watching = [asyncio.create_task(watch()) for _ in range(3)]
    for number in range(40):
        await handle.signal("other", number)
        if number % 15 == 10:
            server.kill()
            await asyncio.to_thread(server.start)
    await handle.signal("go")
    await asyncio.gather(*watching)
    last = (await handle.get()).summary.last_seq
    assert sorted(seen) == sorted(list(range(1, last + 1)) * 3)


@pytest.mark.asyncio
async def test_a_watch_resumes_behind_any_event(client: Client, stubs: Stubs) -> None:
    await client.register(HOLD)
    handle = await client.start("hold", signals=[("other", number) for number in range(10)])

    async def seqs(after_seq: int) -> list[int]:
        found: list[int] = []
        async for answer in stubs.runs.WatchRun(WatchRunRequest(run_id=handle.run_id, after_seq=after_seq)):
            found += [event.seq for event in answer.events]
        return found

    open_watches = [asyncio.create_task(seqs(after)) for after in (0, 5, 12, 13, 14)]
    await handle.signal("go")
    await handle.outcome()
    last = (await handle.get()).summary.last_seq
    expected = [list(range(after + 1, last + 1)) for after in (0, 5, 12, 13, 14)]
    assert await asyncio.gather(*open_watches) == expected
    assert [await seqs(after) for after in (0, 5, 12, 13, 14)] == expected
    assert await seqs(last) == []
    for after, reason in ((-1, "INVALID_REQUEST"),):
        with refused(reason, "INVALID_ARGUMENT", "after_seq"):
            await seqs(after)
    with refused("RUN_NOT_FOUND", "NOT_FOUND"):
        async for _ in stubs.runs.WatchRun(WatchRunRequest(run_id="nowhere")):
            pytest.fail("it answered")


@pytest.mark.asyncio
async def test_a_slow_watcher_misses_nothing(client: Client, stubs: Stubs) -> None:
    await client.register(HOLD)
    handle = await client.start("hold")
    answers = aiter(stubs.runs.WatchRun(WatchRunRequest(run_id=handle.run_id)))
    first = await anext(answers)
    seqs = [event.seq for event in first.events]
    payload = "x" * 4_000
    await asyncio.gather(*(handle.signal("other", payload) for _ in range(990)))
    await handle.signal("go")
    await handle.outcome()
    async for answer in answers:
        seqs += [event.seq for event in answer.events]
    assert seqs == list(range(1, (await handle.get()).summary.last_seq + 1))


# -- many runs ---------------------------------------------------------------------------------------------------------


async def until(changes: AsyncIterator[Any], known: dict[str, Any], run_id: str, state: int) -> str:
    """Follows changes into `known` until a run has a state; answers the cursor."""
    async for change in changes:
        if change.reset:
            known.clear()
        known.update({run.run_id: run for run in change.runs})
        if run_id in known and known[run_id].state == state and change.cursor:
            return str(change.cursor)
    raise AssertionError("the stream ended")


@pytest.mark.asyncio
async def test_watch_runs_gives_a_snapshot_and_then_changes(client: Client, stubs: Stubs) -> None:
    workflow = f"watched-{uuid4().hex}"
    await client.register(HOLD.replace("name: hold\n", f"name: {workflow}\n", 1))
    closed = [await client.start(workflow, signals=[("go", 1)]) for _ in range(5)]
    for handle in closed:
        await handle.outcome()
    handles = [await client.start(workflow) for _ in range(5)]
    wanted = RunFilter(workflow=workflow)
    snapshot: list[str] = []
    live = False
    call = stubs.runs.WatchRuns(WatchRunsRequest(filter=wanted, closed_limit=2))
    changes = aiter(call)
    first = True
    while not live:
        answer = await anext(changes)
        assert answer.reset is first
        first = False
        snapshot += [run.run_id for run in answer.runs]
        live = answer.live
    assert sorted(snapshot) == sorted(handle.run_id for handle in (*handles, *closed[-2:]))
    known: dict[str, Any] = {}
    await handles[0].pause()
    cursor = await until(changes, known, handles[0].run_id, RunState.RUN_STATE_PAUSED)
    assert set(known) == {handles[0].run_id}
    await handles[1].terminate()
    resumed = stubs.runs.WatchRuns(WatchRunsRequest(filter=wanted, cursor=cursor))
    further = aiter(resumed)
    assert not (await anext(further)).reset
    known.clear()
    await until(further, known, handles[1].run_id, RunState.RUN_STATE_TERMINATED)
    assert set(known) == {handles[1].run_id}
    call.cancel()
    resumed.cancel()


@pytest.mark.asyncio
async def test_a_run_that_stops_matching_is_sent_once_more(client: Client) -> None:
    workflow = f"watched-{uuid4().hex}"
    await client.register(HOLD.replace("name: hold\n", f"name: {workflow}\n", 1))
    handle = await client.start(workflow)
    wanted = run_filter(workflow=workflow, states=["RUNNING"])
    known: dict[str, Any] = {}
    async with aclosing(client.runs.watch(wanted)) as changes:  # type: ignore[type-var]
        await until(changes, known, handle.run_id, RunState.RUN_STATE_RUNNING)
        await handle.terminate()
        await until(changes, known, handle.run_id, RunState.RUN_STATE_TERMINATED)
        other = await client.start(workflow)
        await until(changes, known, other.run_id, RunState.RUN_STATE_RUNNING)


@pytest.mark.asyncio
async def test_watch_runs_starts_over_after_a_kill(client: Client, server: ServerProcess) -> None:
    workflow = f"watched-{uuid4().hex}"
    await client.register(HOLD.replace("name: hold\n", f"name: {workflow}\n", 1))
    handles = [await client.start(workflow) for _ in range(3)]
    known: dict[str, Any] = {}
    async with aclosing(client.runs.watch(run_filter(workflow=workflow))) as changes:  # type: ignore[type-var]
        await until(changes, known, handles[0].run_id, RunState.RUN_STATE_RUNNING)
        server.kill()
        await asyncio.to_thread(server.start)
        await handles[0].terminate()
        await until(changes, known, handles[0].run_id, RunState.RUN_STATE_TERMINATED)
        assert {run.run_id for run in known.values()} == {handle.run_id for handle in handles}
