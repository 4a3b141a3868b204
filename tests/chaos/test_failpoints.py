"""A server that is told to die at a place dies there, and what it had acknowledged, or not, is as the place says."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.errors import RunNotFoundError
from holdfast.testing.processes import ProcessError, ServerProcess
from holdfast_server.failpoints import PLACES, Failpoint
from tests.chaos.cluster import WITNESS, died

WITHIN_S = 60.0
MIB = 1024 * 1024


@asynccontextmanager
async def dying(folder: Path, failpoint: str, *arguments: str) -> AsyncIterator[tuple[ServerProcess, Client]]:
    """A server that dies at a place, and a client that gives up soon; the first change registers a workflow."""
    environment = {"HOLDFAST_FAILPOINT": failpoint}
    server = ServerProcess(folder / "holdfast.db", environment=environment, arguments=arguments)
    async with server, Client(server.target, timeout_s=1.0) as client:
        await client.register(WITNESS)
        yield server, client


async def dead(server: ServerProcess) -> None:
    """The server has killed itself."""
    assert await died(server.pid, WITHIN_S)
    assert server.kill() == -signal.SIGKILL


async def back(server: ServerProcess) -> None:
    """The server lives again, and will die no more."""
    server._environment["HOLDFAST_FAILPOINT"] = ""
    await asyncio.to_thread(server.start)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("place", "there"), [("before_commit", False), ("after_commit", True), ("answer", True), ("during_commit", None)]
)
async def test_a_start_is_on_disk_or_not_as_the_place_says(tmp_path: Path, place: str, there: bool | None) -> None:
    async with dying(tmp_path, f"{place}:2") as (server, client):
        starting = asyncio.create_task(client.start("witness", run_id="one", request_id="once"))
        await dead(server)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await back(server)
        async with Client(server.target) as later:
            try:
                await later.handle("one").get()
                found = True
            except RunNotFoundError:
                found = False
            assert found == there or there is None
            assert (await later.start("witness", run_id="one", request_id="once")).run_id == "one"
            await later.handle("one").signal("end")
            await later.handle("one").result()


@pytest.mark.asyncio
async def test_a_recovery_that_is_killed_is_made_again(tmp_path: Path) -> None:
    async with dying(tmp_path, "") as (server, client):
        handle = await client.start("witness")
        server.kill()
        server._environment["HOLDFAST_FAILPOINT"] = "recovery"
        with pytest.raises(ProcessError, match="exit code -9"):
            await asyncio.to_thread(server.start)
        await back(server)
        await handle.signal("end")
        await handle.result()


@pytest.mark.asyncio
@pytest.mark.parametrize("times", [1, 2])
async def test_a_run_that_was_leaving_the_memory_is_there_after_the_kill(tmp_path: Path, times: int) -> None:
    async with dying(tmp_path, f"eviction:{times}", "--hot-runs", "1", "--evict-after-s", "1") as (server, client):
        starts = [asyncio.create_task(client.start("witness", run_id=f"run-{number}")) for number in range(5)]
        await dead(server)
        await back(server)
        await asyncio.gather(*starts, return_exceptions=True)
        async with Client(server.target) as later:
            runs = [run async for run in later.runs.list()]
            for run in runs:
                await later.handle(run.run_id).signal("end")
                await later.handle(run.run_id).result()
            accepted = [start for start in starts if start.exception() is None]
            assert len(runs) >= len(accepted)


@pytest.mark.asyncio
async def test_a_checkpoint_that_is_killed_harms_nothing(tmp_path: Path) -> None:
    async with dying(tmp_path, "checkpoint") as (server, client):
        texts = [str(number) * (3 * MIB) for number in range(8)]
        starts = [asyncio.create_task(client.start("witness", text, run_id=f"run-{text[0]}")) for text in texts]
        await dead(server)
        ended = await asyncio.gather(*starts, return_exceptions=True)
        await back(server)
        async with Client(server.target) as later:
            for text, end in zip(texts, ended, strict=True):
                if not isinstance(end, BaseException):
                    run = await later.handle(f"run-{text[0]}").get()
                    assert run.input.data.decode() == f'"{text}"'


def test_only_places_that_exist_are_taken() -> None:
    for place in PLACES:
        assert Failpoint(f"{place}:3").place == place
    for wrong in ("nowhere", "answer:0", "answer:x", "answer:"):
        with pytest.raises(ValueError, match=wrong.partition(":")[0]):
            Failpoint(wrong)
