"""Retention: closed runs go when they were kept long enough, open ones and younger ones stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast import Client, Workflow, run_filter
from holdfast.client import RunHandle
from holdfast.errors import RunNotFoundError
from holdfast.testing.processes import ServerProcess
from holdfast_server.app import Server
from holdfast_server.clock import Clocks, wall_clock_us
from holdfast_server.config import ServerConfig
from holdfast_server.runtime import deleting
from holdfast_server.runtime.retention import Retention
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import Store
from tests.integration.faulty import FaultyStore

DAY_US = 86_400_000_000


@dataclass
class World:
    """A server whose clock can be set ahead, and whose sweeper the test drives."""

    store: FaultyStore
    client: Client
    server: Server
    ahead_us: int = 0

    @property
    def runtime(self) -> Runtime:
        return self.server.runtime

    async def register(self, name: str, retention: str | None = None) -> None:
        """Registers a workflow that waits for `go`."""
        workflow = Workflow(name, retention=retention)
        workflow.wait("hold", "go")
        await self.client.register(workflow)

    async def closed(self, workflow: str) -> RunHandle:
        """A run that succeeded."""
        handle = await self.client.start(workflow, signals=[("go", None)])
        await handle.outcome()
        return handle

    async def sweep(self) -> list[int]:
        """Sweeps until nothing is left to do; answers how many runs each turn deleted."""
        turns = []
        while turn := await self.server._retention.sweep():
            turns.append(turn)
        return turns

    async def left(self) -> set[str]:
        """Ids of all runs."""
        return {run.run_id async for run in self.client.runs.list()}


@asynccontextmanager
async def world(path: Path, **settings: Any) -> AsyncIterator[World]:
    store = FaultyStore(path)
    made: list[World] = []

    def clock_us() -> int:
        return wall_clock_us() + (made[0].ahead_us if made else 0)

    config = ServerConfig(listen="127.0.0.1:0", database=str(path), drain_s=1.0, **settings)
    server = Server(config, cast("Store", store), Clocks.system(clock_us))
    await server.start()
    try:
        await server._retention.stop()
        async with Client(f"127.0.0.1:{server.port}") as client:
            made.append(World(store, client, server))
            yield made[0]
    finally:
        store.broken = False
        store.delete_gate.set()
        await server.stop()


@pytest.mark.asyncio
async def test_closed_runs_go_when_the_servers_time_is_over(tmp_path: Path) -> None:
    async with world(tmp_path / "holdfast.db", retention="7d") as here:
        await here.register("plain")
        old = await here.closed("plain")
        waiting = await here.client.start("plain")
        here.ahead_us = 6 * DAY_US
        assert await here.sweep() == []
        young = await here.closed("plain")
        here.ahead_us = 8 * DAY_US
        assert await here.sweep() == [1]

        assert await here.left() == {waiting.run_id, young.run_id}
        with pytest.raises(RunNotFoundError, match="was deleted at"):
            await old.get()
        await waiting.signal("go")
        await waiting.outcome()
        assert await here.sweep() == []
        assert (await here.client.operations.server_info()).retention.seconds == 7 * 86_400


@pytest.mark.asyncio
async def test_what_a_workflow_says_goes_before_what_the_server_says(tmp_path: Path) -> None:
    async with world(tmp_path / "holdfast.db", retention="7d") as here:
        await here.register("plain")
        await here.register("short", "1d")
        first = await here.closed("short")
        await here.register("short", "30d")  # a run keeps the definition it started with
        second = await here.closed("short")
        plain = await here.closed("plain")
        here.ahead_us = 2 * DAY_US
        assert await here.sweep() == [1]
        assert await here.left() == {second.run_id, plain.run_id}
        here.ahead_us = 8 * DAY_US
        assert await here.sweep() == [1]
        assert await here.left() == {second.run_id}
        with pytest.raises(RunNotFoundError):
            await first.get()


@pytest.mark.asyncio
async def test_without_a_setting_closed_runs_stay_unless_their_workflow_says_otherwise(tmp_path: Path) -> None:
    async with world(tmp_path / "holdfast.db") as here:
        await here.register("plain")
        await here.register("short", "500ms")
        plain = await here.closed("plain")
        await here.closed("short")
        here.ahead_us = 10_000 * DAY_US
        assert await here.sweep() == [1]

        assert await here.left() == {plain.run_id}
        assert not (await here.client.operations.server_info()).HasField("retention")


@pytest.mark.asyncio
async def test_deletions_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path / "holdfast.db", retention="1d") as here:
        await here.register("plain")
        handles = await asyncio.gather(*(here.closed("plain") for _ in range(130)))
        here.ahead_us = 2 * DAY_US
        assert await here.sweep() == [100, 30]
        assert here.store.deletions == [100, 30]

        large = await here.closed("plain")
        events = (await large.get()).summary.last_seq
        more = [await here.closed("plain") for _ in range(6)]
        monkeypatch.setattr(deleting, "BATCH_EVENTS", 2 * events + 1)
        here.ahead_us = 4 * DAY_US
        assert await here.sweep() == [7]
        assert here.store.deletions[2:] == [2, 2, 2, 1]
        monkeypatch.setattr(deleting, "BATCH_EVENTS", 1)
        alone = await here.closed("plain")
        here.ahead_us = 6 * DAY_US
        assert await here.sweep() == [1]
        assert len({*handles, large, *more, alone}) == 138
        assert await here.left() == set()


@pytest.mark.asyncio
async def test_the_sweeper_goes_on_by_itself_also_after_the_disk_failed(tmp_path: Path) -> None:
    async with world(tmp_path / "holdfast.db") as here:
        await here.register("plain")
        handles = [await here.closed("plain") for _ in range(3)]
        here.ahead_us = 2 * DAY_US
        gone: set[str] = set()
        async with aclosing(here.client.runs.watch(run_filter(workflow="plain"))) as changes:  # type: ignore[type-var]
            async for change in changes:
                if change.live:
                    break
            here.store.broken = True
            sweeper = Retention(here.runtime, DAY_US, look_every_s=0.01)
            sweeper.start()
            await here.store.tried_to_delete(2)
            here.store.broken = False
            async for change in changes:
                gone |= set(change.deleted_run_ids)
                if len(gone) == len(handles):
                    break
            late = await here.closed("plain")
            async for change in changes:
                if late.run_id in [run.run_id for run in change.runs]:
                    break
            here.ahead_us = 4 * DAY_US
            async for change in changes:
                if late.run_id in change.deleted_run_ids:
                    break
            await sweeper.stop()
        assert gone == {handle.run_id for handle in handles}
        assert await here.left() == set()


@pytest.mark.asyncio
async def test_a_server_deletes_what_is_old_at_its_start(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    async with ServerProcess(database) as server, Client(server.target) as client:
        workflow = Workflow("plain")
        workflow.compute("only", 1)
        await client.register(workflow)
        handle = await client.start("plain")
        await handle.outcome()
    log = tmp_path / "server.log"
    async with (
        ServerProcess(database, arguments=("--retention", "1ms"), log=log) as server,
        Client(server.target) as client,
    ):
        async with aclosing(client.runs.watch()) as changes:  # type: ignore[type-var]
            shown: set[str] = set()
            async for change in changes:
                shown |= {run.run_id for run in change.runs}
                shown -= set(change.deleted_run_ids)
                if change.live and handle.run_id not in shown:
                    break
        with pytest.raises(RunNotFoundError):
            await client.handle(handle.run_id).get()
