"""Retention: closed runs go when they were kept long enough, open ones and younger ones stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast import Client, Workflow
from holdfast.client import RunHandle
from holdfast.errors import RunNotFoundError
from holdfast.testing.processes import ServerProcess
from holdfast_server.clock import Clocks
from holdfast_server.runtime import deleting
from holdfast_server.testing import LocalServer
from holdfast_server.testing.clock import SkippingClock
from tests.integration.faulty import FaultyStore, running

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
PAUSE_US = 10_000_000


async def register(client: Client, name: str, retention: str | None = None) -> None:
    """Registers a workflow that waits for `go`."""
    workflow = Workflow(name, retention=retention)
    workflow.wait("hold", "go")
    await client.register(workflow)


async def closed(client: Client, workflow: str, input: object = None) -> RunHandle:
    """A run that succeeded."""
    handle = await client.start(workflow, input, signals=[("go", None)])
    await handle.outcome()
    return handle


async def left(client: Client) -> set[str]:
    """Ids of all runs."""
    return {run.run_id async for run in client.runs.list()}


@pytest.mark.asyncio
async def test_closed_runs_go_when_the_servers_time_is_over() -> None:
    async with LocalServer(start=START, settings={"retention": "7d"}) as server:
        client = server.client
        await register(client, "plain")
        old = await closed(client, "plain")
        waiting = await client.start("plain")
        assert server.next_due() == START + timedelta(days=7)
        await server.skip(days=6)
        young = await closed(client, "plain")
        assert await left(client) == {old.run_id, waiting.run_id, young.run_id}
        await server.skip(days=1)
        assert await left(client) == {waiting.run_id, young.run_id}
        with pytest.raises(RunNotFoundError, match="was deleted at 2026-01-08T00:00:00Z"):
            await old.get()
        await server.skip(days=6)
        assert await left(client) == {waiting.run_id}
        await server.skip(days=1_000)

        await waiting.signal("go")
        await waiting.outcome()
        assert server.next_due() == server.now() + timedelta(days=7)
        assert (await client.operations.server_info()).retention.seconds == 7 * 86_400


@pytest.mark.asyncio
async def test_what_a_workflow_says_goes_before_what_the_server_says() -> None:
    async with LocalServer(start=START, settings={"retention": "7d"}) as server:
        client = server.client
        await register(client, "plain")
        await register(client, "other", "1d")
        await closed(client, "other")
        await register(client, "other", "30d")  # a run keeps the definition it started with
        second = await closed(client, "other")
        plain = await closed(client, "plain")
        await server.skip(days=2)
        assert await left(client) == {second.run_id, plain.run_id}
        await server.skip(days=6)
        assert await left(client) == {second.run_id}
        await server.skip(days=22)
        assert await left(client) == set()


@pytest.mark.asyncio
async def test_without_a_setting_closed_runs_stay_unless_their_workflow_says_otherwise() -> None:
    async with LocalServer(start=START) as server:
        client = server.client
        await register(client, "plain")
        await register(client, "short", "500ms")
        plain = await closed(client, "plain")
        assert server.next_due() is None
        await closed(client, "short")
        await server.skip(days=1)

        assert await left(client) == {plain.run_id}
        assert server.next_due() is None
        assert not (await client.operations.server_info()).HasField("retention")


@pytest.mark.asyncio
async def test_a_retried_run_is_kept_anew() -> None:
    async with LocalServer(start=START, settings={"retention": "7d"}) as server:
        client = server.client
        await register(client, "plain")
        handle = await client.start("plain")
        await handle.cancel()
        await handle.outcome()
        await server.skip(days=5)
        await handle.retry()
        await server.skip(days=5)
        await handle.cancel()
        await handle.outcome()
        await server.skip(days=6)
        assert await left(client) == {handle.run_id}
        await server.skip(days=1)
        assert await left(client) == set()


@pytest.mark.asyncio
async def test_runs_that_expire_soon_after_each_other_go_together() -> None:
    async with LocalServer(start=START, settings={"retention": "1h"}) as server:
        client = server.client
        await register(client, "plain")
        for _ in range(3):
            await closed(client, "plain")
            await server.skip(seconds=3)
        await server.skip_to(START + timedelta(hours=1))
        assert len(await left(client)) == 2
        assert server.next_due() == START + timedelta(hours=1, seconds=10)
        await server.skip(seconds=10)
        assert await left(client) == set()


@asynccontextmanager
async def machine(path: Path) -> AsyncIterator[tuple[FaultyStore, Client, SkippingClock]]:
    """A server on a faulty store that keeps closed runs for a day, with a clock that is moved by hand."""
    system = Clocks.system()
    clock = SkippingClock(system.runs.now_us(), lambda: None)
    clocks = Clocks(clock, system.attempts, system.workers)
    async with running(path, clocks, retention="1d") as (store, client):
        await register(client, "plain")
        yield store, client, clock


async def gone(client: Client, *handles: RunHandle) -> None:
    """Waits until runs are deleted."""
    wanted = {handle.run_id for handle in handles}
    async with aclosing(client.runs.watch(closed_limit=1_000)) as changes:  # type: ignore[type-var]
        shown: set[str] = set()
        async for change in changes:
            shown |= {run.run_id for run in change.runs}
            shown -= set(change.deleted_run_ids)
            if change.live and not shown & wanted:
                return


@pytest.mark.asyncio
async def test_deletions_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with machine(tmp_path / "holdfast.db") as (store, client, clock):
        handles = await asyncio.gather(*(closed(client, "plain") for _ in range(130)))
        clock.move(clock.now_us() + DAY_US)
        await gone(client, *handles)
        assert store.deletions == [100, 30]

        large = [await closed(client, "plain") for _ in range(7)]
        events = (await large[0].get()).summary.last_seq
        monkeypatch.setattr(deleting, "BATCH_EVENTS", 2 * events + 1)
        clock.move(clock.now_us() + DAY_US)
        await gone(client, *large)
        assert store.deletions[2:] == [2, 2, 2, 1]

        monkeypatch.setattr(deleting, "BATCH_EVENTS", 5_000)
        monkeypatch.setattr(deleting, "BATCH_BYTES", 50_000)
        heavy = [await closed(client, "plain", "x" * 20_000 + str(number)) for number in range(5)]
        clock.move(clock.now_us() + DAY_US)
        await gone(client, *heavy)
        assert store.deletions[6:] == [2, 2, 1]

        alone = await closed(client, "plain")
        monkeypatch.setattr(deleting, "BATCH_EVENTS", 1)
        clock.move(clock.now_us() + DAY_US)
        await gone(client, alone)


@pytest.mark.asyncio
async def test_the_sweeper_goes_on_when_the_disk_does(tmp_path: Path) -> None:
    async with machine(tmp_path / "holdfast.db") as (store, client, clock):
        handles = [await closed(client, "plain") for _ in range(3)]
        store.broken = True
        clock.move(clock.now_us() + DAY_US)
        await store.tried_to_delete(1)
        store.broken = False
        while store.deletions == [3]:
            clock.move(clock.now_us() + PAUSE_US)
            await asyncio.sleep(0)
        await gone(client, *handles)
        late = await closed(client, "plain")
        clock.move(clock.now_us() + DAY_US)
        await gone(client, late)
        assert store.deletions == [3, 3, 1]


@pytest.mark.asyncio
async def test_a_server_deletes_what_is_old_at_its_start(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    async with ServerProcess(database) as server, Client(server.target) as client:
        workflow = Workflow("plain")
        workflow.compute("only", 1)
        await client.register(workflow)
        handle = await client.start("plain")
        await handle.outcome()
    async with ServerProcess(database, arguments=("--retention", "1ms")) as server, Client(server.target) as client:
        await gone(client, handle)
        with pytest.raises(RunNotFoundError):
            await client.handle(handle.run_id).get()
