"""Runs on their way out of the memory when the disk fails, when something happens to them, and over restarts."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client
from holdfast_server.clock import Clocks, SystemClock
from holdfast_server.store.port import Commit, StoreConflictError, StoreError
from holdfast_server.testing import LocalServer
from tests.integration.faulty import FaultyStore, running
from tests.integration.following import bodies

HOLD = """
name: hold
steps:
  - {name: first, wait: {signal: go}}
  - {name: second, after: [{step: first}], wait: {signal: go}}
output: ["${steps.first.output}", "${steps.second.output}"]
"""
NAP = "{name: nap, steps: [{name: s, sleep: {for: 1h}}, {name: t, after: [{step: s}], sleep: {for: 1h}}], output: woke}"
HOUR_US = 3_600_000_000
SOON: dict[str, Any] = {"hot_runs": 1, "evict_after_s": 1.0}


async def until_hot(client: Client, fits: Callable[[int], bool]) -> None:
    """Waits until as many runs are in memory; the test's limit ends what never comes."""
    while not fits((await client.operations.server_info()).hot_runs):
        pass


async def out(client: Client) -> None:
    """Waits until no run is in memory."""
    await until_hot(client, lambda hot: hot == 0)


def evictions(store: FaultyStore, act: Callable[[], None]) -> asyncio.Event:
    """Does something with the next commit that has an eviction; the event says that it came."""
    came = asyncio.Event()

    def look(commit: Commit) -> None:
        if commit.evictions and not came.is_set():
            came.set()
            act()

    store.refuse = look
    return came


def fail(error: type[StoreError]) -> Callable[[], None]:
    def act() -> None:
        raise error("told to")

    return act


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [StoreError, StoreConflictError])
async def test_an_eviction_that_fails_comes_again(tmp_path: Path, error: type[StoreError]) -> None:
    async with running(tmp_path / "holdfast.db", **SOON) as (store, client):
        await client.register(HOLD)
        came = evictions(store, fail(error))
        handle = await client.start("hold")
        await came.wait()
        await out(client)
        await handle.signal("go", 1)
        await out(client)
        await handle.signal("go", 2)

        assert await handle.result() == [1, 2]


@pytest.mark.asyncio
async def test_an_eviction_whose_answer_is_lost_keeps_nothing_back(tmp_path: Path) -> None:
    async with running(tmp_path / "holdfast.db", **SOON) as (store, client):
        await client.register(HOLD)

        def forget() -> None:
            store.forgetful = True

        came = evictions(store, forget)
        handle = await client.start("hold")
        await came.wait()
        store.forgetful = False
        for value in (1, 2):
            await handle.signal("go", value)
            if value == 1:
                await out(client)

        assert await handle.result() == [1, 2]
        assert (await client.operations.server_info()).open_runs == 0


@pytest.mark.asyncio
async def test_what_happens_while_a_run_leaves_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    async with running(path, **SOON) as (store, client):
        await client.register(HOLD)
        came = evictions(store, store.gate.clear)
        handle = await client.start("hold")
        await came.wait()  # it holds up the commit after it: the eviction itself goes through
        signalled = asyncio.create_task(handle.signal("go", 1))
        await until_hot(client, lambda hot: hot == 1)
        store.gate.set()
        await signalled
        assert await bodies(handle) == [
            "run_started",
            "wait_opened",
            "signal_received",
            "wait_matched",
            "step_succeeded",
            "wait_opened",
        ]

    async with running(path, **SOON) as (_store, client):
        handle = client.handle(handle.run_id)
        await handle.signal("go", 2)
        assert await handle.result() == [1, 2]


@pytest.mark.asyncio
async def test_timers_of_runs_that_are_out_wake_them_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    late_us = 0
    clock = SystemClock(lambda: time.time_ns() // 1_000 + late_us)
    clocks = Clocks(clock, clock, clock)

    async with running(path, clocks, **SOON) as (_store, client):
        await client.register(NAP)
        handles = [await client.start("nap") for _ in range(3)]
        await out(client)

    late_us = HOUR_US + 60_000_000
    async with running(path, clocks, **SOON) as (_store, client):
        handles = [client.handle(handle.run_id) for handle in handles]
        await out(client)
        for handle in handles:
            assert [one for one in await bodies(handle) if one == "timer_started"] == ["timer_started"] * 2

    late_us = 2 * HOUR_US + 120_000_000
    async with running(path, clocks, **SOON) as (_store, client):
        assert [await client.handle(handle.run_id).result() for handle in handles] == ["woke"] * 3


@pytest.mark.asyncio
async def test_timers_of_runs_that_are_out_wake_them_in_time() -> None:
    async with LocalServer(settings=SOON, auto_skip=False) as server:
        client = server.client
        await client.register(NAP)
        handles = [await client.start("nap") for _ in range(5)]
        due = server.now() + timedelta(hours=1)
        await out(client)
        assert server.next_due() == due, "one timer stands for all"
        await server.skip_to(due - timedelta(seconds=1))
        assert (await client.operations.server_info()).hot_runs == 0
        await server.skip(seconds=1)
        for handle in handles:
            assert (await bodies(handle)).count("timer_started") == 2
        await out(client)
        await server.skip(hours=1)

        assert [await handle.result() for handle in handles] == ["woke"] * 5
