"""A log that was left behind is written once more, byte for byte, before anything is built on it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite import SqliteStore, log_file
from holdfast_server.store.sqlite.log_file import write_again
from tests.store.rows import new_run, started


@pytest.mark.parametrize("size", [1, 4096, 10_000])
def test_every_byte_is_written_again(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_PIECE_BYTES", 4096)
    synced: list[int] = []
    monkeypatch.setattr(log_file, "_sync", synced.append)
    log = tmp_path / "holdfast.db-wal"
    content = os.urandom(size)
    log.write_bytes(content)
    os.utime(log, (0, 0))

    write_again(log)

    assert log.read_bytes() == content
    assert log.stat().st_mtime > 0
    assert len(synced) == 1


def test_what_is_not_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_sync", pytest.fail)
    empty = tmp_path / "empty-wal"
    empty.touch()

    write_again(empty)
    write_again(tmp_path / "holdfast.db-wal")

    assert list(tmp_path.iterdir()) == [empty]


def _keep(database: Path) -> Callable[[], None]:
    """Puts the files of a database back as they are now."""
    kept = {path: path.read_bytes() for path in (database, database.with_name(f"{database.name}-wal"))}

    def put_back() -> None:
        for path, content in kept.items():
            path.write_bytes(content)

    return put_back


@pytest.mark.asyncio
async def test_a_disk_that_refuses_it_is_an_error_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "holdfast.db"
    first = SqliteStore(str(database))
    await first.open()
    await first.commit(started(new_run(1)))
    put_back = _keep(database)
    await first.close()
    put_back()

    def refuse(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(log_file, "_sync", refuse)
        with pytest.raises(StoreError, match=r"refused to read or write .*Input/output error"):
            await SqliteStore(str(database)).open()

    again = SqliteStore(str(database))
    await again.open()
    assert await again.last_run_key() == 1
    await again.close()
