"""What may be opened and what not, each refusal with its own error."""

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_server.store.port import Commit, HistoryRow, StoreCorruptError, StoreError, StoreTooNewError
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.migrations import MIGRATIONS
from tests.store.rows import new_run, started

NOBODY = 65_534


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "holdfast.db"


@pytest.fixture
def without_privileges(tmp_path: Path) -> Iterator[None]:
    """Modes of files do not bind root: be somebody else."""
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    opened = []
    for folder in (tmp_path, *tmp_path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH | stat.S_IXGRP)
            opened.append((folder, mode))
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    for folder, mode in opened:
        folder.chmod(mode)


def _damage(database: Path, query: str) -> None:
    """Overwrite one page, the number of which a query tells."""
    connection = sqlite3.connect(database)
    (page,) = connection.execute(query).fetchone()
    connection.close()
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def _cut(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _move(path: Path, to: Path) -> None:
    path.replace(to)


def _set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def _make(database: Path) -> None:
    store = SqliteStore(str(database))
    await store.open()
    await store.commit(started(*(new_run(key) for key in range(1, 1001))))
    await store.commit(Commit(history=[HistoryRow(key, 2, 1, b"x" * 500) for key in range(1, 1001)]))
    await store.close()


def _change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.asyncio
async def test_a_new_file_is_for_its_owner_only(database: Path) -> None:
    store = SqliteStore(str(database))
    await store.open()
    await store.commit(started(new_run(1)))

    modes = _modes(database.parent)
    await store.close()

    names = {"holdfast.db", "holdfast.db-wal", "holdfast.db-shm", "holdfast.db.lock"}
    assert modes == dict.fromkeys(names, 0o600)
    # Closing leaves one file that can be copied, and the empty lock.
    assert set(_modes(database.parent)) == {"holdfast.db", "holdfast.db.lock"}


@pytest.mark.asyncio
async def test_an_empty_file_is_a_new_database(database: Path) -> None:
    _write(database, b"")
    store = SqliteStore(str(database))
    await store.open()
    assert store.schema_version == len(MIGRATIONS)
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["with space.db", "50%.db", "a?mode=ro.db", "a#b.db", "ü.db", "file:x.db"])
async def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    store = SqliteStore(str(tmp_path / name))
    await store.open()
    await store.commit(started(new_run(1)))
    await store.close()

    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.asyncio
async def test_a_newer_database_is_refused_and_left_alone(database: Path) -> None:
    await _make(database)
    newer = len(MIGRATIONS) + 1
    _change(database, f"PRAGMA user_version = {newer}")
    before = _read(database)

    with pytest.raises(StoreTooNewError) as caught:
        await SqliteStore(str(database)).open()

    assert (caught.value.found, caught.value.known) == (newer, len(MIGRATIONS))
    assert _read(database) == before


@pytest.mark.asyncio
async def test_a_database_of_something_else_is_refused_and_left_alone(database: Path) -> None:
    _change(database, "CREATE TABLE songs (title)")
    before = _read(database)

    with pytest.raises(StoreCorruptError, match="another application"):
        await SqliteStore(str(database)).open()

    assert _read(database) == before


@pytest.mark.asyncio
async def test_a_file_that_is_no_database(database: Path) -> None:
    _write(database, b"Dear diary, " * 1000)

    with pytest.raises(StoreCorruptError, match="not a database"):
        await SqliteStore(str(database)).open()


@pytest.mark.asyncio
async def test_a_file_that_was_cut_off(database: Path) -> None:
    await _make(database)
    _cut(database)

    with pytest.raises(StoreCorruptError, match="damaged"):
        await SqliteStore(str(database)).open()


@pytest.mark.asyncio
async def test_a_damaged_end_of_the_history(database: Path) -> None:
    await _make(database)
    _damage(database, "SELECT max(pageno) FROM dbstat WHERE name = 'history'")

    with pytest.raises(StoreCorruptError, match="damaged"):
        await SqliteStore(str(database)).open()


@pytest.mark.asyncio
async def test_a_history_without_its_run(database: Path) -> None:
    await _make(database)
    _change(database, "DELETE FROM runs WHERE key = 1000")

    with pytest.raises(StoreCorruptError, match="event 2 of run 1000"):
        await SqliteStore(str(database)).open()


@pytest.mark.asyncio
async def test_damage_met_later_is_reported_as_such(database: Path) -> None:
    await _make(database)
    _damage(database, "SELECT min(pageno) FROM dbstat WHERE name = 'history' AND pagetype = 'leaf'")
    store = SqliteStore(str(database))
    await store.open()

    with pytest.raises(StoreCorruptError, match="damaged"):
        await store.history(1)
    assert len(await store.history(900)) == 2  # the rest can still be read
    await store.close()


@pytest.mark.asyncio
async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs a folder that exists"):
        await SqliteStore(str(tmp_path / "nowhere" / "holdfast.db")).open()


@pytest.mark.asyncio
async def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await SqliteStore(str(tmp_path)).open()


@pytest.mark.asyncio
@pytest.mark.usefixtures("without_privileges")
async def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    _set_mode(tmp_path, 0o500)

    with pytest.raises(StoreError, match=r"Permission denied.*may write to"):
        await SqliteStore(str(tmp_path / "holdfast.db")).open()
    _set_mode(tmp_path, 0o700)


@pytest.mark.asyncio
async def test_a_file_that_may_not_be_written(database: Path, request: pytest.FixtureRequest) -> None:
    await _make(database)
    request.getfixturevalue("without_privileges")
    _set_mode(database, 0o400)

    with pytest.raises(StoreError, match="cannot be written; make the file and its folder writable"):
        await SqliteStore(str(database)).open()


@pytest.mark.asyncio
async def test_a_file_that_vanishes_does_not_come_back_empty(database: Path) -> None:
    store = SqliteStore(str(database))
    await store.open()
    await store.commit(started(new_run(1)))
    elsewhere = database.with_name("elsewhere.db")
    _move(database, elsewhere)

    await store._connections.writer.call(lambda connection: connection.close())
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.commit(started(new_run(2)))
    assert "holdfast.db" not in _modes(database.parent)

    _write(database, b"")
    with pytest.raises(StoreError, match="was replaced while it was open"):
        await store.commit(started(new_run(2)))

    _move(elsewhere, database)
    await store.commit(started(new_run(2)))
    assert await store.last_run_key() == 2
    await store.close()
