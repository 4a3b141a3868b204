"""The schema grows by numbered files, each whole or not at all."""

import sqlite3

import pytest

from holdfast_server.store.port import StoreCorruptError, StoreTooNewError
from holdfast_server.store.sqlite.migrations import APPLICATION_ID, MIGRATIONS, Migration, migrate, read_version

NEXT = Migration(len(MIGRATIONS) + 1, "CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT;")
BROKEN = Migration(NEXT.version, "CREATE TABLE half (id); INSERT INTO nowhere VALUES (1);")


@pytest.fixture
def connection() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_an_empty_database_gets_all(connection: sqlite3.Connection) -> None:
    assert read_version(connection, "x") == 0
    assert migrate(connection, "x") == len(MIGRATIONS)
    assert read_version(connection, "x") == len(MIGRATIONS)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert {"runs", "history", "payloads", "payload_refs", "versions", "meta"} <= _tables(connection)


def test_only_what_is_missing_is_applied(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")
    connection.execute("INSERT INTO meta (name, value) VALUES ('kept', 1)")

    assert migrate(connection, "x", [*MIGRATIONS, NEXT]) == NEXT.version
    assert migrate(connection, "x", [*MIGRATIONS, NEXT]) == NEXT.version

    assert "later" in _tables(connection)
    assert connection.execute("SELECT name FROM meta").fetchall() == [("kept",)]
    with pytest.raises(StoreTooNewError):
        migrate(connection, "x")


def test_one_that_fails_leaves_the_version_before(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, "x", [*MIGRATIONS, BROKEN])
    connection.rollback()

    assert read_version(connection, "x") == len(MIGRATIONS)
    assert "half" not in _tables(connection)


def test_a_version_without_our_mark_is_not_ours(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA user_version = 1")
    with pytest.raises(StoreCorruptError):
        read_version(connection, "x")
