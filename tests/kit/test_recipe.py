"""The recipe of docs/testing.md: a fixture, and tests of a workflow that takes months."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from holdfast import Failure, TaskContext, Worker, Workflow, handler
from holdfast.builder import Retry
from holdfast_server.testing import LocalServer


@handler
async def charge(ctx: TaskContext, customer: str) -> str:
    if ctx.attempt < 3:
        raise Failure("the card was declined", type="Declined")
    return f"{customer} has paid"


trial = Workflow("trial", input=str)
days = trial.sleep("days", "30d")
retry = Retry(max_attempts=4, initial_interval="24h", backoff=1, max_interval="24h", jitter=0)
paid = trial.task("paid", charge, input=trial.input, after=days, retry=retry)
check = trial.gate("check", title=f"Send a gift? {paid.output}", deadline="14d", on_deadline="REJECT", after=paid)
trial.output(check.output.resolution)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(start=datetime(2026, 1, 1, tzinfo=UTC), actor="ann") as server:
        await server.client.register(trial)
        async with Worker(server.client, handlers=trial.handlers):
            yield server


@pytest.mark.asyncio
async def test_nobody_decides(server: LocalServer) -> None:
    assert await server.client.run(trial, "Ada") == "REJECTED"
    assert server.now() == datetime(2026, 2, 16, tzinfo=UTC)  # 30 days, two declined cards, 14 days


@pytest.mark.asyncio
async def test_somebody_decides(server: LocalServer) -> None:
    handle = await server.client.start(trial, "Ada")
    await server.skip(days=33)
    gate = await server.client.gates.get(handle.run_id)
    assert gate.content.title == "Send a gift? Ada has paid"
    await server.client.gates.approve(gate)
    assert await handle.result() == "APPROVED"
    assert server.now() == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=33)
