"""A worker against a worker service in the same process: tasks in, results out, whatever happens between."""

import asyncio
import logging
import threading
import time
from typing import Any

import grpc
import pytest
from pydantic import BaseModel

from holdfast import Client, Failure, NonRetryable, TaskContext, Worker, handler
from holdfast.errors import HandlerError, ServerError, WorkerError
from holdfast.v1 import worker_service_pb2 as messages
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.worker import CancelReason
from tests.unit.sdk.fake import QUICK, Context, Fake, refuse, serving
from tests.unit.sdk.fake_worker_service import FakeWorkerService, abort, worker_service


class Query(BaseModel):
    words: list[str]
    limit: int = 3


@handler
async def search(ctx: TaskContext, query: Query) -> dict[str, Any]:
    return {"run": ctx.run_id, "words": query.words, "limit": query.limit, "key": ctx.idempotency_key}


@handler(name="double")
def double_it(number: int) -> int:
    return number * 2


@handler
async def nothing() -> None:
    return None


@pytest.mark.asyncio
async def test_handlers_of_every_shape_answer() -> None:
    async with worker_service() as (service, client), Worker(client, [search, double_it, nothing]):
        first = await service.add("search", b'{"words": ["a"]}')
        second = await service.add("double", b"21")
        third = await service.add("nothing", None)
        results = [await service.result(token) for token in (first, second, third)]

    assert results[0].output.data == b'{"run":"run-1","words":["a"],"limit":3,"key":"key-1"}'
    assert [result.output.data for result in results[1:]] == [b"42", b"null"]


@pytest.mark.asyncio
async def test_a_worker_first_lists_what_it_holds_and_says_who_it_is() -> None:
    async with worker_service() as (service, client):
        async with Worker(client, [search, double_it], slots=7, worker_id="w1", build_id="b2"):
            await service.until(lambda: bool(service.polls))
        poll, beat = service.polls[0], service.beats[0]

    assert beat.all_held
    assert not beat.held
    assert (poll.worker.id, poll.worker.language, poll.worker.build_id) == ("w1", "python", "b2")
    assert poll.worker.session_id == beat.worker.session_id != ""
    assert (poll.queue, sorted(poll.handlers), poll.slots_total) == ("default", ["double", "search"], 7)


@pytest.mark.asyncio
async def test_every_queue_is_polled_for_its_own_handlers() -> None:
    @handler(queue="tools")
    async def tool() -> str:
        return "tool"

    async with worker_service() as (service, client), Worker(client, [tool, search], queue="main"):
        token = await service.add("tool", queue="tools")
        assert (await service.result(token)).output.data == b'"tool"'
        await service.until(lambda: {poll.queue for poll in service.polls} == {"main", "tools"})

    assert {(poll.queue, *poll.handlers) for poll in service.polls} == {("main", "search"), ("tools", "tool")}


@pytest.mark.asyncio
async def test_never_more_tasks_than_slots_and_results_travel_together() -> None:
    running, most = 0, 0
    barrier, full = asyncio.Event(), asyncio.Event()

    @handler
    async def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 5:
            full.set()
        await barrier.wait()
        running -= 1

    async with worker_service() as (service, client), Worker(client, [slow], slots=5):
        tokens = [await service.add("slow") for _ in range(12)]
        await full.wait()
        barrier.set()
        for token in tokens:
            await service.result(token)

    assert most == 5
    assert max(len(request.results) for request in service.completions) == 5


class RateLimitedError(Failure):
    pass


def _chain() -> None:
    try:
        raise KeyError("root")
    except KeyError as fault:
        raise ValueError("ähm") from fault


@pytest.mark.asyncio
async def test_what_a_handler_raises_is_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    @handler
    async def fail(how: str) -> None:
        match how:
            case "plain":
                _chain()
            case "final":
                raise NonRetryable("no", type="Denied", details={"code": 7})
            case "later":
                raise RateLimitedError("slow down", retry_after=1.5)

    async with worker_service() as (service, client), Worker(client, [fail]):
        plain, final, later = [
            (await service.result(await service.add("fail", data))).failure
            for data in (b'"plain"', b'"final"', b'"later"')
        ]

    assert (plain.type, plain.message, plain.HasField("retryable")) == ("ValueError", "ähm", False)
    assert (plain.cause.type, plain.cause.message) == ("KeyError", "'root'")
    assert "in _chain" in plain.stack_trace
    assert (final.type, final.retryable, final.details.data) == ("Denied", False, b'{"code":7}')
    assert (later.type, later.retryable, later.retry_after.ToMilliseconds()) == ("RateLimitedError", True, 1500)
    assert "run run-1 step step attempt 1 failed: ValueError" in caplog.text


@pytest.mark.asyncio
async def test_an_input_that_does_not_fit_fails_for_good_without_showing_values() -> None:
    async with worker_service() as (service, client), Worker(client, [search]):
        failure = (await service.result(await service.add("search", b'{"words": "secret"}'))).failure

    assert (failure.type, failure.retryable) == ("InvalidInput", False)
    assert "words" in failure.message
    assert "secret" not in failure.message


@pytest.mark.asyncio
async def test_an_output_without_json_form_fails_for_good() -> None:
    @handler
    async def odd() -> Any:
        return {"value": float("nan")}

    async with worker_service() as (service, client), Worker(client, [odd]):
        failure = (await service.result(await service.add("odd"))).failure

    assert (failure.type, failure.retryable) == ("InvalidOutput", False)


@pytest.mark.asyncio
async def test_bytes_and_large_integers_stay_exact() -> None:
    @handler
    async def raw(data: bytes) -> bytes:
        return data[::-1]

    @handler
    async def big(number: int) -> dict[str, int]:
        return {"next": number + 1}

    async with worker_service() as (service, client), Worker(client, [raw, big]):
        token = await service.add("raw", None)
        service.tasks[-1].input.data = b"\x00\xff"
        service.tasks[-1].input.metadata["encoding"] = b"binary/plain"
        await service.note()
        back = await service.result(token)
        large = await service.result(await service.add("big", b"9223372036854775807"))

    assert (back.output.data, back.output.metadata["encoding"]) == (b"\xff\x00", b"binary/plain")
    assert large.output.data == b'{"next":9223372036854775808}'


@pytest.mark.asyncio
async def test_a_requested_cancel_reaches_an_async_handler() -> None:
    reasons: list[CancelReason | None] = []

    @handler
    async def wait(ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            reasons.append(ctx.cancel_reason)

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        result = await service.result(token)

    assert result.WhichOneof("outcome") == "canceled"
    assert reasons == [CancelReason.CANCEL_REQUESTED]


@pytest.mark.asyncio
async def test_a_result_in_spite_of_a_cancel_counts() -> None:
    @handler
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [stubborn]):
        token = await service.add("stubborn")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        assert (await service.result(token)).output.data == b'"done all the same"'


@pytest.mark.asyncio
async def test_a_requested_cancel_reaches_a_handler_in_a_thread() -> None:
    @handler
    def wait(ctx: TaskContext) -> None:
        while not ctx.is_cancelled():
            threading.Event().wait(0.005)
        ctx.raise_if_cancelled()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        assert (await service.result(token)).WhichOneof("outcome") == "canceled"


@pytest.mark.asyncio
async def test_a_lost_task_sends_no_result_and_its_slot_is_not_offered_while_its_handler_runs() -> None:
    told, end = asyncio.Event(), asyncio.Event()

    @handler
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            await end.wait()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait, nothing], slots=2):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_LOST
        service.leased.discard(token)
        await told.wait()
        await service.result(await service.add("nothing"))
        offered = service.completions[-1].slots_total
        end.set()
        await service.result(await service.add("nothing"))

    assert offered == 1
    assert token not in service.results


@pytest.mark.asyncio
async def test_a_blocked_loop_loses_no_lease() -> None:
    @handler
    async def block() -> None:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:  # what no handler should do: keep the loop
            pass

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [block]):
        token = await service.add("block")
        await service.result(token)
        held = [beat for beat in service.beats if [entry.token for entry in beat.held] == [token]]

    # The server shares the loop in this test, so what was sent meanwhile is read afterwards; it was sent all the same.
    assert held


@pytest.mark.asyncio
async def test_what_a_handler_says_arrives_and_the_next_attempt_gets_it() -> None:
    go = asyncio.Event()

    @handler
    async def progress(ctx: TaskContext) -> Any:
        ctx.heartbeat({"done": 5})
        await go.wait()
        return ctx.last_heartbeat()

    async with worker_service() as (service, client), Worker(client, [progress]):
        token = await service.add("progress")
        service.tasks[-1].heartbeat_details.data = b'{"done":3}'
        await service.until(lambda: any(entry.alive for beat in service.beats for entry in beat.held))
        go.set()
        result = await service.result(token)
    said = next(entry for beat in service.beats for entry in beat.held if entry.alive)

    assert said.details.data == b'{"done":5}'
    assert result.output.data == b'{"done":3}'


@pytest.mark.asyncio
async def test_results_are_sent_again_until_they_are_accepted() -> None:
    async with worker_service() as (service, client), Worker(client, [double_it]):
        failures = 3

        async def fail(request: Any, context: Context) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                await abort(context, grpc.StatusCode.UNAVAILABLE)

        service.scripts["CompleteTasks"] = fail
        token = await service.add("double", b"4")
        assert (await service.result(token)).output.data == b"8"
        await service.until(lambda: sum(beat.all_held for beat in service.beats) > 1)

    again = [beat for beat in service.beats if beat.all_held][1]
    assert len(service.completions) == 4
    # Between the tries the task is still held, so it must be in the list of everything.
    assert [entry.token for entry in again.held] == [token]


@pytest.mark.asyncio
async def test_one_rejected_result_is_logged_and_the_others_are_not_affected(caplog: pytest.LogCaptureFixture) -> None:
    async with worker_service() as (service, client), Worker(client, [double_it]):
        first = await service.add("double", b"1")
        service.refusals[first] = ErrorReason.ERROR_REASON_TOKEN_STALE
        second = await service.add("double", b"2")
        service.refusals[second] = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
        assert (await service.result(second)).output.data == b"4"

    assert first not in service.results
    assert "the result of run run-1 step step attempt 1 was refused: TOKEN_STALE" in caplog.text


@pytest.mark.asyncio
async def test_another_server_is_told_everything_that_is_held() -> None:
    go = asyncio.Event()

    @handler
    async def wait() -> None:
        await go.wait()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.server_id = "server-2"
        await service.until(lambda: sum(beat.all_held for beat in service.beats) == 2)
        polls = len(service.polls)
        await service.until(lambda: len(service.polls) > polls)
        go.set()
        await service.result(token)

    assert [entry.token for entry in [b for b in service.beats if b.all_held][1].held] == [token]


@pytest.mark.asyncio
async def test_a_stop_lets_running_handlers_end_and_sends_what_they_made() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    @handler
    async def wait() -> str:
        begun.set()
        await go.wait()
        return "done"

    async with worker_service() as (service, client):
        worker = Worker(client, [wait], worker_id="w1")
        serving = asyncio.create_task(worker.run())
        token = await service.add("wait")
        await begun.wait()
        stopping = asyncio.create_task(worker.stop())
        await service.until(lambda: service.drained == ["w1"])
        late = await service.add("wait")
        go.set()
        await asyncio.gather(stopping, serving)

    assert service.results[token].output.data == b'"done"'
    assert late not in service.leased
    assert service.parked == 0


@pytest.mark.asyncio
async def test_after_the_grace_handlers_are_told_and_their_attempt_can_be_tried_elsewhere() -> None:
    begun = asyncio.Event()

    @handler
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with worker_service() as (service, client):
        worker = Worker(client, [wait])
        await worker.start()
        token = await service.add("wait")
        await begun.wait()
        await worker.stop(grace_s=0.05)

    assert service.results[token].failure.type == "WorkerStopped"
    assert service.results[token].failure.retryable


@pytest.mark.asyncio
async def test_a_stop_gives_back_what_no_thread_has_begun() -> None:
    begun, end = threading.Event(), threading.Event()

    @handler
    def block() -> None:
        begun.set()
        end.wait()

    async with worker_service() as (service, client):
        worker = Worker(client, [block], slots=1)
        first, second = await service.add("block"), await service.add("block")

        async def one_too_many(request: Any, context: Context) -> Any:
            del service.scripts["PollTasks"]
            tasks = [service.tasks.popleft(), service.tasks.popleft()]
            return messages.PollTasksResponse(tasks=tasks)

        service.scripts["PollTasks"] = one_too_many
        await worker.start()
        await asyncio.to_thread(begun.wait)
        stopping = asyncio.create_task(worker.stop())
        assert (await service.result(second)).WhichOneof("outcome") == "returned"
        end.set()
        await stopping

    assert service.results[first].WhichOneof("outcome") == "output"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_STATE"),  # another process took the worker's id over
    ],
)
async def test_a_hopeless_refusal_ends_the_worker_with_its_error(code: grpc.StatusCode, reason: str) -> None:
    async with worker_service() as (service, client):
        service.scripts["PollTasks"] = lambda _, context: refuse(context, code, "not this one", reason)
        with pytest.raises(ServerError, match="not this one"):
            await Worker(client, [nothing]).run()


@pytest.mark.asyncio
async def test_a_server_that_comes_back_is_found_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    go = asyncio.Event()

    @handler
    async def wait() -> str:
        await go.wait()
        return "done"

    service = FakeWorkerService()
    async with serving(Fake(), service) as target:
        client = Client(target, backoff=QUICK)
        worker = Worker(client, [wait, double_it])
        await worker.start()
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
    go.set()  # the result comes while no server is there
    async with client, serving(Fake(), service, port=int(target.rpartition(":")[2])):
        assert (await service.result(token)).output.data == b'"done"'
        assert (await service.result(await service.add("double", b"4"))).output.data == b"8"
        await worker.stop()

    assert f"no server answers at {target}, trying again" in caplog.text


@pytest.mark.asyncio
async def test_a_cancelled_run_leaves_nothing_behind() -> None:
    async with worker_service() as (service, client):
        serving = asyncio.create_task(Worker(client, [nothing]).run())
        await service.until(lambda: service.parked == 1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await service.until(lambda: service.parked == 0)

    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("holdfast")] == []


@pytest.mark.asyncio
async def test_logs_of_a_handler_say_which_task_they_belong_to(caplog: pytest.LogCaptureFixture) -> None:
    @handler
    async def talk(ctx: TaskContext) -> None:
        ctx.logger.info("half way")

    with caplog.at_level(logging.INFO, logger="holdfast.task"):
        async with worker_service() as (service, client), Worker(client, [talk]):
            await service.result(await service.add("talk"))

    record = next(record for record in caplog.records if record.name == "holdfast.task")
    assert record.getMessage() == "[run-1 step #1] half way"
    assert (record.run_id, record.step_path, record.attempt) == ("run-1", "step", 1)  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_worker_that_cannot_work_says_so_when_it_is_made() -> None:
    async with worker_service() as (_, client):
        with pytest.raises(WorkerError, match="at least one handler"):
            Worker(client, [])
        with pytest.raises(WorkerError, match="two handlers are called 'search'"):
            Worker(client, [search, search])
        with pytest.raises(WorkerError, match="slots is 0"):
            Worker(client, [search], slots=0)
        with pytest.raises(HandlerError, match="name '<lambda>'"):
            Worker(client, [lambda: None])
