"""The life of a worker: results that must arrive, servers that go and come, and the end in good order."""

import asyncio
import threading
from typing import Any

import grpc
import pytest
from pydantic import BaseModel

from holdfast import Client, TaskContext, Worker, handler
from holdfast.errors import HandlerError, ServerError, WorkerError
from holdfast.v1 import worker_service_pb2 as messages
from holdfast.v1.errors_pb2 import ErrorReason
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
async def test_a_server_that_comes_back_is_found_and_nothing_is_lost() -> None:
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
    go.set()  # the result comes once the server has gone
    async with client, serving(Fake(), service, port=int(target.rpartition(":")[2])):
        assert (await service.result(token)).output.data == b'"done"'
        assert (await service.result(await service.add("double", b"4"))).output.data == b"8"
        await worker.stop()


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
