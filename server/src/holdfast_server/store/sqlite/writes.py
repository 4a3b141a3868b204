"""Turns a commit into few statements: one per table, whatever the number of rows.

SQLite gives up Python's interpreter lock at each step of a statement, and beside a busy event loop it takes up to the
switch interval (5 ms) to get it back. With a step per row, a group of 100 rows took 270 ms there; as one statement 7.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from holdfast_server.store.port import (
    Commit,
    Deletion,
    Eviction,
    HistoryRow,
    NewRun,
    PayloadRow,
    RunUpdate,
    StoreConflictError,
    VersionRow,
)
from holdfast_server.store.sqlite.queries import QUERIES

__all__ = ["DeleteTransaction", "Transaction"]

_OPEN_STATES = (1, 2)
_PIECES_BYTES_MAX = 16 * 1024 * 1024
"""Binary columns per statement; a group with more takes several."""
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement over many rows."""

    name: str
    """In `queries.sql`."""
    rows: bytes
    """JSON, an array per row."""
    pieces: bytes | None
    """The binary columns of all rows; None if the table has none."""
    changes: int | None = None
    """How many rows it must change; None if any number is right."""


class _Packer:
    """Collects rows for a statement and starts another one when their binary columns get long.

    Args:
        name: of the statement in `queries.sql`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._done: list[_Statement] = []
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[object, ...]] = []
        # One byte that is always there: SQLite takes a piece of nothing for NULL. Offsets count from 1.
        self._pieces = [b"\0"]
        self._offset = 2

    def add(self, fields: tuple[object, ...], *pieces: bytes) -> None:
        """Add a row: its plain columns, then its binary ones."""
        for piece in pieces:
            size = len(piece)
            fields += (self._offset, size)
            self._offset += size
        self._pieces += pieces
        self._rows.append(fields)
        if self._offset > _PIECES_BYTES_MAX:
            self._flush()

    def add_history(self, rows: Sequence[HistoryRow]) -> None:
        """Add rows of a history: the same as `add` for each, at half the cost, because this is the hot path."""
        offset = self._offset
        for row in rows:
            blob = row.blob
            size = len(blob)
            self._rows.append((row.run_key, row.first_seq, row.count, offset, size))
            self._pieces.append(blob)
            offset += size
            if offset > _PIECES_BYTES_MAX:
                self._flush()
                offset = self._offset
        self._offset = offset

    def _flush(self) -> None:
        self._done.append(_Statement(self._name, _json(self._name, self._rows), b"".join(self._pieces)))
        self._clear()

    def statements(self) -> list[_Statement]:
        """Return the statements for all rows so far."""
        if self._rows:
            self._flush()
        return self._done


class Transaction:
    """All statements of one commit; called with a connection in autocommit mode it writes them.

    Args:
        commit: what to write; it is read at once.
        keeps_nul: whether this SQLite keeps NUL characters in JSON text.

    Raises:
        StoreConflictError: a value cannot be stored.
    """

    def __init__(self, commit: Commit, *, keeps_nul: bool) -> None:
        updates = {update.key: update for update in commit.updates}
        started = _starts(commit.new_runs, updates)
        self._statements = [
            # Runs that close come first, so that the business keys they held are free for those that open.
            *_updates([update for update in updates.values() if update.state not in _OPEN_STATES]),
            *_updates([update for update in updates.values() if update.state in _OPEN_STATES]),
            *started,
            *_history(commit.history),
            *_payloads(commit.payloads),
            *_versions(commit.versions),
            *_revivals(commit.revivals),
            *_evictions(list(commit.evictions.values())),
        ]
        if not keeps_nul:
            for statement in self._statements:
                _refuse_nul(statement)
        rows = len(commit.history) + len(commit.new_runs) + len(updates) + len(commit.payloads) + len(commit.evictions)
        self.wal_bytes_guess = _PAGE_BYTES * (3 + rows) + sum(len(each.pieces or b"") for each in self._statements)
        """How much the WAL will grow: rather too much than too little."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._statements

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write all of it.

        Raises:
            StoreConflictError: an update is for a run that does not exist.
        """
        if len(self._statements) == 1 and self._statements[0].changes is None:
            # A statement alone is a transaction of its own: one step instead of three.
            _execute(connection, self._statements[0])
            return
        connection.execute("BEGIN IMMEDIATE")
        for statement in self._statements:
            changed = _execute(connection, statement)
            if statement.changes is not None and changed != statement.changes:
                raise StoreConflictError(
                    f"{statement.changes - changed} of {statement.changes} runs to update are unknown"
                )
        connection.execute("COMMIT")


def _json(name: str, rows: Sequence[tuple[object, ...]]) -> bytes:
    try:
        return orjson.dumps(rows)
    except TypeError as error:
        raise StoreConflictError(f"a row for {name} has a value that SQLite cannot store: {error}") from error


def _execute(connection: sqlite3.Connection, statement: _Statement) -> int:
    rows = statement.rows.decode()
    before = connection.total_changes  # older drivers leave `rowcount` empty for a statement that begins with WITH
    parameters = (rows,) if statement.pieces is None else (rows, statement.pieces)
    connection.execute(QUERIES[statement.name], parameters).close()
    return connection.total_changes - before


def _starts(runs: Sequence[NewRun], updates: dict[int, RunUpdate]) -> list[_Statement]:
    """Insert runs; one that is updated in the same commit is inserted as it ends up, and leaves `updates`."""
    if not runs:
        return []
    packer = _Packer("insert_runs")
    for run in runs:
        update = updates.pop(run.key, None)
        state = (run.state, 0, 1, 0, 0, "") if update is None else _changes(update)[:-1]
        packer.add(
            (
                run.key,
                run.namespace,
                run.run_id,
                run.workflow,
                run.version,
                run.business_key,
                run.start_time_us,
                run.request_id,
                run.attributes_json,
                *state,
            ),
            run.request_hash,
        )
    return packer.statements()


def _changes(update: RunUpdate) -> tuple[int, int, int, int, int, str, int]:
    return (
        update.state,
        update.close_time_us,
        update.run_epoch,
        update.last_seq,
        update.waiting_reason,
        update.status_message,
        int(update.hot),
    )


def _updates(updates: Sequence[RunUpdate]) -> Iterator[_Statement]:
    if updates:
        rows = [(update.key, *_changes(update)) for update in updates]
        yield _Statement("update_runs", _json("update_runs", rows), None, changes=len(updates))


def _history(rows: Sequence[HistoryRow]) -> list[_Statement]:
    packer = _Packer("insert_history")
    packer.add_history(rows)
    return packer.statements()


def _payloads(rows: Sequence[PayloadRow]) -> list[_Statement]:
    if not rows:
        return []
    bodies = _Packer("insert_payloads")
    references = _Packer("insert_payload_refs")
    for row in rows:
        bodies.add((), row.sha256, row.blob)
        references.add((row.run_key,), row.sha256)
    return [*bodies.statements(), *references.statements()]


def _revivals(keys: Sequence[int]) -> Iterator[_Statement]:
    if keys:
        for table in ("evicted", "evicted_tasks", "evicted_gates"):
            name = f"delete_{table}"
            yield _Statement(name, _json(name, [(key,) for key in keys]), None)


def _evictions(rows: Sequence[Eviction]) -> Iterator[_Statement]:
    if not rows:
        return
    packer = _Packer("insert_evicted")
    for row in rows:
        packer.add((row.key, row.wake_us, row.snapshot_seq), row.snapshot)
    yield from packer.statements()
    tasks = [
        (row.key, task.path, row.namespace, task.queue, task.handler, task.since_us)
        for row in rows
        for task in row.tasks
    ]
    if tasks:
        yield _Statement("insert_evicted_tasks", _json("insert_evicted_tasks", tasks), None)
    gates = [
        (row.key, gate.path, row.namespace, row.run_id, row.workflow, gate.deadline_us, gate.open_us)
        for row in rows
        for gate in row.gates
    ]
    if gates:
        yield _Statement("insert_evicted_gates", _json("insert_evicted_gates", gates), None)


def _versions(rows: Sequence[VersionRow]) -> list[_Statement]:
    packer = _Packer("insert_versions")
    for row in rows:
        packer.add(
            (
                row.namespace,
                row.name,
                row.version,
                row.source,
                row.format,
                row.register_time_us,
                row.retention_us,
            ),
            row.definition_hash,
            row.definition,
        )
    return packer.statements()


def _refuse_nul(statement: _Statement) -> None:
    if b"\\u0000" not in statement.rows:
        return
    for row in orjson.loads(statement.rows):
        if any(isinstance(value, str) and "\0" in value for value in row):
            raise StoreConflictError(
                f"a text for {statement.name} has a NUL character, which this SQLite would cut off; "
                "leave it out, or use a newer SQLite"
            )


# -- deletion --------------------------------------------------------------------------------------------------------

_DELETING = ("delete_payloads", "delete_payload_refs", "delete_history", "delete_runs")
"""In this order: payloads are found by their references."""


class DeleteTransaction:
    """All statements of one deletion; called with a connection in autocommit mode it deletes.

    Args:
        deletions: the closed runs.
    """

    def __init__(self, deletions: Sequence[Deletion]) -> None:
        rows = [(one.key, one.delete_time_us, one.request_id) for one in deletions]
        self._tombstones = _Statement(
            "insert_deleted_runs", _json("insert_deleted_runs", rows), None, changes=len(deletions)
        )

    def __call__(self, connection: sqlite3.Connection) -> int:
        """Delete all of them, and return a guess of how much that makes the WAL grow, in bytes.

        Raises:
            StoreConflictError: one of them is open or unknown.
        """
        tombstones = self._tombstones
        before = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        changed = _execute(connection, tombstones)
        if changed != tombstones.changes:
            raise StoreConflictError(f"{changed} of {tombstones.changes} runs to delete are closed")
        for name in ("keep_last_run_key", *_DELETING):
            _execute(connection, _Statement(name, tombstones.rows, None))
        connection.execute("COMMIT")
        # What a large row frees is listed, not written, so each row touches about a page.
        return _PAGE_BYTES * (3 + connection.total_changes - before)
