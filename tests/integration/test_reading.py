"""Reads: lists and counts, pages that stay in place while runs start, histories, and why a run does not move."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.client import run_filter
from holdfast.testing.processes import ServerProcess
from holdfast.v1.operations_service_pb2 import ListQueuesRequest, ListWorkersRequest
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import GetHistoryRequest, ListRunsRequest, RunFilter
from holdfast.v1.task_pb2 import TaskResult
from holdfast.v1.worker_service_pb2 import HeldTask
from tests.integration.raw import RawWorker, Stubs, json_payload

HOLD = "name: {name}\nsteps: [{{name: hold, wait: {{signal: go}}}}]\n"


async def fresh(client: Client, definition: str = HOLD) -> str:
    """A workflow nobody else uses."""
    name = f"w-{uuid4().hex}"
    await client.register(definition.format(name=name))
    return name


@pytest.mark.asyncio
async def test_lists_take_filters(client: Client, server: ServerProcess) -> None:
    workflow = await fresh(client)
    before = datetime.now(UTC)
    runs = [await client.start(workflow, key=f"key-{number}") for number in range(4)]
    await runs[0].signal("go")
    await runs[1].cancel("not needed")
    await runs[2].pause()
    for handle in runs[:2]:
        await handle.outcome()

    async def listed(**conditions: object) -> list[int]:
        wanted = run_filter(workflow=workflow, **conditions)  # type: ignore[arg-type]
        found = [run.run_id async for run in client.runs.list(wanted)]
        count = await client.runs.count(wanted)
        assert count.total == len(found) == sum(one.count for one in count.states)
        return [next(i for i, one in enumerate(runs) if one.run_id == run_id) for run_id in found]

    for _ in range(2):  # once from memory, once after a restart
        assert await listed() == [3, 2, 1, 0]
        assert await listed(states=["SUCCEEDED"]) == [0]
        assert await listed(states=["CANCELED", "PAUSED"]) == [2, 1]
        assert await listed(states=["FAILED"]) == []
        assert await listed(key="key-3") == [3]
        assert await listed(waiting=["SIGNAL"]) == [3]
        assert await listed(waiting=["PAUSED", "SIGNAL"]) == [3, 2]
        assert await listed(waiting=["GATE"]) == []
        assert await listed(started_from=before) == [3, 2, 1, 0]
        assert await listed(started_before=before) == []
        middle = (await runs[2].get()).summary.start_time.ToDatetime(UTC)
        assert await listed(started_from=middle) == [3, 2]
        assert await listed(started_before=middle) == [1, 0]
        server.kill()
        await asyncio.to_thread(server.start)

    summary = (await runs[1].get()).summary
    assert (summary.state, summary.status_message) == (RunState.RUN_STATE_CANCELED, "not needed")
    (row,) = [run async for run in client.runs.list(run_filter(workflow=workflow, states=["CANCELED"]))]
    assert row == summary


@pytest.mark.asyncio
async def test_pages_stay_in_place_while_runs_start(client: Client) -> None:
    workflow = await fresh(client)
    old = [(await client.start(workflow)).run_id for _ in range(25)]
    wanted = RunFilter(workflow=workflow)
    for reasons in ([], [WaitingReason.WAITING_REASON_SIGNAL]):
        wanted = RunFilter(workflow=workflow, waiting_reasons=reasons)
        seen: list[str] = []
        token = ""
        while True:
            page = await client.runs.page(wanted, page_size=4, page_token=token)
            seen += [run.run_id for run in page.runs]
            old.append((await client.start(workflow)).run_id)
            token = page.next_page_token
            if not token:
                break
        begun = len(old) - len(seen)
        assert seen == old[:begun][::-1] or seen == old[: len(seen)][::-1]


@pytest.mark.asyncio
async def test_the_last_page_says_that_it_is_the_last(client: Client, stubs: Stubs) -> None:
    workflow = await fresh(client)
    for _ in range(4):
        await client.start(workflow)
    request = ListRunsRequest(filter=RunFilter(workflow=workflow), page_size=4)
    page = await stubs.runs.ListRuns(request)
    assert (len(page.runs), page.next_page_token) == (4, "")
    request.page_size = 3
    page = await stubs.runs.ListRuns(request)
    assert len(page.runs) == 3
    request.page_token = page.next_page_token
    page = await stubs.runs.ListRuns(request)
    assert (len(page.runs), page.next_page_token) == (1, "")


@pytest.mark.asyncio
async def test_a_list_with_large_attributes_comes_in_pieces(client: Client) -> None:
    workflow = await fresh(client)
    attributes = {f"a{number}": "x" * 1_000 for number in range(100)}
    handles = await asyncio.gather(*(client.start(workflow, attributes=attributes) for _ in range(200)))
    listed = [run.run_id async for run in client.runs.list(run_filter(workflow=workflow), page_size=1_000)]
    assert sorted(listed) == sorted(handle.run_id for handle in handles)
    await asyncio.gather(*(handle.terminate() for handle in handles))


@pytest.mark.asyncio
async def test_a_history_comes_in_pages(client: Client, stubs: Stubs) -> None:
    workflow = await fresh(client)
    handle = await client.start(workflow)
    for number in range(20):
        await handle.signal("other", number)
    await handle.signal("go")
    await handle.result()
    whole = [event async for event in handle.history()]
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    for size in (1, 3, len(whole) - 1, len(whole), len(whole) + 1):
        assert [event async for event in handle.history(page_size=size)] == whole
    page = await stubs.runs.GetHistory(GetHistoryRequest(run_id=handle.run_id, page_size=len(whole)))
    assert page.next_page_token == ""


WORK = """
name: {name}
steps:
  - name: work
    task: {{handler: work, queue: {name}}}
    retry: {{max_attempts: 3, initial_interval: 30s}}
    timeouts: {{schedule_to_start: 1h}}
"""


@pytest.mark.asyncio
async def test_a_run_says_that_no_worker_serves_it_until_one_does(client: Client, stubs: Stubs) -> None:
    workflow = await fresh(client, WORK)
    handle = await client.start(workflow)

    async def waiting() -> tuple[str, str]:
        (one,) = (await handle.get()).waiting_on
        assert one.step_path == "work"
        assert one.since_time.ToDatetime(UTC) <= datetime.now(UTC) + timedelta(seconds=1)
        return WaitingReason.Name(one.reason).removeprefix("WAITING_REASON_"), one.message

    assert await waiting() == ("NO_WORKER", f"no worker serves handler 'work' on queue '{workflow}'")
    assert (await handle.get()).waiting_on[0].HasField("until_time")
    queues = (await stubs.operations.ListQueues(ListQueuesRequest(page_size=1_000))).queues
    (queue,) = [one for one in queues if one.queue == workflow]
    assert (list(queue.unserved_handlers), queue.queued, queue.workers) == (["work"], 1, 0)

    wrong = RawWorker(stubs, "other", queue=workflow)
    assert await wrong.poll_once() == []
    assert (await waiting())[0] == "NO_WORKER"
    wrong_queue = RawWorker(stubs, "work", queue="elsewhere")
    assert await wrong_queue.poll_once() == []
    assert (await waiting())[0] == "NO_WORKER"

    worker = RawWorker(stubs, "work", queue=workflow, slots=1)
    blocker = await client.start(workflow)
    first = await worker.task()
    held, waits = (handle, blocker) if first.run_id == handle.run_id else (blocker, handle)
    (one,) = (await waits.get()).waiting_on
    assert one.reason == WaitingReason.WAITING_REASON_TASK_QUEUED
    (one,) = (await held.get()).waiting_on
    assert one.reason == WaitingReason.WAITING_REASON_TASK_RUNNING
    assert worker.info.id in one.message

    failed = TaskResult(token=first.token)
    failed.failure.type = "Bad"
    await worker.settle(failed)
    (one,) = (await held.get()).waiting_on
    assert one.reason == WaitingReason.WAITING_REASON_BACKOFF
    assert one.until_time.ToDatetime(UTC) > datetime.now(UTC) + timedelta(seconds=10)
    assert "Bad" in one.message
    since = one.since_time
    await held.pause()
    told = (await held.get()).waiting_on
    assert [one.since_time for one in told if one.reason == WaitingReason.WAITING_REASON_BACKOFF] == [since]
    await waits.pause()
    told = (await waits.get()).waiting_on
    assert [one.reason for one in told] == [
        WaitingReason.WAITING_REASON_PAUSED,
        WaitingReason.WAITING_REASON_TASK_QUEUED,
    ]
    assert "when the run goes on" in told[1].message
    for run in (held, waits):
        await run.terminate()
        assert not (await run.get()).waiting_on


@pytest.mark.asyncio
async def test_every_other_wait_says_what_it_waits_for(client: Client) -> None:
    waits = """
name: {name}
steps:
  - {{name: gate, gate: {{title: "Go?", deadline: 1h}}}}
  - {{name: signal, wait: {{signal: go, timeout: 1h}}}}
  - {{name: sleep, sleep: {{for: 1h}}}}
"""
    workflow = await fresh(client, waits)
    handle = await client.start(workflow)
    run = await handle.get()
    reasons = {one.step_path: WaitingReason.Name(one.reason).removeprefix("WAITING_REASON_") for one in run.waiting_on}
    assert reasons == {"gate": "GATE", "signal": "SIGNAL", "sleep": "TIMER"}
    assert all(one.HasField("until_time") for one in run.waiting_on)
    assert "Go?" in run.summary.status_message
    later = await client.start(workflow, start_after=timedelta(hours=1))
    (one,) = (await later.get()).waiting_on
    assert one.reason == WaitingReason.WAITING_REASON_START_TIME
    await later.pause()
    run = await later.get()
    assert {one.reason for one in run.waiting_on} == {
        WaitingReason.WAITING_REASON_PAUSED,
        WaitingReason.WAITING_REASON_START_TIME,
    }
    assert run.summary.waiting_reason == WaitingReason.WAITING_REASON_PAUSED
    await later.cancel()
    await handle.terminate()


@pytest.mark.asyncio
async def test_queues_and_workers_are_listed_by_pages(client: Client, stubs: Stubs) -> None:
    prefix = f"list-{uuid4().hex[:8]}"
    workers = [
        RawWorker(stubs, "h1", "h2", queue=f"{prefix}-{number % 2}", name=f"{prefix}-{number}", slots=number + 1)
        for number in range(5)
    ]
    for worker in workers:
        await worker.poll_once()
    found = []
    token = ""
    while True:
        page = await stubs.operations.ListWorkers(ListWorkersRequest(page_size=2, page_token=token))
        found += [one for one in page.workers if one.worker.id.startswith(prefix)]
        token = page.next_page_token
        if not token:
            break
    assert [one.worker.id for one in found] == [f"{prefix}-{number}" for number in range(5)]
    assert [one.slots_total for one in found] == [1, 2, 3, 4, 5]
    assert [(one.queue, list(one.handlers)) for one in found[1].queues] == [(f"{prefix}-1", ["h1", "h2"])]
    queues = (await stubs.operations.ListQueues(ListQueuesRequest(page_size=1_000))).queues
    assert [(one.queue, one.workers, one.slots_free) for one in queues if one.queue.startswith(prefix)] == [
        (f"{prefix}-0", 3, 9),
        (f"{prefix}-1", 2, 6),
    ]
    await workers[0].drain()
    page = await stubs.operations.ListWorkers(ListWorkersRequest(page_size=1_000))
    assert [one.draining for one in page.workers if one.worker.id == f"{prefix}-0"] == [True]


@pytest.mark.asyncio
async def test_heartbeat_details_are_shown_while_it_runs(client: Client, stubs: Stubs) -> None:
    workflow = await fresh(client, WORK)
    handle = await client.start(workflow)
    worker = RawWorker(stubs, "work", queue=workflow)
    task = await worker.task()
    await worker.beat(HeldTask(token=task.token, alive=True, details=json_payload({"done": 3})))
    assert (await handle.get()).activations[0].heartbeat_details.data == b'{"done":3}'
    await worker.succeed(task)
    await handle.result()
