"""Runs that only wait leave the memory of the server; nobody can tell, but by the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
import pytest_asyncio

from holdfast import Client, ServerError
from holdfast.client import RunHandle
from holdfast.errors import RunCanceledError
from holdfast.v1.gate_pb2 import GateState
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import CountRunsRequest, ListRunsRequest, RunFilter
from tests.integration.place import place
from tests.integration.raw import Stubs, outputs

HOT_RUNS = 3
SERVER_ARGUMENTS = ("--hot-runs", str(HOT_RUNS), "--evict-after-s", "1", "--adoption-grace-s", "1")

WAITER = """
name: {name}
steps:
  - name: ask
    gate: {{title: "Go on with ${{input}}?"}}
  - name: go
    after: [{{step: ask}}]
    wait: {{signal: go}}
output: "${{steps.go.output}}"
"""


@pytest_asyncio.fixture
async def waiting(client: Client, stubs: Stubs) -> AsyncIterator[list[RunHandle]]:
    """Twelve runs at a gate, of which only some are in memory."""
    name = f"waiter-{uuid4().hex}"
    await client.register(WAITER.format(name=name))
    handles = [await client.start(name, number, key=f"k{number}") for number in range(12)]
    await until_hot(stubs, lambda hot: hot <= HOT_RUNS)
    yield handles
    for handle in handles:
        if (await handle.get()).summary.state in (RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED):
            await handle.terminate()


async def hot_runs(stubs: Stubs) -> int:
    return (await stubs.operations.GetServerInfo(GetServerInfoRequest())).hot_runs


async def until_hot(stubs: Stubs, fits: Callable[[int], bool]) -> None:
    """Waits until as many runs are in memory; each call has the server's loop in between, which evicts by time."""
    async with asyncio.timeout(30):
        while not fits(await hot_runs(stubs)):
            pass


async def decide(client: Client, handle: RunHandle) -> None:
    await client.gates.approve(await client.gates.get(handle.run_id))


@pytest.mark.asyncio
async def test_runs_come_back_and_end(client: Client, stubs: Stubs, waiting: list[RunHandle]) -> None:
    results = [asyncio.create_task(handle.result()) for handle in waiting]
    for handle in waiting:
        await decide(client, handle)
    await until_hot(stubs, lambda hot: hot <= HOT_RUNS)
    for number, handle in enumerate(waiting):
        await handle.signal("go", number)

    assert await asyncio.gather(*results) == list(range(12))
    info = await stubs.operations.GetServerInfo(GetServerInfoRequest())
    assert info.open_runs == 0


@pytest.mark.asyncio
async def test_runs_that_are_idle_leave_all(stubs: Stubs, waiting: list[RunHandle]) -> None:
    await until_hot(stubs, lambda hot: hot == 0)

    info = await stubs.operations.GetServerInfo(GetServerInfoRequest())
    assert (info.open_runs, info.hot_runs) == (len(waiting), 0)
    for handle in waiting:
        run = await handle.get()
        assert [one.reason for one in run.waiting_on] == [WaitingReason.WAITING_REASON_GATE]
    assert await hot_runs(stubs) == 0, "reading brings nothing back"


@pytest.mark.asyncio
async def test_gates_are_listed_wherever_their_runs_are(client: Client, stubs: Stubs, waiting: list[RunHandle]) -> None:
    workflow = (await waiting[0].get()).summary.workflow
    ids = [handle.run_id for handle in waiting]

    assert [gate.run_id async for gate in client.gates.list(workflow=workflow, page_size=5)] == ids
    await until_hot(stubs, lambda hot: hot == 0)
    assert [gate.run_id async for gate in client.gates.list(workflow=workflow, page_size=5)] == ids
    await decide(client, waiting[4])
    assert [gate.run_id async for gate in client.gates.list(workflow=workflow)] == ids[:4] + ids[5:]
    async for change in client.gates.watch():
        seen = {gate.run_id for gate in change.gates if gate.state == GateState.GATE_STATE_OPEN}
        assert seen == set(ids) - {ids[4]}
        break


@pytest.mark.asyncio
async def test_runs_are_listed_and_counted_by_what_they_wait_for(
    client: Client, stubs: Stubs, waiting: list[RunHandle]
) -> None:
    await decide(client, waiting[1])
    await decide(client, waiting[10])
    workflow = (await waiting[0].get()).summary.workflow
    for hot in (HOT_RUNS, 0):
        await until_hot(stubs, lambda now, hot=hot: now <= hot)  # type: ignore[misc]
        for reason, numbers in (
            (WaitingReason.WAITING_REASON_SIGNAL, [10, 1]),
            (WaitingReason.WAITING_REASON_GATE, [11, 9, 8, 7, 6, 5, 4, 3, 2, 0]),
            (WaitingReason.WAITING_REASON_TIMER, []),
        ):
            wanted = RunFilter(workflow=workflow, waiting_reasons=[reason])
            listed: list[str] = []
            token = ""
            while True:
                page = await stubs.runs.ListRuns(ListRunsRequest(filter=wanted, page_size=4, page_token=token))
                listed += [run.run_id for run in page.runs]
                assert {run.waiting_reason for run in page.runs} <= {reason}
                token = page.next_page_token
                if not token:
                    break
            assert listed == [waiting[number].run_id for number in numbers]
            counted = await stubs.runs.CountRuns(CountRunsRequest(filter=wanted))
            assert counted.total == len(numbers)


@pytest.mark.asyncio
async def test_business_keys_are_held_by_runs_that_are_out(
    client: Client, stubs: Stubs, waiting: list[RunHandle]
) -> None:
    await until_hot(stubs, lambda hot: hot == 0)
    workflow = (await waiting[0].get()).summary.workflow

    with pytest.raises(ServerError) as caught:
        await client.start(workflow, 1, key="k3")
    assert (caught.value.reason, caught.value.metadata["run_id"]) == ("KEY_IN_USE", waiting[3].run_id)
    same = await client.start(workflow, 1, key="k3", on_conflict="USE_EXISTING")
    assert same.run_id == waiting[3].run_id
    other = await client.start(workflow, 1, key="k4", on_conflict="TERMINATE_EXISTING")
    assert other.run_id != waiting[4].run_id
    assert (await waiting[4].get()).summary.state == RunState.RUN_STATE_TERMINATED
    await other.cancel()

    failed = waiting[5]
    await failed.cancel()
    with pytest.raises(RunCanceledError):
        await failed.result()
    taken = await client.start(workflow, 1, key="k5")
    await until_hot(stubs, lambda hot: hot == 0)
    with pytest.raises(ServerError) as caught:
        await failed.retry()
    assert (caught.value.reason, caught.value.metadata["run_id"]) == ("KEY_IN_USE", taken.run_id)
    await taken.terminate()


@pytest.mark.asyncio
async def test_operators_reach_runs_that_are_out(stubs: Stubs, waiting: list[RunHandle]) -> None:
    await until_hot(stubs, lambda hot: hot == 0)
    await waiting[0].pause()
    await until_hot(stubs, lambda hot: hot == 0)
    run = await waiting[0].get()
    assert run.summary.state == RunState.RUN_STATE_PAUSED
    await waiting[0].resume()
    await waiting[1].cancel()
    await waiting[2].terminate()
    states = [(await handle.get()).summary.state for handle in waiting[:4]]

    assert states == [
        RunState.RUN_STATE_RUNNING,
        RunState.RUN_STATE_CANCELED,
        RunState.RUN_STATE_TERMINATED,
        RunState.RUN_STATE_RUNNING,
    ]


@pytest.mark.asyncio
async def test_a_run_that_is_watched_is_followed_to_its_end(
    client: Client, stubs: Stubs, waiting: list[RunHandle]
) -> None:
    await until_hot(stubs, lambda hot: hot == 0)

    async def follow() -> list[HistoryEvent]:
        return [event async for event in waiting[0].watch()]

    following = asyncio.create_task(follow())
    await decide(client, waiting[0])
    await waiting[0].signal("go", 1)
    seen = await following

    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].WhichOneof("body") == "run_succeeded"


@pytest.mark.asyncio
async def test_a_long_history_comes_back_from_its_snapshot(client: Client, stubs: Stubs) -> None:
    workflow = f"talk-{uuid4().hex}"
    waits = "".join(
        f"\n  - {{name: w{number}, after: [{{step: w{number - 1}}}], wait: {{signal: word}}}}"
        for number in range(1, 40)
    )
    await client.register(
        f"name: {workflow}\nsteps:\n  - {{name: w0, wait: {{signal: word}}}}{waits}\n"
        'output: ["${steps.w0.output}", "${steps.w38.output}", "${steps.w39.output}"]\n'
    )
    handle = await client.start(workflow)
    for number in range(38):
        await handle.signal("word", number)
    await until_hot(stubs, lambda hot: hot == 0)
    await handle.signal("word", 38)
    await until_hot(stubs, lambda hot: hot == 0)
    await handle.signal("word", 39)

    assert await handle.result() == [0, 38, 39]


@pytest.mark.asyncio
async def test_a_backlog_of_tasks_waits_outside_and_is_done(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handles = [await at.start(number) for number in range(60)]
    await until_hot(stubs, lambda hot: hot <= HOT_RUNS)
    (queue,) = [queue async for queue in client.operations.queues() if queue.queue == at.queue]
    assert (queue.queued, list(queue.unserved_handlers)) == (60, ["work"])
    oldest = queue.oldest_time.ToMicroseconds()
    first = await handles[0].get()
    assert oldest == first.activations[0].schedule_time.ToMicroseconds()

    worker = at.worker(slots=7)
    done: list[str] = []
    while len(done) < len(handles):
        tasks = await worker.poll()
        assert len(tasks) <= 7
        done += [task.run_id for task in tasks]
        answer = await worker.settle(*outputs(tasks))
        assert not answer.rejected

    assert sorted(done) == sorted(handle.run_id for handle in handles)
    assert [await handle.result() for handle in handles] == [None] * 60
    assert [queue.queued async for queue in client.operations.queues() if queue.queue == at.queue] in ([], [0])


@pytest.mark.asyncio
async def test_tasks_that_wait_are_served_in_the_order_of_their_queueing(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    early = [await at.start(number) for number in range(10)]
    await until_hot(stubs, lambda hot: hot == 0)
    late = [await at.start(number) for number in range(2)]
    worker = at.worker(slots=1)
    order: list[str] = []
    for _ in range(12):
        task = await worker.task()
        order.append(task.run_id)
        await worker.succeed(task)

    # What is in memory may be handed out while the others are fetched; after that the oldest come first.
    waited = [run_id for run_id in order if run_id in {handle.run_id for handle in early}]
    assert waited == [handle.run_id for handle in early]
    assert {handle.run_id for handle in late} <= set(order)
    assert set(order[-1:]) <= {*(handle.run_id for handle in late), early[-1].run_id}


@pytest.mark.asyncio
async def test_a_run_that_is_out_comes_back_for_an_action_on_its_step(
    client: Client, stubs: Stubs, waiting: list[RunHandle]
) -> None:
    at = await place(client, stubs)
    queued = await at.start()
    await until_hot(stubs, lambda hot: hot == 0)
    await queued.skip_step("work", "by hand")
    assert await queued.result() == "by hand"
    assert await at.worker().poll_once() == []
    handle = waiting[0]
    await handle.skip_step("ask", 1)
    await until_hot(stubs, lambda hot: hot == 0)
    await handle.skip_step("go", 2)
    assert await handle.result() == 2
    assert handle.run_id not in {gate.run_id async for gate in client.gates.list()}
