"""The write-ahead log stays short under load, and starts over without getting in the way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from holdfast_server.store.port import Commit, HistoryRow
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.connection import WAL_KEPT_BYTES
from holdfast_server.store.sqlite.driver import find_driver
from tests.store.conftest import one_connection_driver
from tests.store.rows import new_run, started

MIB = 1024 * 1024


@pytest_asyncio.fixture(params=[True, False], ids=["several connections", "one connection"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    driver = None if request.param else one_connection_driver()
    store = SqliteStore(str(tmp_path / "holdfast.db"), driver=driver)
    await store.open()
    await store.commit(started(new_run(1)))
    yield store
    await store.close()


async def _write(store: SqliteStore, groups: int, first_seq: int = 2) -> None:
    for group in range(groups):
        rows = [HistoryRow(1, first_seq + group * 100 + index, 1, bytes(10_000)) for index in range(100)]
        await store.commit(Commit(history=rows))


@pytest.mark.asyncio
async def test_the_log_is_bounded_under_load(store: SqliteStore, tmp_path: Path) -> None:
    log = tmp_path / "holdfast.db-wal"
    largest = 0
    for group in range(0, 200, 10):
        await _write(store, 10, 2 + group * 100)
        largest = max(largest, log.stat().st_size)

    # 200 MB went through it; what comes in during a checkpoint is on top of the limit.
    assert largest <= 2 * WAL_KEPT_BYTES
    assert len(await store.history(1)) == 20_001


@pytest.mark.asyncio
async def test_a_reader_in_the_way_delays_but_does_not_stop_it(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "holdfast.db"))
    await store.open()
    await store.commit(started(new_run(1)))
    # The same library: two in one process do not see each other's locks.
    reader = find_driver().module.connect(str(tmp_path / "holdfast.db"), isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM history").fetchone() == (1,)

    await _write(store, 80)
    assert (tmp_path / "holdfast.db-wal").stat().st_size > 64 * MIB  # what the reader may still need
    reader.execute("ROLLBACK")
    reader.close()

    checkpointer = store._connections.checkpointer
    assert checkpointer is not None
    await _write(store, 80, 9_000)
    assert (tmp_path / "holdfast.db-wal").stat().st_size < 128 * MIB
    await store.close()


@pytest.mark.asyncio
async def test_commits_go_on_beside_checkpoints(store: SqliteStore) -> None:
    async def write(run: int) -> None:
        for seq in range(2, 42):
            await store.commit(Commit(history=[HistoryRow(run, seq, 1, bytes(100_000))]))

    await store.commit(started(*(new_run(key) for key in range(2, 12))))
    async with asyncio.TaskGroup() as group:
        for key in range(2, 12):
            group.create_task(write(key))

    for key in range(2, 12):
        assert [row.first_seq for row in await store.history(key)] == list(range(1, 42))
