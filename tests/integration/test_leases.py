"""Leases: kept by heartbeats, ended by time, taken over after restarts."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from holdfast import Client, TaskContext, Worker, handler
from holdfast.errors import RunFailedError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.task_pb2 import TaskResult
from holdfast.v1.worker_service_pb2 import HeldState, HeldTask
from tests.integration.following import bodies, until
from tests.integration.place import place, rejection
from tests.integration.raw import MIB, Stubs, json_payload, outputs, refused, value_of

SERVER_ARGUMENTS = ("--lease-s", "1.5", "--adoption-grace-s", "1")


# -- heartbeats and leases ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_heartbeat_tells_the_state_of_each(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    for number in range(3):
        await at.start(number)
    worker = at.worker()
    tasks = await worker.poll(3)
    by_run = {task.run_id: task for task in tasks}
    runs = list(by_run)
    await client.handle(runs[1]).cancel()
    await client.handle(runs[2]).terminate()
    answer = await worker.beat(*by_run.values(), HeldTask(token=b"forged"), HeldTask())
    assert [HeldState.Name(one).removeprefix("HELD_STATE_") for one in answer.states] == [
        "HELD",
        "CANCEL_REQUESTED",
        "LOST",
        "LOST",
        "LOST",
    ]
    assert answer.lease_timeout.ToTimedelta().total_seconds() == 1.5
    assert answer.heartbeat_interval.ToTimedelta().total_seconds() == 0.5
    assert answer.server_id
    await worker.settle(*outputs(tasks))


@pytest.mark.asyncio
async def test_a_lease_nobody_keeps_is_lost_and_the_step_is_tried_again(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    silent, other = at.worker(), at.worker()
    task = await silent.task()
    await silent.beat(task)
    again = await other.task()
    assert (again.attempt, again.idempotency_key) == (2, task.idempotency_key)
    failed = await until(handle, "step_attempt_failed")
    assert failed.step_attempt_failed.failure.type == "Lost"
    rejection(await silent.settle(TaskResult(token=task.token, output=json_payload("late"))), "TOKEN_STALE")
    await other.succeed(again, "second")
    assert await handle.result() == "second"


@pytest.mark.asyncio
async def test_heartbeats_keep_a_lease(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs, "\n    timeouts: {start_to_close: 3s}")
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    timer = await at.start()  # runs out of time while the first is kept alive beyond two leases
    other = at.worker()
    await other.task()
    ended = asyncio.create_task(until(timer, "step_attempt_failed"))
    while not ended.done():
        assert (await worker.beat(task)).states == [HeldState.HELD_STATE_HELD]
        await asyncio.wait([ended], timeout=0.3)
    await worker.succeed(task, "kept")
    assert await handle.result() == "kept"
    await timer.terminate()


@pytest.mark.asyncio
async def test_what_a_worker_does_not_list_goes_back(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    lost = await worker.task()
    answer = await worker.beat(all_held=True)
    assert list(answer.states) == []
    again = await worker.task()
    assert (again.attempt, again.token != lost.token) == (1, True)
    rejection(await worker.settle(TaskResult(token=lost.token, output=json_payload(1))), "TOKEN_STALE")
    await worker.succeed(again, 2)
    assert await handle.result() == 2


@pytest.mark.asyncio
async def test_a_newer_process_takes_a_worker_id_over(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    name = f"worker-{uuid4().hex}"
    old = at.worker(name=name)
    await at.start()
    task = await old.task()
    new = at.worker(name=name)
    await new.beat(all_held=True)
    for call in (old.poll_once(), old.settle(*outputs([task])), old.drain()):
        with refused("ILLEGAL_STATE", "FAILED_PRECONDITION") as told:
            await call
    assert told.metadata == {"worker_id": name, "session_id": old.info.session_id}
    assert (await old.beat(task)).states == [HeldState.HELD_STATE_LOST]
    again = await new.task()
    assert again.attempt == 1
    await new.succeed(again)


@pytest.mark.asyncio
async def test_details_of_a_heartbeat_reach_the_next_attempt(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    await at.start()
    worker = at.worker()
    task = await worker.task()
    assert not task.HasField("heartbeat_details")
    await worker.beat(HeldTask(token=task.token, alive=True, details=json_payload({"page": 7})))
    failed = TaskResult(token=task.token)
    failed.failure.type = "Bad"
    await worker.settle(failed)
    again = await worker.task()
    assert value_of(again.heartbeat_details) == {"page": 7}
    await worker.succeed(again)


@pytest.mark.asyncio
async def test_details_that_are_too_large_cost_nobody_a_lease(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    go_on = asyncio.Event()
    begun: list[str] = []

    @handler(queue=at.queue)
    async def work(ctx: TaskContext, large: bool) -> int:
        begun.append(ctx.run_id)
        ctx.heartbeat("x" * (5 * MIB) if large else "small")
        await go_on.wait()
        return ctx.attempt

    async with Worker(client, handlers=[work]):
        handles = [await at.start(large) for large in (True, False)]
        timer = await at.client.start(at.queue, False, start_after=timedelta(seconds=4))  # well beyond a lease
        await until(timer, "timer_fired")
        await timer.terminate()
        go_on.set()
        assert [await handle.result() for handle in handles] == [1, 1]
    # The run that told the time may have begun before it was terminated.
    assert sorted(set(begun) - {timer.run_id}) == sorted(handle.run_id for handle in handles)
    assert len(set(begun)) == len(begun)


# -- time limits -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("limit", "kind"), [("start_to_close", "Timeout.StartToClose"), ("heartbeat", "Timeout.Heartbeat")]
)
async def test_an_attempt_that_takes_too_long_is_tried_again(
    client: Client, stubs: Stubs, limit: str, kind: str
) -> None:
    at = await place(client, stubs, f"\n    timeouts: {{{limit}: 200ms}}")
    handle = await at.start()
    worker = at.worker()
    first = await worker.task()
    second = await worker.task()
    assert second.attempt == 2
    failed = await until(handle, "step_attempt_failed")
    assert failed.step_attempt_failed.failure.type == kind
    rejection(await worker.settle(TaskResult(token=first.token, output=json_payload("late"))), "TOKEN_STALE")
    await handle.terminate()


@pytest.mark.asyncio
async def test_a_task_nobody_takes_in_time_fails(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs, "\n    timeouts: {schedule_to_start: 200ms}")
    handle = await at.start()
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "Timeout.ScheduleToStart"
    assert await at.worker().poll_once() == []


@pytest.mark.asyncio
async def test_a_step_has_so_much_time_with_all_its_attempts(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs, "\n    timeouts: {schedule_to_close: 500ms}")
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "Timeout.ScheduleToClose"
    rejection(await worker.settle(*outputs([task])), "RUN_CLOSED")


@pytest.mark.asyncio
async def test_a_failure_says_when_to_try_again(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    for milliseconds in (300, 0):
        result = TaskResult(token=(await worker.task()).token)
        result.failure.type = "RateLimited"
        result.failure.retry_after.FromMilliseconds(milliseconds)
        await worker.settle(result)
    result = TaskResult(token=(await worker.task()).token)
    result.failure.type, result.failure.retryable = "Fatal", False
    await worker.settle(result)
    with pytest.raises(RunFailedError):
        await handle.result()
    waits = [
        (event.step_attempt_failed.retry_time.ToMicroseconds() - event.time.ToMicroseconds()) / 1e6
        async for event in handle.history()
        if event.HasField("step_attempt_failed")
    ]
    assert waits == [0.3, 0.0]


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_worker_keeps_what_it_has_over_a_restart(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    at = await place(client, stubs)
    handles = [await at.start(number) for number in range(3)]
    worker = at.worker()
    tasks = await worker.poll(3)
    server.kill()
    await asyncio.to_thread(server.start)
    assert (await worker.beat(tasks[0], tasks[1], all_held=True)).states == [HeldState.HELD_STATE_HELD] * 2
    await worker.succeed(tasks[0], tasks[0].run_id)
    await worker.succeed(tasks[1], tasks[1].run_id)
    again = await worker.task()  # the one it did not list
    assert (again.run_id, again.attempt) == (tasks[2].run_id, 1)
    await worker.succeed(again, again.run_id)
    assert [await handle.result() for handle in handles] == [handle.run_id for handle in handles]
    for handle in handles:
        assert "step_attempt_failed" not in await bodies(handle)


@pytest.mark.asyncio
async def test_a_result_after_a_restart_is_taken_without_a_heartbeat(
    client: Client, stubs: Stubs, server: ServerProcess
) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    server.kill()
    await asyncio.to_thread(server.start)
    await worker.succeed(task, "kept")
    assert await handle.result() == "kept"


@pytest.mark.asyncio
async def test_a_crash_uses_up_no_attempt(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    for _ in range(4):  # more often than there are attempts
        worker = at.worker()
        task = await worker.task()
        assert task.attempt == 1
        server.kill()
        await asyncio.to_thread(server.start)
    worker = at.worker()
    last = await worker.task()
    rejection(await worker.settle(TaskResult(token=task.token, output=json_payload("stolen"))), "TOKEN_INVALID")
    await worker.succeed(last, "last")
    assert await handle.result() == "last"


@pytest.mark.asyncio
async def test_a_token_of_before_a_restart_is_stale_once_another_has_the_attempt(
    client: Client, stubs: Stubs, server: ServerProcess
) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    old, new = at.worker(), at.worker()
    task = await old.task()
    server.kill()
    await asyncio.to_thread(server.start)
    again = await new.task()  # once the time to claim it is over
    assert again.attempt == 1
    rejection(await old.settle(TaskResult(token=task.token, output=json_payload("late"))), "TOKEN_STALE")
    assert (await old.beat(task)).states == [HeldState.HELD_STATE_LOST]
    await new.succeed(again, "new")
    assert await handle.result() == "new"
