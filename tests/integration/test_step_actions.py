"""What operators do to single steps, against a real server and real workers."""

import asyncio
from uuid import uuid4

import pytest

from holdfast import Client, TaskContext, Worker, handler
from holdfast.client import RunHandle
from holdfast.errors import (
    GateResolvedError,
    IllegalStateError,
    RequestIdReusedError,
    RunClosedError,
    RunFailedError,
    SchemaViolationError,
    StepNotFoundError,
)
from holdfast.testing.processes import ServerProcess
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_pb2 import GateState, Resolution, ResolutionRule
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import RunState, StepState
from holdfast.v1.step_action_pb2 import RetryStep, StepActionRequest
from holdfast.v1.task_pb2 import Task, TaskResult
from holdfast.v1.worker_service_pb2 import HeldState
from tests.integration.following import bodies, until
from tests.integration.raw import RawWorker, Stubs, json_payload, refused_item, value_of

SERVER_ARGUMENTS = ("--lease-s", "10", "--adoption-grace-s", "1")

TWO = """
name: {queue}
steps:
  - name: a
    task: {{handler: work, queue: {queue}}}
    retry: {{max_attempts: 3, initial_interval: 1h, max_interval: 1h}}
    output_schema: {{type: integer}}
  - {{name: b, after: [{{step: a}}], task: {{handler: work, queue: {queue}}}}}
output: {{a: "${{steps.a.output}}", b: "${{steps.b.output}}"}}
"""
GATED = """
name: {queue}
steps:
  - {{name: ask, gate: {{title: Go?, approvers: {{principals: [bob]}}}}}}
  - {{name: go, after: [{{step: ask, when: "steps.ask.output.resolution == 'APPROVED'"}}], compute: {{}}}}
  - {{name: hold, wait: {{signal: go}}}}
"""


async def begin(client: Client, stubs: Stubs, definition: str = TWO) -> tuple[RunHandle, RawWorker]:
    """A run of a workflow with a queue of its own, and a worker of that queue."""
    queue = f"q-{uuid4().hex}"
    await client.register(definition.format(queue=queue))
    return await client.start(queue), RawWorker(stubs, "work", queue=queue)


async def events(handle: RunHandle, body: str) -> list[HistoryEvent]:
    return [event async for event in handle.history() if event.WhichOneof("body") == body]


async def stale(worker: RawWorker, task: Task) -> None:
    """The worker's result is not taken, and it is told to stop."""
    answer = await worker.settle(TaskResult(token=task.token, output=json_payload(99)))
    refused_item(answer.rejected[0].error, "TOKEN_STALE")
    assert (await worker.beat(task)).states == [HeldState.HELD_STATE_LOST]


# -- skip --------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_running_attempt_that_is_skipped_is_fenced_off(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    step = await handle.skip_step("a", 7, "by hand")
    assert (step.path, step.state, value_of(step.output)) == ("a", StepState.STEP_STATE_SUCCEEDED, 7)
    assert step.note == "answered by ann"
    await stale(worker, task)
    await worker.succeed(await worker.task(), 8)
    assert await handle.result() == {"a": 7, "b": 8}
    (taken,) = await events(handle, "step_action_taken")
    assert (taken.actor.name, taken.step_action_taken.attempt, taken.step_action_taken.note) == ("ann", 1, "by hand")


@pytest.mark.asyncio
async def test_what_is_skipped_in_its_queue_is_handed_to_nobody(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    await handle.skip_step("b", 2)  # before anything it waits for
    await handle.skip_step("a", 1)
    assert await handle.result() == {"a": 1, "b": 2}
    assert await worker.poll_once() == []


@pytest.mark.asyncio
async def test_an_output_that_does_not_fit_changes_nothing(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    before = (await handle.get()).summary.last_seq
    with pytest.raises(SchemaViolationError) as caught:
        await handle.skip_step("a", "seven")
    assert (caught.value.reason, caught.value.violations[0].field) == ("OUTPUT_SCHEMA", "skip.output")
    assert (await handle.get()).summary.last_seq == before
    await worker.succeed(task, 7)


@pytest.mark.asyncio
async def test_a_gate_that_is_skipped_is_resolved_for_everybody_and_approved_by_nobody(
    client: Client, stubs: Stubs
) -> None:
    handle, _ = await begin(client, stubs, GATED)
    gate = await client.gates.get(handle.run_id)
    await handle.skip_step("ask", {"pages": 3}, "bob is away")
    after = await client.gates.get(handle.run_id, "ask")
    assert (after.state, after.resolution) == (GateState.GATE_STATE_RESOLVED, Resolution.RESOLUTION_SKIPPED)
    assert (after.resolution_rule, after.resolved_by.name) == (ResolutionRule.RESOLUTION_RULE_OPERATOR, "ann")
    with pytest.raises(GateResolvedError) as caught:
        await client.gates.approve(gate)
    assert (caught.value.decided_by, caught.value.resolution) == ("ann", "SKIPPED")
    assert [one.run_id async for one in client.gates.list(run_id=handle.run_id) if not one.resolution] == []
    await handle.skip_step("hold")
    await handle.result()
    run = await handle.get()
    assert [StepState.Name(one.state)[11:] for one in run.activations] == ["SUCCEEDED", "SKIPPED", "SUCCEEDED"]
    output = value_of(run.activations[0].output)
    assert (output["resolution"], output["payload"], output["decided_by"]) == ("SKIPPED", {"pages": 3}, None)


# -- retry -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_attempt_that_is_due_in_an_hour_begins_now(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    result = TaskResult(token=(await worker.task()).token)
    result.failure.type = "Busy"
    assert not (await worker.settle(result)).rejected
    assert await worker.poll_once() == []
    step = await handle.retry_step("a", "the provider is back")
    assert (step.state, step.attempt) == (StepState.STEP_STATE_QUEUED, 2)
    task = await worker.task()
    assert (task.step_path, task.attempt) == ("a", 2)
    await worker.succeed(task, 1)
    await worker.succeed(await worker.task(), 2)
    assert await handle.result() == {"a": 1, "b": 2}


@pytest.mark.asyncio
async def test_a_running_attempt_that_is_tried_again_is_given_up(
    client: Client, stubs: Stubs, server: ServerProcess
) -> None:
    handle, worker = await begin(client, stubs)
    old = await worker.task()
    step = await handle.retry_step("a")
    assert step.state == StepState.STEP_STATE_QUEUED
    server.kill()
    await asyncio.to_thread(server.start)  # what is fenced off stays so
    await stale(worker, old)
    new = await worker.task()
    assert (new.attempt, new.idempotency_key) == (2, old.idempotency_key)
    await worker.succeed(new, 1)
    await worker.succeed(await worker.task(), 2)
    assert await handle.result() == {"a": 1, "b": 2}


@pytest.mark.asyncio
async def test_a_handler_that_hangs_is_stopped_and_its_step_goes_on(client: Client) -> None:
    name = f"hangs-{uuid4().hex}"
    stopped = asyncio.Event()

    @handler(name="work", queue=name)
    async def work(ctx: TaskContext) -> int:
        if ctx.attempt == 1 and ctx.step_path == "a":
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return ctx.attempt

    await client.register(TWO.format(queue=name))
    async with Worker(client, [work], queue=name, slots=2):
        handle = await client.start(name)
        await until(handle, "step_started")
        await handle.retry_step("a", "it hangs")
        assert await handle.result() == {"a": 2, "b": 1}
        async with asyncio.timeout(30):
            await stopped.wait()


# -- fail --------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_step_that_an_operator_lets_fail_is_not_tried_again(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    task = await worker.task()
    step = await handle.fail_step("a", "down until tomorrow", "Provider.Down", "ticket 7")
    assert (step.state, step.failure.type) == (StepState.STEP_STATE_FAILED, "Provider.Down")
    with pytest.raises(RunFailedError, match=r"Provider\.Down: down until tomorrow"):
        await handle.result()
    answer = await worker.settle(TaskResult(token=task.token, output=json_payload(1)))
    refused_item(answer.rejected[0].error, "RUN_CLOSED")
    await handle.retry()
    await worker.succeed(await worker.task(), 1)
    await handle.skip_step("b")
    assert await handle.result() == {"a": 1, "b": None}


@pytest.mark.asyncio
async def test_without_more_the_failure_says_that_it_was_an_operator(client: Client, stubs: Stubs) -> None:
    handle, _ = await begin(client, stubs)
    await handle.fail_step("a")
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "FailedByOperator"


# -- refused, repeated, raced for --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_cannot_be_acted_on_says_why(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    with pytest.raises(StepNotFoundError, match="no step 'nope'"):
        await handle.skip_step("nope")
    with pytest.raises(IllegalStateError, match="waits for a worker already"):
        await handle.retry_step("a")
    await worker.succeed(await worker.task(), 1)
    with pytest.raises(IllegalStateError, match="SUCCEEDED: it is finished") as caught:
        await handle.fail_step("a")
    assert caught.value.metadata == {"run_id": handle.run_id, "step_path": "a", "state": "SUCCEEDED"}
    await handle.terminate()
    with pytest.raises(RunClosedError):
        await handle.skip_step("b")


@pytest.mark.asyncio
async def test_an_action_happens_once_for_its_request(client: Client, stubs: Stubs) -> None:
    handle, worker = await begin(client, stubs)
    await worker.task()
    first = await handle.retry_step("a", request_id="once")
    assert (await handle.retry_step("a", request_id="once")) == first
    assert (await bodies(handle)).count("step_action_taken") == 1
    with pytest.raises(RequestIdReusedError):
        await handle.skip_step("a", 1, request_id="once")
    await handle.skip_step("a", 1, request_id="skip")
    await handle.skip_step("b", 2)
    assert await handle.result() == {"a": 1, "b": 2}
    assert (await handle.skip_step("a", 1, request_id="skip")).state == StepState.STEP_STATE_SUCCEEDED
    request = StepActionRequest(
        namespace="default", run_id=handle.run_id, step_path="a", retry=RetryStep(), request_id="once"
    )
    assert (await stubs.runs.StepAction(request)).run.state == RunState.RUN_STATE_SUCCEEDED


@pytest.mark.asyncio
async def test_of_a_result_and_an_action_at_the_same_time_one_counts(client: Client, stubs: Stubs) -> None:
    queue = f"q-{uuid4().hex}"
    await client.register(TWO.format(queue=queue))
    worker = RawWorker(stubs, "work", queue=queue, slots=1_000)
    handles = {handle.run_id: handle for handle in [await client.start(queue) for _ in range(30)]}
    tasks = {task.run_id: task for task in await worker.poll(len(handles))}

    async def race(run_id: str, number: int) -> tuple[bool, bool]:
        async def settle() -> bool:
            answer = await worker.settle(TaskResult(token=tasks[run_id].token, output=json_payload(1)))
            reasons = {one.error.reason for one in answer.rejected}
            assert reasons <= {ErrorReason.ERROR_REASON_TOKEN_STALE}
            return not reasons

        async def skip() -> bool:
            try:
                await handles[run_id].skip_step("a", 2)
            except IllegalStateError:
                return False
            return True

        if number % 2:
            return await asyncio.gather(settle(), skip())
        by_operator, by_worker = await asyncio.gather(skip(), settle())
        return by_worker, by_operator

    won = await asyncio.gather(*(race(run_id, number) for number, run_id in enumerate(handles)))
    for (by_worker, by_operator), handle in zip(won, handles.values(), strict=True):
        assert by_worker != by_operator
        assert value_of((await handle.get()).activations[0].output) == (1 if by_worker else 2)
        await handle.terminate()
