"""A disk that is really full, and one that may only be read: under a server that runs, and at its start."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.errors import UnavailableError
from holdfast.testing.processes import ProcessError, ServerProcess
from holdfast.v1.operations_service_pb2 import HealthState
from tests.integration.following import bodies
from tests.integration.tiny_disk import TinyDisk, tiny_disk

HOLD = "{name: hold, steps: [{name: hold, wait: {signal: go}}], output: '${steps.hold.output}'}"
LARGE = "x" * 100_000


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyDisk]:
    """A disk of 2 MiB, which servers started meanwhile see."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with tiny_disk(folder, 2_048) as disk:
        monkeypatch.setattr(sys, "executable", str(disk.program(tmp_path / "python")))
        yield disk


async def start_for_ever(client: Client, accepted: list[RunHandle]) -> None:
    """Starts large runs until one is refused."""
    while True:
        accepted.append(await client.start("hold", LARGE + str(len(accepted))))


@pytest.mark.asyncio
async def test_a_disk_that_fills_up(disk: TinyDisk) -> None:
    async with ServerProcess(disk.folder / "holdfast.db") as server, Client(server.target, timeout_s=0.5) as client:
        await client.register(HOLD)
        accepted: list[RunHandle] = []
        with pytest.raises(UnavailableError) as caught:
            await start_for_ever(client, accepted)
        assert "no room left on the disk" in str(caught.value)
        assert accepted
        for handle in accepted:
            assert await bodies(handle) == ["run_started", "wait_opened"]
        # What is small may still fit into the log, also after what is large did not.
        assert "Traceback" not in server.log_tail()


@pytest.mark.asyncio
async def test_a_disk_that_is_filled_by_others(disk: TinyDisk) -> None:
    async with ServerProcess(disk.folder / "holdfast.db") as server, Client(server.target, timeout_s=0.5) as client:
        await client.register(HOLD)
        handle = await client.start("hold")
        disk.fill()
        with pytest.raises(UnavailableError):
            await start_for_ever(client, [])
        server.kill()
        with pytest.raises(ProcessError, match=r"no room left on the disk of .*; free some"):
            server.start()
        disk.free()
        server.start()
        async with Client(server.target) as patient:
            await patient.handle(handle.run_id).signal("go", 1)
            assert await patient.handle(handle.run_id).result() == 1


@pytest.mark.asyncio
async def test_a_full_disk_has_no_room_for_a_new_database(disk: TinyDisk) -> None:
    disk.fill()
    server = ServerProcess(disk.folder / "holdfast.db")
    with pytest.raises(ProcessError, match=r"(?s)exit code 1.*no room left on the disk of .*; free some"):
        server.start()
    disk.free()
    async with server, Client(server.target) as client:
        await client.register(HOLD)


@pytest.mark.asyncio
async def test_a_file_system_that_may_only_be_read(disk: TinyDisk) -> None:
    server = ServerProcess(disk.folder / "holdfast.db")
    async with server, Client(server.target) as client:
        await client.register(HOLD)
        handle = await client.start("hold")
    disk.make_read_only()
    server = ServerProcess(disk.folder / "holdfast.db")
    with pytest.raises(ProcessError, match=r"(?s)exit code 1.*Read-only file system.*may write to"):
        server.start()
    disk.make_writable()
    async with server, Client(server.target) as client:
        await client.handle(handle.run_id).signal("go", 1)
        assert await client.handle(handle.run_id).result() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["", "-wal"])
async def test_files_that_are_taken_away(tmp_path: Path, end: str) -> None:
    """What was accepted before is there afterwards."""
    database = tmp_path / "holdfast.db"
    taken = database.with_name(f"{database.name}{end}")
    server = ServerProcess(database)
    async with server, Client(server.target, timeout_s=0.5) as client:
        await client.register(HOLD)
        handle = await client.start("hold")
        hidden = taken.rename(tmp_path / "elsewhere")
        with pytest.raises(UnavailableError) as caught:
            await client.start("hold")
        assert "while it was open; put it back" in str(caught.value)
        info = await client.operations.server_info()
        assert info.health == HealthState.HEALTH_STATE_READ_ONLY
        assert await bodies(handle) == ["run_started", "wait_opened"]
        hidden.rename(taken)
        async with Client(server.target) as patient:
            await patient.handle(handle.run_id).signal("go", 1)
            assert await patient.handle(handle.run_id).result() == 1
