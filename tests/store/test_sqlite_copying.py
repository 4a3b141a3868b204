"""Copies of a database: whole, of one moment, without a log, and never mixed with what was there before."""

import asyncio
import shutil
import stat
from pathlib import Path

import pytest

from holdfast_server.store.port import (
    Commit,
    Deletion,
    HistoryRow,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreTooNewError,
)
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.copying import (
    begin_anew,
    copy_pages,
    only_reading,
    put_in_place,
    rewrite,
    scratch_copy,
    settle,
)
from holdfast_server.store.sqlite.driver import find_driver
from holdfast_server.store.sqlite.inspection import inspecting
from tests.store.rows import new_run, started, update

DRIVER = find_driver()
BLOB = b"x" * 3_000


def _ignore(_done: int, _total: int) -> None:
    """Nobody looks."""


async def _filled(path: Path, *keys: int) -> SqliteStore:
    store = SqliteStore(str(path))
    await store.open()
    await store.commit(started(*(new_run(key) for key in keys)))
    await store.commit(Commit(history=[HistoryRow(key, 2, 1, BLOB) for key in keys]))
    return store


async def _keys(path: Path) -> list[int]:
    store = SqliteStore(str(path))
    await store.open()
    try:
        return [row.key for row in await store.hot_runs()]
    finally:
        await store.close()


def _files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.asyncio
@pytest.mark.parametrize("paced", [True, False])
async def test_a_copy_has_what_is_committed_though_it_is_in_the_log_only(tmp_path: Path, paced: bool) -> None:
    source, target = tmp_path / "holdfast.db", tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    store = await _filled(source, *range(1, 3_001))
    seen: list[tuple[int, int]] = []
    with scratch_copy(target, "backup") as scratch:
        copy_pages(source, scratch, DRIVER, lambda done, total: seen.append((done, total)), paced=paced)
        assert not target.exists()
        put_in_place(scratch, target)
    await store.commit(started(new_run(9_000)))
    await store.close()

    assert _files(target.parent) == {"copy.db"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (target.stat().st_size, target.stat().st_size)
    with only_reading(target, DRIVER) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert _files(target.parent) == {"copy.db"}
    assert await _keys(target) == [*range(1, 3_001)]


@pytest.mark.asyncio
async def test_a_copy_is_of_one_moment_while_commits_go_on(tmp_path: Path) -> None:
    source, target = tmp_path / "holdfast.db", tmp_path / "copy.db"
    store = await _filled(source, *range(1, 3_001))
    pieces = 0
    loop = asyncio.get_running_loop()

    def commit_meanwhile(_done: int, _total: int) -> None:
        nonlocal pieces
        pieces += 1
        keys = range(pieces * 10_000, pieces * 10_000 + 200)
        commit = started(*(new_run(key) for key in keys))
        asyncio.run_coroutine_threadsafe(store.commit(commit), loop).result()

    with scratch_copy(target, "backup") as scratch:
        await asyncio.to_thread(copy_pages, source, scratch, DRIVER, commit_meanwhile, paced=False)
        put_in_place(scratch, target)
    await store.close()

    assert pieces > 2
    assert await _keys(target) == [*range(1, 3_001)]
    assert len(await _keys(source)) == 3_000 + pieces * 200


@pytest.mark.asyncio
async def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "holdfast.db", tmp_path / "copy.db"
    await (await _filled(source, *range(1, 3_001))).close()

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), scratch_copy(target, "backup") as scratch:
        copy_pages(source, scratch, DRIVER, interrupt, paced=False)

    assert _files(tmp_path) <= {"holdfast.db", "holdfast.db.lock", "holdfast.db-wal", "holdfast.db-shm"}
    assert await _keys(source) == [*range(1, 3_001)]


@pytest.mark.asyncio
async def test_the_log_of_what_was_there_does_not_get_into_what_takes_its_place(tmp_path: Path) -> None:
    path, backup = tmp_path / "holdfast.db", tmp_path / "backup.db"
    await (await _filled(backup, 1, 2)).close()
    store = await _filled(path, *range(1, 501))
    # As a kill leaves it: much is in the log only.
    for name in ("holdfast.db", "holdfast.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"killed-{name}")
    await store.close()
    for name in ("holdfast.db", "holdfast.db-wal"):
        shutil.move(tmp_path / f"killed-{name}", tmp_path / name)
    assert (tmp_path / "holdfast.db-wal").stat().st_size > 100_000

    settle(path, DRIVER)
    assert await _keys(path) == [*range(1, 501)]  # on its own, without the log
    put_in_place(backup, path)

    assert await _keys(path) == [1, 2]
    assert _files(tmp_path) == {"holdfast.db", "holdfast.db.lock", "backup.db.lock"}


@pytest.mark.asyncio
async def test_a_log_that_cannot_be_settled_is_void(tmp_path: Path) -> None:
    path, backup = tmp_path / "holdfast.db", tmp_path / "backup.db"
    await (await _filled(backup, 1, 2)).close()
    store = await _filled(path, *range(1, 501))
    shutil.copy(tmp_path / "holdfast.db-wal", tmp_path / "log")
    await store.close()
    shutil.move(tmp_path / "log", tmp_path / "holdfast.db-wal")
    put_in_place(backup, path)

    assert await _keys(path) == [1, 2]


@pytest.mark.asyncio
async def test_what_another_program_works_on_is_not_settled(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    store = await _filled(path, 1)
    reader = DRIVER.module.connect(path, isolation_level=None)
    reader.execute("BEGIN").close()
    reader.execute("SELECT count(*) FROM runs").fetchall()
    await store.commit(started(new_run(2)))
    await store.close()
    with pytest.raises(StoreLockedError, match="another program"):
        settle(path, DRIVER)
    reader.close()
    settle(path, DRIVER)

    assert await _keys(path) == [1, 2]


@pytest.mark.asyncio
async def test_a_rewritten_database_has_no_free_pages(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    store = await _filled(path, *range(1, 2_001))
    await store.commit(Commit(updates=[update(key) for key in range(1, 1_901)]))
    await store.delete_runs([Deletion(key, 5) for key in range(1, 1_901)])
    await store.close()
    before_bytes = path.stat().st_size
    seen: list[tuple[int, int]] = []
    with scratch_copy(path, "vacuum") as scratch:
        rewrite(path, scratch, DRIVER, lambda done, total: seen.append((done, total)))
        put_in_place(scratch, path)

    assert path.stat().st_size < before_bytes / 4
    assert seen[-1][0] == seen[-1][1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with inspecting(path, DRIVER) as inspection:
        assert inspection.structure() == []
    store = SqliteStore(str(path))
    await store.open()
    assert [row.key for row in await store.hot_runs()] == [*range(1_901, 2_001)]
    assert [row.blob for row in await store.history(2_000)] == [b"started", BLOB]
    assert await store.last_run_key() == 2_000
    await store.close()


@pytest.mark.asyncio
async def test_another_life_has_another_token_key_and_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    store = await _filled(path, 1)
    key, epoch = await store.token_key(), await store.next_server_epoch()
    await store.close()
    begin_anew(path, DRIVER)

    store = SqliteStore(str(path))
    await store.open()
    assert await store.token_key() != key
    assert await store.next_server_epoch() == epoch + 1
    await store.close()


def test_what_is_no_database_of_ours_is_not_read(tmp_path: Path) -> None:
    text, other, newer, empty = (tmp_path / name for name in ("text", "other.db", "newer.db", "empty.db"))
    text.write_text("no database " * 1_000)
    empty.touch()
    for path, statement in ((other, "CREATE TABLE a (b)"), (newer, "PRAGMA application_id = 0x484F4C44")):
        connection = DRIVER.module.connect(path)
        connection.execute(statement)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    for path, error in (
        (text, StoreCorruptError),
        (other, StoreCorruptError),
        (newer, StoreTooNewError),
        (empty, StoreCorruptError),
        (tmp_path / "missing.db", StoreError),
        (tmp_path, StoreError),
    ):
        with pytest.raises(error, match=path.name), only_reading(path, DRIVER):
            pytest.fail("it was opened")


def test_where_nothing_can_be_written_nothing_is_copied(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="nothing can be written"),
        scratch_copy(tmp_path / "no" / "where.db", "backup"),
    ):
        pytest.fail("it was made")
