"""What outlives a process that is killed, and what does not: commits do, the lock does not."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast_server.store.port import StoreError, StoreLockedError
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import find_driver
from holdfast_server.store.sqlite.inspection import inspecting
from tests.architecture.tree import ROOT

Start = Callable[[Path, str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `tests.store.child`; whatever still runs is killed after the test."""
    children: list[subprocess.Popen[str]] = []

    def run(database: Path, command: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.store.child", str(database), command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def _line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.asyncio
async def test_a_second_process_is_told_who_has_the_database(start: Start, tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    owner = start(database, "hold")
    assert _line(owner) == "open"
    store = SqliteStore(str(database))

    with pytest.raises(StoreLockedError, match=rf"in use by pid {owner.pid} on \S+ since \d{{4}}-") as caught:
        await store.open()
    assert caught.value.location == str(database)

    owner.kill()
    owner.wait()
    await store.open()
    assert await store.next_server_epoch() == 1
    await store.close()


@pytest.mark.asyncio
async def test_a_second_store_of_the_same_process_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    link = tmp_path / "link.db"
    link.symlink_to(database)
    first, second = SqliteStore(str(database), clock_us=lambda: 0), SqliteStore(str(link))
    await first.open()

    with pytest.raises(StoreLockedError, match="since 1970-01-01T00:00:00"):
        await second.open()
    # The refused one has not taken the lock away.
    with pytest.raises(StoreLockedError):
        await SqliteStore(str(database)).open()

    await first.close()
    await second.open()
    await second.close()


@pytest.mark.asyncio
async def test_a_failed_start_gives_the_lock_back(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    database.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError):
        await SqliteStore(str(database)).open()

    database.unlink()
    store = SqliteStore(str(database))
    await store.open()
    await store.close()


@pytest.mark.asyncio
async def test_what_was_committed_is_there_after_a_kill(start: Start, tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"
    child = start(database, "commit-and-die")
    assert _line(child) == "100"
    child.wait()
    assert child.returncode < 0

    store = SqliteStore(str(database))
    await store.open()
    assert len(await store.hot_runs()) == 100
    for key in (1, 50, 100):
        assert [row.first_seq for row in await store.history(key)] == [1, 2]
    await store.close()


@pytest.mark.asyncio
async def test_kills_in_the_middle_of_commits_lose_nothing_that_was_said(start: Start, tmp_path: Path) -> None:
    for round_ in range(5):
        database = tmp_path / f"{round_}.db"
        child = start(database, "commit-forever")
        for _ in range(20 * round_ + 1):
            said = int(_line(child))
        child.kill()
        rest, _ = child.communicate()
        said = max([said, *(int(line) for line in rest.splitlines())])

        store = SqliteStore(str(database))
        await store.open()
        keys = {row.key for row in await store.hot_runs()}
        assert keys >= set(range(1, said + 1))
        assert all((key in keys) == (key + 1_000_000 in keys) for key in range(1, said + 2))
        await store.close()


def test_a_store_that_nobody_closed_does_not_hold_up_the_end(start: Start, tmp_path: Path) -> None:
    child = start(tmp_path / "holdfast.db", "end-without-closing")

    output, _ = child.communicate(timeout=30)

    assert output == "committed\n"
    assert child.returncode == 0


@pytest.mark.asyncio
async def test_a_kill_between_deletions_leaves_nothing_behind_and_nothing_dangling(
    start: Start, tmp_path: Path
) -> None:
    database = tmp_path / "holdfast.db"
    child = start(database, "delete-forever")
    for _ in range(50):
        last = int(_line(child))
    child.kill()
    child.wait()
    with inspecting(database, find_driver()) as inspection:
        there = {row.key for row in inspection.runs(0, 10_000)}
        gone = inspection.deleted_count()
        assert there == set(range(gone + 1, 2_001))
        assert gone >= last
        assert (inspection.orphans(), inspection.deleted_and_there(), inspection.structure()) == ([], [], [])
        payloads = inspection.payloads(0, 10_000)
        assert all(one.used for one in payloads)
        assert {int.from_bytes(one.sha256, "big") for one in payloads} == {*there, *(key // 5 for key in there)}
        for key in (gone + 1, 2_000):
            with inspection.run(key) as found:
                assert found is not None
                assert found[0].missing == 0
                assert len(found[0].payloads) == 2
