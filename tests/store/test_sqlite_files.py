"""Files that are taken away from an open store: it notices with the next commit, and goes on when they are back."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite import SqliteStore
from tests.store.conftest import one_connection_driver
from tests.store.rows import new_run, started

if sys.platform == "win32":
    pytest.skip("open files cannot be taken away", allow_module_level=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "holdfast.db"


@pytest_asyncio.fixture(params=[True, False], ids=["several connections", "one connection"])
async def store(request: pytest.FixtureRequest, database: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(database), driver=None if request.param else one_connection_driver())
    await store.open()
    await store.commit(started(new_run(1)))
    yield store
    await store.close()


def _move(path: Path, name: str) -> Path:
    return path.replace(path.with_name(name))


@pytest.mark.asyncio
async def test_a_database_that_was_moved_away_and_back(store: SqliteStore, database: Path) -> None:
    moved = _move(database, "moved.db")
    with pytest.raises(StoreError, match="was removed or moved while it was open; put it back"):
        await store.commit(started(new_run(2)))
    with pytest.raises(StoreError, match="was removed or moved while it was open"):
        await store.probe()
    assert len(await store.history(1)) == 1  # reading goes on

    _move(moved, "holdfast.db")
    await store.probe()
    await store.commit(started(new_run(3)))
    assert await store.last_run_key() == 3


@pytest.mark.asyncio
async def test_a_database_that_was_replaced(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    shutil.copy(database, other)
    moved = _move(database, "moved.db")
    _move(other, "holdfast.db")

    with pytest.raises(StoreError, match="was replaced while it was open; put it back or restart"):
        await store.commit(started(new_run(2)))
    with pytest.raises(StoreError, match="was replaced"):
        await store.probe()

    _move(moved, "holdfast.db")
    await store.probe()


@pytest.mark.asyncio
async def test_a_log_that_was_removed(store: SqliteStore, database: Path) -> None:
    """Nothing can bring it back, but a store that is closed in good order needs it no more."""
    _move(database.with_name("holdfast.db-wal"), "gone")

    with pytest.raises(StoreError, match=r"holdfast.db-wal was removed while it was open; .* stop the server"):
        await store.commit(started(new_run(2)))
    with pytest.raises(StoreError, match="was removed"):
        await store.probe()
    await store.close()

    again = SqliteStore(str(database))
    await again.open()
    assert len(await again.history(1)) == 1
    await again.commit(started(new_run(3)))
    await again.close()
