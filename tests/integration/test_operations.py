"""What operators do to runs: pause, resume, cancel, terminate, retry; each once for each request."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from holdfast import Client, run_filter
from holdfast.client import RunHandle
from holdfast.errors import (
    IllegalStateError,
    KeyInUseError,
    RequestIdReusedError,
    RunCanceledError,
    RunClosedError,
    RunFailedError,
    RunTerminatedError,
    RunTimedOutError,
)
from holdfast.testing.processes import ServerProcess
from holdfast.v1.run_pb2 import RunState, StepState, WaitingReason
from holdfast.v1.run_service_pb2 import CancelRunRequest, PauseRunRequest
from holdfast.v1.task_pb2 import TaskCanceled, TaskResult
from holdfast.v1.worker_service_pb2 import HeldState
from tests.integration.following import bodies
from tests.integration.raw import RawWorker, Stubs, refused, value_of

SERVER_ARGUMENTS = ("--cancel-grace-s", "0.5", "--adoption-grace-s", "1")

CHAIN = """
name: {queue}
steps:
  - {{name: a, task: {{handler: work, queue: {queue}}}, input: "${{input}}", retry: {{max_attempts: 1}}}}
  - {{name: b, after: [{{step: a}}], task: {{handler: work, queue: {queue}}}, retry: {{max_attempts: 1}}}}
output: "${{steps.b.output}}"
"""
CLEANUP = """
name: {queue}
steps:
  - {{name: a, task: {{handler: work, queue: {queue}}}}}
  - {{name: never, after: [{{step: a}}], task: {{handler: work, queue: {queue}}}}}
  - {{name: tidy, after: [{{step: a, on: FINISHED}}], cleanup: true, task: {{handler: work, queue: {queue}}}}}
"""


async def begin(client: Client, stubs: Stubs, definition: str = CHAIN, **options: Any) -> tuple[RunHandle, RawWorker]:
    """A run of a workflow with a queue of its own, and a worker of that queue."""
    queue = f"q-{uuid4().hex}"
    await client.register(definition.format(queue=queue))
    return await client.start(queue, **options), RawWorker(stubs, "work", queue=queue)


async def states(handle: RunHandle) -> list[str]:
    run = await handle.get()
    return [StepState.Name(one.state).removeprefix("STEP_STATE_") for one in run.activations]


async def fail(worker: RawWorker, *, retryable: bool = False) -> None:
    result = TaskResult(token=(await worker.task()).token)
    result.failure.type, result.failure.message, result.failure.retryable = "Bad", "it broke", retryable
    assert not (await worker.settle(result)).rejected


# -- pause and resume --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_paused_run_starts_nothing_new(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    summary = await handle.pause("lunch")
    assert summary.state == RunState.RUN_STATE_PAUSED
    assert await worker.poll_once() == []  # the queued task is withdrawn
    run = await handle.get()
    assert WaitingReason.WAITING_REASON_PAUSED in {one.reason for one in run.waiting_on}
    assert "resume" in run.summary.status_message
    assert (await handle.pause("again")).last_seq == summary.last_seq
    assert (await handle.resume("back")).state == RunState.RUN_STATE_RUNNING
    await worker.succeed(await worker.task())
    await worker.succeed(await worker.task(), "done")
    assert await handle.result() == "done"
    history = [event async for event in handle.history()]
    notes = [(one.run_paused.note, one.run_resumed.note, one.actor.name) for one in history]
    assert [one for one in notes if one[0] or one[1]] == [("lunch", "", "ann"), ("", "back", "ann")]


@pytest.mark.asyncio
async def test_a_result_in_flight_is_accepted_while_paused(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    await handle.pause()
    server.kill()
    await asyncio.to_thread(server.start)
    await worker.succeed(task, 1)
    assert await states(handle) == ["SUCCEEDED", "PENDING"]
    assert await worker.poll_once() == []
    await handle.resume()
    await worker.succeed(await worker.task(), 2)
    assert await handle.result() == 2


@pytest.mark.asyncio
async def test_signals_and_clocks_of_a_paused_run_take_effect_when_it_goes_on(client: Client) -> None:
    definition = """
name: pausable
steps:
  - {name: signal, wait: {signal: go}}
  - {name: sleep, sleep: {for: 200ms}}
  - {name: both, after: [{step: signal}, {step: sleep}], compute: {}, input: "${steps.signal.output}"}
output: "${steps.both.output}"
"""
    await client.register(definition)
    handle = await client.start("pausable")
    await handle.pause()
    await handle.signal("go", "signalled")
    other = await client.start("pausable", signals=[("go", "first")])
    assert await other.result() == "first"  # so long that the paused run's sleep is over, too
    assert (await handle.get()).summary.state == RunState.RUN_STATE_PAUSED
    await handle.resume()
    assert await handle.result() == "signalled"


@pytest.mark.asyncio
async def test_cancel_overrides_a_pause(client: Client, stubs: Stubs) -> None:
    handle, _ = await begin(client, stubs)
    await handle.pause()
    await handle.cancel("enough")
    with pytest.raises(RunCanceledError):
        await handle.result()


# -- cancel and terminate ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_worker_is_told_to_stop_and_stops(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs, CLEANUP)
    task = await worker.task()
    summary = await handle.cancel("enough")
    assert summary.state == RunState.RUN_STATE_RUNNING
    assert "asked to stop" in summary.status_message
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_CANCEL_REQUESTED]
    assert not (await worker.settle(TaskResult(token=task.token, canceled=TaskCanceled()))).rejected
    tidy = await worker.task()
    assert tidy.step_path == "tidy"
    await worker.succeed(tidy)
    with pytest.raises(RunCanceledError):
        await handle.result()
    assert await states(handle) == ["CANCELED", "SKIPPED", "SUCCEEDED"]
    assert (await handle.get()).summary.status_message == "enough"


@pytest.mark.asyncio
async def test_a_worker_that_ignores_a_cancel_is_fenced_off(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    await handle.cancel()
    with pytest.raises(RunCanceledError):
        await handle.result()
    answer = await worker.settle(TaskResult(token=task.token, canceled=TaskCanceled()))
    assert [one.error.message for one in answer.rejected] == [
        f"run {handle.run_id!r} is closed; results are no longer taken"
    ]
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_LOST]


@pytest.mark.asyncio
async def test_a_result_inside_the_grace_counts(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    await handle.cancel()
    await worker.succeed(task, "just in time")
    with pytest.raises(RunCanceledError):
        await handle.result()
    run = await handle.get()
    assert value_of(run.activations[0].output) == "just in time"
    assert await states(handle) == ["SUCCEEDED", "SKIPPED"]


@pytest.mark.asyncio
async def test_a_cancel_outlives_a_kill(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    await handle.cancel()
    server.kill()
    await asyncio.to_thread(server.start)
    with pytest.raises(RunCanceledError):
        await handle.result()
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_LOST]


@pytest.mark.asyncio
async def test_terminate_ends_at_once_and_cleans_nothing_up(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs, CLEANUP)
    task = await worker.task()
    summary = await handle.terminate("stop")
    assert (summary.state, summary.status_message) == (RunState.RUN_STATE_TERMINATED, "stop")
    with pytest.raises(RunTerminatedError):
        await handle.result()
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_LOST]
    answer = await worker.settle(TaskResult(token=task.token, canceled=TaskCanceled()))
    assert len(answer.rejected) == 1
    assert await worker.poll_once() == []
    assert (await bodies(handle))[-1] == "run_terminated"


@pytest.mark.asyncio
async def test_a_run_times_out(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs, timeout=timedelta(seconds=0.5))
    task = await worker.task()
    with pytest.raises(RunTimedOutError):
        await handle.result()
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_LOST]
    assert await states(handle) == ["CANCELED", "SKIPPED"]


# -- retry -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_failed_run_goes_on_from_what_failed(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    handle, worker = await begin(client, stubs)
    await worker.succeed(await worker.task(), 1)
    await fail(worker)
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert (caught.value.failure_type, caught.value.run_epoch) == ("Bad", 1)
    server.kill()
    await asyncio.to_thread(server.start)

    summary = await handle.retry("fixed")
    assert (summary.state, summary.run_epoch) == (RunState.RUN_STATE_RUNNING, 2)
    task = await worker.task()
    assert (task.step_path, task.attempt) == ("b", 2)  # what succeeded stays; numbers go on
    await worker.succeed(task, "well")
    assert await handle.result() == "well"
    assert (await handle.outcome()).run_epoch == 2
    assert (await bodies(handle)).count("run_reopened") == 1
    with pytest.raises(IllegalStateError) as refusal:
        await handle.retry()
    assert refusal.value.metadata["state"] == "SUCCEEDED"


@pytest.mark.asyncio
async def test_what_cannot_be_retried(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    with pytest.raises(IllegalStateError) as caught:
        await handle.retry()
    assert caught.value.metadata == {"run_id": handle.run_id, "state": "RUNNING"}
    await handle.terminate()
    with pytest.raises(IllegalStateError) as caught:
        await handle.retry()
    assert caught.value.metadata["state"] == "TERMINATED"

    handle, worker = await begin(client, stubs, CLEANUP)
    await worker.task()
    await handle.cancel()
    await worker.succeed(await worker.task())  # tidy
    with pytest.raises(RunCanceledError):
        await handle.result()
    with pytest.raises(IllegalStateError) as caught:
        await handle.retry()
    assert caught.value.metadata == {"step_path": "tidy"}


@pytest.mark.asyncio
async def test_a_cancelled_run_can_be_retried_unless_its_key_went_to_another(client: Client, stubs: Stubs) -> None:
    key = uuid4().hex
    handle, worker = await begin(client, stubs, key=key)
    await handle.cancel()
    with pytest.raises(RunCanceledError):
        await handle.result()
    other = await client.start(worker.queue, key=key)
    with pytest.raises(KeyInUseError) as caught:
        await handle.retry()
    assert caught.value.run_id == other.run_id
    await other.terminate()
    assert (await handle.retry()).run_epoch == 2
    with pytest.raises(KeyInUseError):
        await client.start(worker.queue, key=key)
    await worker.succeed(await worker.task())
    await worker.succeed(await worker.task())
    await handle.result()


@pytest.mark.asyncio
async def test_one_of_many_retries_reopens(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs, input="x" * 20_000)
    await fail(worker)
    await handle.outcome()
    answers = await asyncio.gather(
        *(handle.retry() for _ in range(5)),
        *(handle.signal("late") for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(not isinstance(answer, BaseException) for answer in answers[:5]) == 1
    faults = {type(answer) for answer in answers if isinstance(answer, BaseException)}
    assert faults <= {IllegalStateError, RunClosedError}
    await handle.terminate()
    assert (await bodies(handle)).count("run_reopened") == 1


# -- once for each request ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("operation", ["pause", "cancel", "terminate"])
async def test_an_operation_is_done_once_for_each_request(
    client: Client, stubs: Stubs, server: ServerProcess, operation: str
) -> None:
    handle, _ = await begin(client, stubs)
    request_id = uuid4().hex
    operate = getattr(handle, operation)
    first = await operate("why", request_id=request_id)
    assert (await operate("why", request_id=request_id)).last_seq == first.last_seq
    with pytest.raises(RequestIdReusedError):
        await operate("because", request_id=request_id)
    server.kill()
    await asyncio.to_thread(server.start)
    before = await bodies(handle)
    assert (await operate("why", request_id=request_id)).state == first.state
    assert await bodies(handle) == before
    with pytest.raises(RequestIdReusedError):  # on another method it is another request
        await handle.signal("go", request_id=request_id)


@pytest.mark.asyncio
async def test_resume_and_retry_are_done_once_for_each_request(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    await handle.pause()
    resume_id, retry_id = uuid4().hex, uuid4().hex
    await handle.resume(request_id=resume_id)
    await handle.pause()
    assert (await handle.resume(request_id=resume_id)).state == RunState.RUN_STATE_PAUSED
    await handle.resume()
    await fail(worker)
    await handle.outcome()
    assert (await handle.retry(request_id=retry_id)).run_epoch == 2
    await fail(worker)
    await handle.outcome()
    summary = await handle.retry(request_id=retry_id)
    assert (summary.run_epoch, summary.state) == (2, RunState.RUN_STATE_FAILED)


@pytest.mark.asyncio
async def test_a_closed_run_takes_no_operation(client: Client, stubs: Stubs) -> None:
    handle, _ = await begin(client, stubs)
    await handle.terminate()
    for operation in (handle.pause, handle.resume, handle.cancel, handle.terminate):
        with pytest.raises(RunClosedError):
            await operation("late")
    with refused("RUN_NOT_FOUND", "NOT_FOUND") as told:
        await stubs.runs.PauseRun(PauseRunRequest(run_id="nowhere"))
    assert told.metadata == {"run_id": "nowhere"}
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "reason") as told:
        await stubs.runs.CancelRun(CancelRunRequest(run_id=handle.run_id, reason="x" * 16_385))
    assert told.metadata == {"limit": "note_bytes", "value": "16384", "actual": "16385", "field": "reason"}


@pytest.mark.asyncio
async def test_lists_show_the_new_life_of_a_run_that_fails_again_at_once(client: Client) -> None:
    name = f"w-{uuid4().hex}"
    await client.register(
        {"name": name, "steps": [{"name": "only", "compute": {}, "output_schema": {"type": "string"}}]}
    )
    handle = await client.start(name)
    first = await handle.outcome()
    await handle.retry()
    second = await handle.outcome()
    assert (first.run_epoch, second.run_epoch) == (1, 2)

    (listed,) = [run async for run in client.runs.list(run_filter(workflow=name))]
    shown = (await handle.get()).summary
    assert (listed.run_epoch, listed.last_seq, listed.close_time) == (2, shown.last_seq, shown.close_time)
