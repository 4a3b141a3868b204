"""The test kit: handlers called as a worker calls them, without a server."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import NonRetryable, TaskContext, handler
from holdfast.errors import ConverterError
from holdfast.testing import run_handler, running_handler


class Page(BaseModel):
    url: str


@handler
async def fetch(ctx: TaskContext, page: Page) -> str:
    if page.url == "bad":
        raise NonRetryable("no such page", type="Gone")
    return f"{ctx.run_id} {ctx.step_path} {ctx.attempt} {page.url} {ctx.last_heartbeat()}"


@handler
def crawl(ctx: TaskContext, urls: list[str]) -> int:
    for number, _ in enumerate(urls):
        ctx.heartbeat({"done": number + 1})
    while not ctx.is_cancelled():
        threading.Event().wait(0.001)
    ctx.raise_if_cancelled()
    return len(urls)


@pytest.mark.asyncio
async def test_a_handler_runs_with_the_task_it_was_given() -> None:
    output = await run_handler(fetch, {"url": "x"}, run_id="r1", step_path="plan", attempt=3, last_heartbeat=[1])
    assert output == "r1 plan 3 x [1]"
    assert await run_handler(lambda_like, 4) == 8


def lambda_like(number: int) -> int:
    return number * 2


@pytest.mark.asyncio
async def test_what_a_handler_raises_is_raised() -> None:
    with pytest.raises(NonRetryable, match="no such page"):
        await run_handler(fetch, Page(url="bad"))
    with pytest.raises(ConverterError, match="does not fit Page"):
        await run_handler(fetch, {"uri": "x"})


@pytest.mark.asyncio
async def test_heartbeats_and_cancellation_of_a_sync_handler() -> None:
    async with running_handler(crawl, ["a", "b"]) as running:
        assert await running.heartbeat() == {"done": 1}
        assert await running.heartbeat() == {"done": 2}
        running.cancel()
        assert (await running.result()).WhichOneof("outcome") == "canceled"

    assert running.heartbeats == [{"done": 1}, {"done": 2}]


@pytest.mark.asyncio
async def test_cancellation_of_an_async_handler_before_its_first_line() -> None:
    @handler
    async def wait() -> None:
        await asyncio.Event().wait()

    async with running_handler(wait) as running:
        running.cancel()
        assert (await running.result()).WhichOneof("outcome") == "canceled"


@pytest.mark.asyncio
async def test_the_result_is_what_a_worker_sends() -> None:
    async with running_handler(fetch, Page(url="bad")) as running:
        failure = (await running.result()).failure
        with pytest.raises(AssertionError, match="Gone"):
            await running.output()
    async with running_handler(fetch, Page(url="x")) as running:
        assert await running.output(str) == "test-run step 1 x None"

    assert (failure.type, failure.retryable) == ("Gone", False)


@pytest.mark.asyncio
async def test_every_field_of_the_context() -> None:
    seen: dict[str, Any] = {}

    @handler
    async def look(ctx: TaskContext) -> None:
        names = ("namespace", "workflow", "version", "queue", "handler", "idempotency_key", "worker_id", "traceparent")
        seen.update({name: getattr(ctx, name) for name in (*names, "deadline", "heartbeat_timeout", "cancel_reason")})

    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    await run_handler(look, deadline=deadline, heartbeat_timeout=timedelta(seconds=5), workflow="w", version=2)

    assert seen == {
        "namespace": "default",
        "workflow": "w",
        "version": 2,
        "queue": "default",
        "handler": "look",
        "idempotency_key": "test-key-step",
        "worker_id": "test-worker",
        "traceparent": "",
        "deadline": deadline,
        "heartbeat_timeout": timedelta(seconds=5),
        "cancel_reason": None,
    }
