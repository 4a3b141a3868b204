"""Reads a database for those who look after it: beside its server or without one, and nothing is written.

Each read is a transaction of its own and short, so that the log of a server does not grow for as long as a look at
everything takes. What belongs together, such as all there is of a run, is read in one.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast_server.store.port import HistoryRow, RunRow, StoreError, VersionRow
from holdfast_server.store.sqlite.copying import only_reading
from holdfast_server.store.sqlite.driver import Driver
from holdfast_server.store.sqlite.failures import translated
from holdfast_server.store.sqlite.migrations import MIGRATIONS, read_version
from holdfast_server.store.sqlite.queries import INSPECTIONS

__all__ = ["EvictionRows", "Inspection", "StoredPayload", "StoredRun", "inspecting"]

STRUCTURE_FAULTS_MAX = 100


@dataclass(frozen=True, slots=True)
class EvictionRows:
    """What stands for a run that is not in memory."""

    wake_us: int
    snapshot_seq: int
    snapshot: bytes
    tasks: Sequence[tuple[str, str, str, str, int]]
    """(path, namespace, queue, handler, since)."""
    gates: Sequence[tuple[str, str, str, str, int, int]]
    """(path, namespace, run id, workflow, deadline, open time)."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """All there is of one run, of one moment."""

    row: RunRow
    payloads: frozenset[bytes]
    """Hashes of the payloads it refers to."""
    missing: int
    """References to payloads that are not there."""
    eviction: EvictionRows | None


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """One large payload."""

    id: int
    sha256: bytes
    blob: bytes
    used: bool
    """Whether a run refers to it."""


class Inspection:
    """An open database.

    Args:
        connection: reads it.
        location: the database, for messages.
        driver: the SQLite library.
    """

    def __init__(self, connection: sqlite3.Connection, location: str, driver: Driver) -> None:
        self._connection = connection
        self._location = location
        self._driver = driver
        self.location = location

    def structure(self) -> list[str]:
        """What SQLite itself finds wrong: pages, indexes, constraints. At most a hundred faults.

        Raises:
            StoreError: it cannot be read.
        """
        rows = self._all(f"PRAGMA integrity_check({STRUCTURE_FAULTS_MAX})")
        return [text for (text,) in rows if text != "ok"]

    def run_count(self) -> int:
        """How many runs there are."""
        return int(self._named("run_count")[0][0])

    def runs(self, after_key: int, limit: int) -> list[RunRow]:
        """Runs by key."""
        return [RunRow(*row) for row in self._named("runs", after_key, limit)]

    @contextmanager
    def run(self, key: int) -> Iterator[tuple[StoredRun, Iterator[HistoryRow]] | None]:
        """A run and the rows of its history, all of one moment; None if it is not there any more.

        Raises:
            StoreError: it cannot be read.
        """
        with self._told():
            self._connection.execute("BEGIN").close()
            try:
                rows = self._named("runs", key - 1, 1)
                row = RunRow(*rows[0]) if rows else None
                if row is None or row.key != key:
                    yield None
                else:
                    yield self._stored(row), self._history(key)
            finally:
                self._connection.execute("ROLLBACK").close()

    def payloads(self, after_id: int, limit: int) -> list[StoredPayload]:
        """Payloads by id."""
        return [
            StoredPayload(number, sha256, blob, bool(used))
            for number, sha256, blob, used in self._named("payloads", after_id, limit)
        ]

    def version(self, namespace: str, name: str, version: int) -> VersionRow | None:
        """One version of a workflow."""
        rows = self._named("version", namespace, name, version)
        return VersionRow(*rows[0]) if rows else None

    def version_names(self) -> list[tuple[str, str, int]]:
        """(namespace, name, version) of all versions."""
        return self._named("version_names")

    def orphans(self) -> list[tuple[str, int]]:
        """(table, run key) of rows whose run is not there."""
        return self._named("orphans")

    def deleted_and_there(self) -> list[tuple[str, str]]:
        """(namespace, run id) of runs that are said to be deleted."""
        return self._named("deleted_and_there")

    def deleted_count(self) -> int:
        """How many runs were deleted."""
        return int(self._named("deleted_count")[0][0])

    def setting(self, name: str) -> object:
        """What the server remembers by a name; None if nothing."""
        rows = self._named("setting", name)
        return rows[0][0] if rows else None

    def _stored(self, row: RunRow) -> StoredRun:
        references = self._named("payloads_of", row.key)
        found = self._named("eviction_of", row.key)
        eviction = None
        if found:
            wake_us, snapshot_seq, snapshot = found[0]
            tasks = self._named("evicted_tasks_of", row.key)
            gates = self._named("evicted_gates_of", row.key)
            eviction = EvictionRows(wake_us, snapshot_seq, snapshot, tasks, gates)
        return StoredRun(
            row,
            frozenset(sha256 for _, sha256 in references if sha256 is not None),
            sum(sha256 is None for _, sha256 in references),
            eviction,
        )

    def _history(self, key: int) -> Iterator[HistoryRow]:
        with contextlib.closing(self._connection.execute(INSPECTIONS["history"], (key,))) as cursor:
            for row in cursor:
                yield HistoryRow(*row)

    def _named(self, query: str, *parameters: object) -> list[Any]:
        return self._all(INSPECTIONS[query], *parameters)

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        with self._told(), contextlib.closing(self._connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._driver.module.Error as error:
            raise translated(error, self._location, self._driver.module) from error


@contextmanager
def inspecting(path: Path, driver: Driver) -> Iterator[Inspection]:
    """Opens a database for inspection.

    Raises:
        StoreError: it cannot be read, or an older version has written it, which the server migrates at its start.
        StoreCorruptError: it is no database of ours.
        StoreTooNewError: a newer version has written it.
    """
    with only_reading(path, driver) as connection:
        found = read_version(connection, str(path))
        if found != len(MIGRATIONS):
            raise StoreError(
                f"{path} has schema version {found}, and {len(MIGRATIONS)} is known here; "
                "start the server on it once, which migrates it"
            )
        yield Inspection(connection, str(path), driver)
