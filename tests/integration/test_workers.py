"""The worker's protocol, spoken by hand: tasks, results, tokens, slots, polls."""

import asyncio

import pytest

from holdfast import Client
from holdfast.errors import RunFailedError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.operations_service_pb2 import ListWorkersRequest
from holdfast.v1.payload_pb2 import Payload, PayloadRef
from holdfast.v1.task_pb2 import TaskResult, TaskReturned
from holdfast.v1.worker_service_pb2 import HeldState
from tests.integration.following import bodies, until
from tests.integration.place import place, rejection
from tests.integration.raw import RawWorker, Stubs, json_payload, outputs, refused_item, value_of

SERVER_ARGUMENTS = ("--lease-s", "1.5", "--adoption-grace-s", "1")


# -- tasks and their results -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_task_says_all_a_worker_needs(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs, "\n    timeouts: {start_to_close: 1m, heartbeat: 30s}")
    handle = await at.start({"n": 1})
    task = await at.worker().task()
    run = await handle.get()
    assert (task.run_id, task.workflow, task.version) == (handle.run_id, at.queue, 1)
    assert (task.step_path, task.attempt, task.handler, task.queue) == ("work", 1, "work", at.queue)
    assert value_of(task.input) == {"n": 1}
    assert task.heartbeat_timeout.seconds == 30
    assert task.deadline_time.seconds - run.activations[0].start_time.seconds == 60
    assert len(task.idempotency_key) == 32
    assert task.traceparent[3:35] == run.traceparent[3:35]
    assert 0 < len(task.token) <= 1024


@pytest.mark.asyncio
async def test_a_repeated_result_is_answered_alike(client: Client, stubs: Stubs, server: ServerProcess) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    result = TaskResult(token=task.token, output=json_payload("first"))
    answers = await asyncio.gather(*(worker.settle(result) for _ in range(10)))
    assert not any(answer.rejected for answer in answers)
    assert await handle.result() == "first"
    assert not (await worker.settle(result)).rejected  # the run is closed by now
    server.kill()
    await asyncio.to_thread(server.start)
    assert not (await worker.settle(result)).rejected
    assert (await bodies(handle)).count("step_succeeded") == 1
    other = TaskResult(token=task.token)
    other.failure.type = "Late"
    rejection(await worker.settle(other, result), "RUN_CLOSED")  # another one is no repetition
    assert await handle.result() == "first"


@pytest.mark.asyncio
async def test_results_of_a_batch_are_refused_one_by_one(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    for number in range(3):
        await at.start(number)
    worker = at.worker()
    tasks = await worker.poll(3)
    results = outputs(tasks)
    results.insert(1, TaskResult(token=b"forged", output=json_payload(1)))
    results.insert(3, TaskResult(token=tasks[2].token[:-1] + bytes([tasks[2].token[-1] ^ 1])))
    answer = await worker.settle(*results)
    assert [one.index for one in answer.rejected] == [1, 3]
    for one in answer.rejected:
        refused_item(one.error, "TOKEN_INVALID", "token")
    for task in tasks:
        assert (await client.handle(task.run_id).outcome()).state


@pytest.mark.asyncio
async def test_a_token_is_for_one_worker(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    thief = at.worker()
    rejection(await thief.settle(TaskResult(token=task.token, output=json_payload(1))), "TOKEN_INVALID")
    assert (await thief.beat(task)).states == [HeldState.HELD_STATE_LOST]
    await worker.succeed(task, "mine")
    assert await handle.result() == "mine"


@pytest.mark.asyncio
async def test_a_stale_token_is_told_from_a_closed_run(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    first = await worker.task()
    failed = TaskResult(token=first.token)
    failed.failure.type = "Bad"
    await worker.settle(failed)
    second = await worker.task()
    assert (second.attempt, second.idempotency_key) == (2, first.idempotency_key)
    assert not (await worker.settle(failed)).rejected  # it was accepted the first time
    await handle.terminate()
    rejection(await worker.settle(TaskResult(token=second.token, output=json_payload(1))), "RUN_CLOSED")


@pytest.mark.asyncio
async def test_a_result_of_no_kind_and_one_with_a_reference_are_refused(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    reference = Payload(ref=PayloadRef(sha256=bytes(32), size_bytes=10_000))
    deep = Failure(type="Bad")
    for _ in range(8):
        deep = Failure(type="Bad", cause=deep)
    late = Failure(type="Bad")
    late.retry_after.seconds = -1
    for result, reason, field in (
        (TaskResult(), "INVALID_REQUEST", "results.outcome"),
        (TaskResult(output=reference), "INVALID_REQUEST", "results.output"),
        (TaskResult(failure=Failure(type="Bad", details=reference)), "INVALID_REQUEST", "results.failure.details"),
        (TaskResult(failure=Failure(type="x" * 129)), "LIMIT_EXCEEDED", "results.failure.type"),
        (TaskResult(failure=Failure(type="Bad", message="x" * 16_385)), "LIMIT_EXCEEDED", "results.failure.message"),
        (TaskResult(failure=deep), "LIMIT_EXCEEDED", "results.failure" + ".cause" * 8),
        (TaskResult(failure=late), "INVALID_REQUEST", "results.failure.retry_after"),
    ):
        result.token = task.token
        rejection(await worker.settle(result), reason, field)
    await worker.succeed(task, "still mine")
    assert await handle.result() == "still mine"


@pytest.mark.asyncio
async def test_an_output_that_does_not_fit_is_answered_and_tried_again(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs, "\n    output_schema: {type: object, required: [n]}")
    handle = await at.start()
    worker = at.worker()
    task = await worker.task()
    answer = await worker.settle(TaskResult(token=task.token, output=json_payload({"m": 1})))
    rejection(answer, "OUTPUT_SCHEMA")
    assert "'n'" in answer.rejected[0].error.message or '"n"' in answer.rejected[0].error.message
    again = await worker.task()
    assert again.attempt == 2
    await worker.succeed(again, {"n": 1})
    assert await handle.result() == {"n": 1}
    failed = await until(handle, "step_attempt_failed")
    assert failed.step_attempt_failed.failure.type == "SchemaViolation"


@pytest.mark.asyncio
async def test_user_code_cannot_raise_the_servers_failures(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    for kind in ("Lost", "Timeout.Gate", ""):
        result = TaskResult(token=(await worker.task()).token)
        result.failure.type = kind
        result.failure.message = "x"
        await worker.settle(result)
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "Error"
    kinds = [
        event.step_attempt_failed.failure.type
        async for event in handle.history()
        if event.HasField("step_attempt_failed")
    ]
    assert kinds == ["User.Lost", "User.Timeout.Gate"]


# -- slots, handlers, polls --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_slots_are_never_exceeded(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handles = [await at.start(number) for number in range(20)]
    worker = at.worker(slots=3)
    polls = [asyncio.create_task(worker.poll_once(0.3)) for _ in range(5)]
    got = [task for tasks in await asyncio.gather(*polls) for task in tasks]
    assert len(got) == 3
    assert await worker.poll_once(slots=2) == []  # fewer slots by now: nothing more until some are free
    assert len(await worker.poll_once(slots=4)) == 1
    done = 0
    while done < 19:
        answer = await worker.settle(*outputs(got), more=True)
        assert not answer.rejected
        done += len(got)
        got = list(answer.tasks)
        assert len(got) <= 3
        if not got:
            got = await worker.poll(1)
    await asyncio.gather(*(worker.poll_once() for _ in range(3)))
    for handle in handles:
        if not (await handle.get()).waiting_on:
            continue
        await handle.terminate()


@pytest.mark.asyncio
async def test_a_task_goes_only_to_who_serves_its_handler_and_queue(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    assert await RawWorker(stubs, "works", "Work", queue=at.queue).poll_once() == []
    assert await RawWorker(stubs, "work", queue=f"{at.queue}-2").poll_once() == []
    worker = RawWorker(stubs, "other", "work", queue=at.queue)
    await worker.succeed(await worker.task())
    await handle.result()


@pytest.mark.asyncio
async def test_a_parked_poll_is_served_when_work_comes_and_a_cancelled_one_loses_nothing(
    client: Client, stubs: Stubs
) -> None:
    at = await place(client, stubs)
    worker, other = at.worker(), at.worker()
    parked = asyncio.create_task(worker.poll_once(30))
    handle = await at.start(1)
    (task,) = await parked
    await worker.succeed(task, 1)
    assert await handle.result() == 1
    for number in range(10):
        leaving = asyncio.create_task(other.poll_once(30))
        await asyncio.sleep(0)
        starting = asyncio.create_task(at.start(number))
        leaving.cancel()
        handle = await starting
        taker = at.worker()
        await taker.succeed(await taker.task(), number)  # at the latest when the lease of the other is over
        assert await handle.result() == number


@pytest.mark.asyncio
async def test_a_worker_that_drains_gets_nothing_more(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    worker = at.worker()
    first = await at.start(1)
    task = await worker.task()
    parked = [asyncio.create_task(worker.poll_once(30)) for _ in range(3)]
    await until_parked(stubs, worker)
    await worker.drain()
    assert await asyncio.gather(*parked) == [[], [], []]
    second = await at.start(2)
    assert await worker.poll_once() == []
    answer = await worker.settle(TaskResult(token=task.token, output=json_payload("kept")), more=True)
    assert (list(answer.rejected), list(answer.tasks)) == ([], [])
    assert await first.result() == "kept"
    other = at.worker()
    await other.succeed(await other.task(), 2)
    assert await second.result() == 2


async def until_parked(stubs: Stubs, worker: RawWorker) -> None:
    """Polls of a worker have arrived: the server lists it as serving."""
    while True:
        listed = (await stubs.operations.ListWorkers(ListWorkersRequest(page_size=1_000))).workers
        if any(one.worker.id == worker.info.id and one.queues for one in listed):
            return


@pytest.mark.asyncio
async def test_a_returned_task_does_not_use_up_an_attempt(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    handle = await at.start()
    worker = at.worker()
    for _ in range(5):
        task = await worker.task()
        assert task.attempt == 1
        answer = await worker.settle(TaskResult(token=task.token, returned=TaskReturned()))
        assert not answer.rejected
    await worker.succeed(await worker.task(), "done")
    assert await handle.result() == "done"
    assert "step_attempt_failed" not in await bodies(handle)


@pytest.mark.asyncio
async def test_reasons_of_items_have_the_code_of_a_call(client: Client, stubs: Stubs) -> None:
    at = await place(client, stubs)
    worker = at.worker()
    answer = await worker.settle(TaskResult(token=b"x"))
    error = answer.rejected[0].error
    assert (error.code, error.reason) == (3, ErrorReason.ERROR_REASON_TOKEN_INVALID)
