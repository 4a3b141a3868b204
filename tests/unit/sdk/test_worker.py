"""A worker against a worker service in the same process: tasks in, results out."""

import asyncio
import logging
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import Failure, NonRetryable, TaskContext, Worker, handler
from tests.unit.sdk.fake_worker_service import worker_service


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
    assert "does not fit handler 'search'" in failure.message
    assert "words" in failure.message
    assert "secret" not in str(failure)


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
