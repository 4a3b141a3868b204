"""The store port over one SQLite file, or over memory for tests.

Four connections, each with a thread: one writes, one answers point reads, one answers lists (a long list must not
delay a point read), one checkpoints. Where only one connection is safe or possible, it does everything.
"""

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from holdfast_server.store.port import (
    Commit,
    DeletedRun,
    Deletion,
    ExpiredRun,
    GateRow,
    HistoryRow,
    RunQuery,
    RunRow,
    StoreCorruptError,
    StoreError,
    TaskBacklog,
    VersionRow,
)
from holdfast_server.store.sqlite.checkpoint import Checkpointer
from holdfast_server.store.sqlite.connection import Connection, Opener, Role
from holdfast_server.store.sqlite.driver import Driver, find_driver
from holdfast_server.store.sqlite.failures import translated
from holdfast_server.store.sqlite.lists import count_statement, page_statement
from holdfast_server.store.sqlite.lock import LockFile
from holdfast_server.store.sqlite.log_file import log_of
from holdfast_server.store.sqlite.migrations import migrate, read_version
from holdfast_server.store.sqlite.queries import QUERIES
from holdfast_server.store.sqlite.writes import DeleteTransaction, Transaction

__all__ = ["SqliteStore"]

_TOKEN_KEY_BYTES = 32


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class _Connections:
    writer: Connection
    reader: Connection
    lister: Connection
    checkpointer: Checkpointer | None


class SqliteStore:
    """A store in an SQLite file.

    Args:
        location: path of the file, made if missing, or `:memory:`.
        clock_us: microseconds since the Unix epoch; tells others since when the database is in use.
        random_bytes: makes the token key.
        driver: the SQLite library; by default the best one installed.
    """

    def __init__(
        self,
        location: str,
        *,
        clock_us: Callable[[], int] = _now_us,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        driver: Driver | None = None,
    ) -> None:
        # The real path, so that two names of one file have one lock.
        self._path = None if location == ":memory:" else Path(os.path.realpath(location))
        self._lock = None if self._path is None else LockFile(self._path, clock_us)
        self._random_bytes = random_bytes
        self._driver = driver
        self._schema_version = 0
        self._open: _Connections | None = None
        self._exits = contextlib.AsyncExitStack()

    @property
    def description(self) -> str:
        """For people, for example `sqlite 3.53.4`; `sqlite` before the first `open`."""
        return "sqlite" if self._driver is None else self._driver.description

    @property
    def schema_version(self) -> int:
        """Version of the schema; 0 before the first `open`."""
        return self._schema_version

    async def open(self) -> None:
        """Take the lock, check the database, migrate it.

        Raises:
            StoreLockedError: another server has it open.
            StoreTooNewError: a newer server has migrated it.
            StoreCorruptError: it is damaged or belongs to another application.
            StoreError: it cannot be opened, or is open already.
        """
        if self._open is not None:
            raise StoreError(f"{self._location} is open already")
        try:
            self._open = await self._open_connections()
        except BaseException:
            await self._exits.aclose()
            raise

    async def close(self) -> None:
        """End all connections, after what was handed to them, and give the lock back."""
        self._open = None
        await self._exits.aclose()

    async def _open_connections(self) -> _Connections:
        if self._driver is None:
            self._driver = find_driver()
        if self._lock is not None:
            self._lock.acquire()
            self._exits.callback(self._lock.release)
        if self._path is not None:
            _make_private_file(self._path)
        opener = Opener(self._driver, self._path, self._examine)
        writer = await self._connect(opener, Role.WRITER)
        self._schema_version = await writer.call(lambda connection: migrate(connection, self._location))
        await writer.call(self._check)
        if self._path is None:
            return _Connections(writer, writer, writer, None)
        log = log_of(self._path)
        if self._driver.several_connections:
            reader = await self._connect(opener, Role.READER)
            lister = await self._connect(opener, Role.READER)
            checkpointer = Checkpointer(writer, await self._connect(opener, Role.CHECKPOINT), log)
        else:
            reader = lister = writer
            checkpointer = Checkpointer(writer, None, log)
        checkpointer.start()
        self._exits.push_async_callback(checkpointer.stop)
        return _Connections(writer, reader, lister, checkpointer)

    async def _connect(self, opener: Opener, role: Role) -> Connection:
        connection = Connection(opener, role)
        _ = await connection
        self._exits.push_async_callback(self._disconnect, connection)
        return connection

    async def _disconnect(self, connection: Connection) -> None:
        module = self._known_driver.module
        try:
            await connection.close()
        except module.Error as error:
            raise translated(error, self._location, module) from error

    def _examine(self, connection: sqlite3.Connection) -> None:
        read_version(connection, self._location)

    def _check(self, connection: sqlite3.Connection) -> None:
        """See that it can be written, and look at what was written last: a bad end would have damaged that."""
        connection.execute("DELETE FROM meta WHERE false")
        for run, first_seq, _blob, consistent in connection.execute(QUERIES["newest_history"]).fetchall():
            if not consistent:
                raise StoreCorruptError(
                    f"{self._location} is damaged at event {first_seq} of run {run}; restore it from a backup"
                )

    @property
    def _location(self) -> str:
        return ":memory:" if self._path is None else str(self._path)

    @property
    def _known_driver(self) -> Driver:
        if self._driver is None:
            raise StoreError(f"{self._location} is not open")
        return self._driver

    @property
    def _connections(self) -> _Connections:
        if self._open is None:
            raise StoreError(f"{self._location} is not open")
        return self._open

    async def commit(self, commit: Commit) -> None:
        """Write all of it durably, or nothing, or (after an error other than a conflict) one of the two.

        Cancelling the caller does not stop it.

        Raises:
            StoreConflictError: it contradicts what is stored; nothing was written.
            StoreError: the database failed.
        """
        connections = self._connections
        transaction = Transaction(commit, keeps_nul=self._known_driver.keeps_nul)
        if transaction.empty:
            return
        try:
            await connections.writer.call(transaction)
            # Afterwards, so that what is acknowledged was written to a file that has a name.
            connections.writer.check_in_place()
        finally:
            if connections.checkpointer is not None:
                connections.checkpointer.note(transaction.wal_bytes_guess)

    async def next_server_epoch(self) -> int:
        """Durably count one more start of a server, and answer the count (from 1)."""
        rows = await self._connections.writer.call(_all("next_server_epoch"))
        return int(rows[0][0])

    async def token_key(self) -> bytes:
        """Return the 32 secret bytes lease tokens are signed with; made at first use."""
        rows = await self._connections.writer.call(_all("keep_token_key", self._random_bytes(_TOKEN_KEY_BYTES)))
        return bytes(rows[0][0])

    async def last_run_key(self) -> int:
        """Return the highest run key ever stored, also of a run that was deleted; 0 if there is none."""
        rows = await self._connections.reader.call(_all("last_run_key"))
        return int(rows[0][0])

    async def hot_runs(self) -> Sequence[RunRow]:
        """Return all runs that are neither closed nor evicted, by key."""
        return _runs(await self._connections.lister.call(_all("runs_where_hot")))

    async def open_run_count(self) -> int:
        """Return how many runs are not closed."""
        return int((await self._connections.lister.call(_all("open_run_count")))[0][0])

    async def open_runs_by_key(self, namespace: str, names: Sequence[tuple[str, str]]) -> Sequence[RunRow]:
        """Return the open runs that have one of the (workflow, business key)."""
        wanted = _all("runs_where_business_key", namespace, orjson.dumps(names).decode())
        return _runs(await self._connections.reader.call(wanted))

    async def run(self, namespace: str, run_id: str) -> RunRow | None:
        """Return one run."""
        rows = _runs(await self._connections.reader.call(_all("runs_where_id", namespace, run_id)))
        return rows[0] if rows else None

    async def run_by_key(self, key: int) -> RunRow | None:
        """Return one run by its integer key."""
        rows = _runs(await self._connections.reader.call(_all("runs_where_key", key)))
        return rows[0] if rows else None

    async def probe(self) -> None:
        """Write something of no consequence durably.

        Raises:
            StoreError: the database refuses writes.
        """
        writer = self._connections.writer
        await writer.call(_all("probe"))
        writer.check_in_place()

    async def known_starts(
        self, namespace: str, run_ids: Sequence[str], request_ids: Sequence[str]
    ) -> Sequence[RunRow]:
        """Return the runs that have one of the ids or were started by one of the requests, by key."""
        known = _all("runs_where_known", namespace, self._texts(run_ids), self._texts(request_ids))
        return _runs(await self._connections.reader.call(known))

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """Return a page of runs, latest start first."""
        sql, parameters = page_statement(query)
        return _runs(await self._connections.lister.call(lambda connection: _fetch(connection, sql, parameters)))

    async def count_runs(self, query: RunQuery) -> dict[int, int]:
        """Return the number of runs by state; `before` and `limit` do not count."""
        sql, parameters = count_statement(query)
        return dict(await self._connections.lister.call(lambda connection: _fetch(connection, sql, parameters)))

    async def history(self, run_key: int, after_seq: int = 0, max_bytes: int | None = None) -> Sequence[HistoryRow]:
        """Return rows with an event after `after_seq`, in order; at least one if there is any, then as they fit."""
        rows, _all_of_them = await self._connections.reader.call(
            lambda connection: _history_rows(connection, "history", (run_key, after_seq), max_bytes)
        )
        return rows

    async def histories(self, after: Sequence[tuple[int, int]], max_bytes: int) -> tuple[Sequence[HistoryRow], bool]:
        """Return rows of several runs behind (run key, sequence number) as they fit, and whether that is all."""
        parameters = (orjson.dumps(after).decode(),)
        connections = self._connections
        return await (connections.lister if len(after) > 1 else connections.reader).call(
            lambda connection: _history_rows(connection, "histories", parameters, max_bytes)
        )

    async def snapshots(self, run_keys: Sequence[int]) -> dict[int, tuple[int, bytes]]:
        """Return the snapshots of those runs that have one, each with the number of its last event."""
        rows = await self._connections.reader.call(_all("snapshots", orjson.dumps(run_keys).decode()))
        return {run: (seq, snapshot) for run, seq, snapshot in rows}

    async def wake_times(self, after: tuple[int, int], limit: int) -> Sequence[tuple[int, int]]:
        """Return (time of the first timer, run key) of evicted runs, in that order, behind `after`."""
        return [
            (wake_us, run) for wake_us, run in await self._connections.lister.call(_all("wake_times", *after, limit))
        ]

    async def task_backlog(self) -> Sequence[TaskBacklog]:
        """Return how many attempts of evicted runs wait, by namespace, queue and handler."""
        return [TaskBacklog(*row) for row in await self._connections.lister.call(_all("task_backlog"))]

    async def evicted_tasks(self, namespace: str, queue: str, handler: str, limit: int) -> Sequence[tuple[int, int]]:
        """Return (since when, run key) of attempts of evicted runs that wait, longest first."""
        wanted = _all("evicted_tasks", namespace, queue, handler, limit)
        return [(since_us, run) for since_us, run in await self._connections.lister.call(wanted)]

    async def evicted_gates(
        self, namespace: str, after: tuple[int, int, str, str], workflow: str, limit: int
    ) -> Sequence[GateRow]:
        """Return open gates of evicted runs by (deadline, open time, run id, path), behind `after`."""
        wanted = _all("evicted_gates", namespace, *after, workflow, limit)
        return [GateRow(*row) for row in await self._connections.lister.call(wanted)]

    async def payloads(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return serialized payloads by hash; unknown ones are left out."""
        offsets: list[tuple[int, int]] = []
        offset = 1
        for sha256 in hashes:
            offsets.append((offset, len(sha256)))
            offset += len(sha256)
        wanted = _all("payloads", orjson.dumps(offsets).decode(), b"".join(hashes))
        return dict(await self._connections.reader.call(wanted))

    async def version(self, namespace: str, name: str, version: int) -> VersionRow | None:
        """Return one version; number 0 means the latest."""
        if version == 0:
            return await self._one_version("versions_where_latest", namespace, name)
        return await self._one_version("versions_where_number", namespace, name, version)

    async def version_by_hash(self, namespace: str, name: str, definition_hash: bytes) -> VersionRow | None:
        """Return the version with that content."""
        return await self._one_version("versions_where_hash", namespace, name, definition_hash)

    async def latest_versions(self, namespace: str, after_name: str, limit: int) -> Sequence[VersionRow]:
        """Return the latest version of each workflow whose name is greater than `after_name`, by name."""
        return await self._versions("versions_where_latest_of_each", namespace, after_name, limit)

    async def versions(self, namespace: str, name: str, before_version: int, limit: int) -> Sequence[VersionRow]:
        """Return versions below `before_version` (0: all), newest first."""
        return await self._versions("versions_where_below", namespace, name, before_version, limit)

    async def _versions(self, query: str, *parameters: object) -> list[VersionRow]:
        rows = await self._connections.reader.call(_all(query, *parameters))
        return [VersionRow(*row) for row in rows]

    async def _one_version(self, query: str, *parameters: object) -> VersionRow | None:
        rows = await self._versions(query, *parameters)
        return rows[0] if rows else None

    # -- deletion ----------------------------------------------------------------------------------------------------

    async def delete_runs(self, deletions: Sequence[Deletion]) -> None:
        """Delete closed runs, their histories, and the payloads nobody else refers to; all or nothing.

        Cancelling the caller does not stop it.

        Raises:
            StoreConflictError: one of them is open or unknown; nothing was deleted.
            StoreError: the database failed.
        """
        connections = self._connections
        if not deletions:
            return
        written_bytes = await connections.writer.call(DeleteTransaction(deletions))
        connections.writer.check_in_place()
        if connections.checkpointer is not None:
            connections.checkpointer.note(written_bytes)

    async def run_sizes(self, keys: Sequence[int]) -> dict[int, int]:
        """Return about how many bytes each run has stored: its history, and the payloads it refers to."""
        return dict(await self._connections.lister.call(_all("run_sizes", orjson.dumps(list(keys)).decode())))

    async def deleted_runs(self, namespace: str, run_ids: Sequence[str]) -> Sequence[DeletedRun]:
        """Return which of the ids belong to deleted runs."""
        rows = await self._connections.reader.call(_all("deleted_runs", namespace, self._texts(run_ids)))
        return [DeletedRun(*row) for row in rows]

    async def expired_runs(self, now_us: int, retention_us: int | None, limit: int) -> Sequence[ExpiredRun]:
        """Return closed runs that were kept long enough; None keeps runs whose version does not say it for ever."""
        rows = await self._connections.lister.call(_all("expired_runs", now_us, retention_us, limit))
        return [ExpiredRun(*row) for row in rows]

    async def next_expiry(self, retention_us: int | None) -> int | None:
        """Return when the first of the closed runs was kept long enough, which may be past; None for never."""
        rows = await self._connections.lister.call(_all("next_expiry", retention_us))
        found: int | None = rows[0][0]
        return found

    def _texts(self, texts: Iterable[str]) -> str:
        """Return texts as a JSON array; those that this SQLite would cut off cannot have been stored."""
        keeps_nul = self._known_driver.keeps_nul
        return orjson.dumps([text for text in texts if keeps_nul or "\0" not in text]).decode()


def _all(query: str, *parameters: object) -> Callable[[sqlite3.Connection], list[Any]]:
    return lambda connection: _fetch(connection, QUERIES[query], parameters)


def _fetch(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> list[Any]:
    with contextlib.closing(connection.execute(sql, parameters)) as cursor:
        return cursor.fetchall()


def _history_rows(
    connection: sqlite3.Connection, query: str, parameters: Sequence[Any], max_bytes: int | None
) -> tuple[list[HistoryRow], bool]:
    """Read rows of histories, at least one if there is any, as long as they fit; tell whether that is all."""
    rows: list[HistoryRow] = []
    size_bytes = 0
    with contextlib.closing(connection.execute(QUERIES[query], parameters)) as cursor:
        for fields in cursor:
            row = HistoryRow(*fields)
            size_bytes += len(row.blob)
            if rows and max_bytes is not None and size_bytes > max_bytes:
                return rows, False
            rows.append(row)
    return rows, True


def _runs(rows: Iterable[Any]) -> list[RunRow]:
    return [RunRow(*(*fields, bool(hot))) for *fields, hot in rows]


def _make_private_file(path: Path) -> None:
    """Make the file if it is missing, for its owner only; SQLite gives its companions the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"{path} cannot be made ({error.strerror}); name a folder this user may write to") from error
