"""A disk that is full or fails: a typed error, and the store goes on when the disk does."""

import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from holdfast_server.store.port import Commit, Deletion, HistoryRow, PayloadRow, StoreError
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import find_driver
from tests.store.rows import new_run, started, update

if sys.platform == "win32":
    pytest.skip("limits of a process are a matter of POSIX", allow_module_level=True)

import resource


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "holdfast.db"))
    await store.open()
    yield store
    await store.close()


def _large(first_seq: int) -> Commit:
    return Commit(history=[HistoryRow(1, first_seq, 1, bytes(1_000_000))])


async def _limit_pages(store: SqliteStore, more: int | None) -> None:
    def limit(connection: sqlite3.Connection) -> None:
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {2**32 - 2 if more is None else count + more}").fetchall()

    await store._connections.writer.call(limit)


@pytest.mark.asyncio
async def test_a_full_disk(store: SqliteStore) -> None:
    await store.commit(started(new_run(1)))
    await _limit_pages(store, 20)

    with pytest.raises(StoreError, match="no room left on the disk"):
        await store.commit(Commit(new_runs=[new_run(2)], history=_large(2).history))
    assert [row.key for row in await store.hot_runs()] == [1]

    await _limit_pages(store, None)
    await store.commit(Commit(new_runs=[new_run(2)], history=_large(2).history))
    assert [row.key for row in await store.hot_runs()] == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("also_starts", [False, True], ids=["one statement", "a transaction"])
async def test_a_disk_that_refuses_to_write(store: SqliteStore, tmp_path: Path, also_starts: bool) -> None:
    await store.commit(started(new_run(1)))
    commit = _large(2)
    if also_starts:
        commit.new_runs = [new_run(2)]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Writes beyond this size fail, as they do on a disk with a fault.
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "holdfast.db-wal").stat().st_size, old[1]))
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match="the disk refused"):
                await store.commit(commit)
            with pytest.raises(StoreError, match="the disk refused"):
                await store.probe()
            assert len(await store.history(1)) == 1  # reading goes on
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)

    await store.probe()
    await store.commit(commit)
    assert len(await store.history(1)) == 2
    assert await store.last_run_key() == (2 if also_starts else 1)


@pytest.mark.asyncio
async def test_a_deletion_that_the_disk_refuses_deletes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    payload = PayloadRow(b"h" * 32, b"payload", 1)
    await store.commit(Commit(new_runs=[new_run(1)], history=_large(1).history, payloads=[payload]))
    await store.commit(Commit(updates=[update(1)]))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "holdfast.db-wal").stat().st_size, old[1]))
    try:
        with pytest.raises(StoreError, match="the disk refused"):
            await store.delete_runs([Deletion(1, 5)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)

    assert await store.run_by_key(1) is not None
    assert len(await store.history(1)) == 1
    assert await store.payloads([payload.sha256]) == {payload.sha256: payload.blob}
    assert await store.deleted_runs("default", ["run-1"]) == []
    await store.delete_runs([Deletion(1, 6)])
    assert await store.payloads([payload.sha256]) == {}


@pytest.mark.asyncio
async def test_a_connection_that_is_gone_is_opened_again(store: SqliteStore) -> None:
    await store.commit(started(new_run(1)))

    def break_it(connection: sqlite3.Connection) -> None:
        connection.close()

    await store._connections.writer.call(break_it)
    with pytest.raises(StoreError):
        await store.commit(started(new_run(2)))
    await store.commit(started(new_run(2)))

    assert await store.last_run_key() == 2


@pytest.mark.asyncio
async def test_a_database_that_another_program_locks(store: SqliteStore, tmp_path: Path) -> None:
    await store._connections.writer.call(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
    # The same library: two in one process do not see each other's locks.
    other = find_driver().module.connect(str(tmp_path / "holdfast.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="locked by another program"):
        await store.commit(started(new_run(1)))

    other.execute("ROLLBACK")
    other.close()
    await store.commit(started(new_run(1)))
    assert await store.last_run_key() == 1
