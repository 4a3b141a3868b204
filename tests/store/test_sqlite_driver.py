"""Which SQLite is used, and what is asked of it."""

import logging
import sqlite3
import types

import pytest

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import describe, find_driver


def _module(version: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(__name__="made_up", sqlite_version=version, connect=sqlite3.connect)


@pytest.mark.parametrize(
    ("version", "several"),
    [("3.38.0", False), ("3.40.1", False), ("3.51.2", False), ("3.51.3", True), ("3.53.4", True), ("4.0.0", True)],
)
def test_several_connections_need_a_version_without_the_fault(version: str, several: bool) -> None:
    assert describe(_module(version)).several_connections is several


@pytest.mark.parametrize("version", ["3.37.2", "3.7.17", "2.8.0"])
def test_a_version_too_old_is_refused(version: str) -> None:
    with pytest.raises(StoreError, match=f"{version}.*too old.*3.38.0"):
        describe(_module(version))


def test_the_first_module_installed_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        driver = find_driver(("not_installed_anywhere.dbapi2", "sqlite3"))

    assert driver.module is sqlite3
    assert ("using one" in caplog.text) is not driver.several_connections


def test_no_module_at_all() -> None:
    with pytest.raises(StoreError, match="no SQLite library"):
        find_driver(("not_installed_anywhere",))


def test_a_store_not_opened_yet_knows_no_version() -> None:
    assert SqliteStore(":memory:").description == "sqlite"


@pytest.mark.asyncio
async def test_commits_are_synchronous_and_checkpoints_by_hand(tmp_path: object) -> None:
    store = SqliteStore(f"{tmp_path}/holdfast.db")
    await store.open()

    def settings(connection: sqlite3.Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "query_only")
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    full = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
    assert await store._connections.writer.call(settings) == {**full, "query_only": 0}
    assert await store._connections.reader.call(settings) == {**full, "query_only": 1}
    assert await store._connections.lister.call(settings) == {**full, "query_only": 1}
    await store.close()
