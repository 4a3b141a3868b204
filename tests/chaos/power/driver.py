"""The DB-API over apsw, as far as the store uses it, so that a file system of ours stands below SQLite."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import apsw

from holdfast_server.store.sqlite.driver import Driver, describe

__all__ = ["ApswModule", "driver_over"]


class Error(Exception):
    """What SQLite reports, with its extended result code."""

    def __init__(self, message: str, sqlite_errorcode: int) -> None:
        super().__init__(message)
        self.sqlite_errorcode = sqlite_errorcode


class IntegrityError(Error):
    """A constraint does not hold."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        kind = IntegrityError if isinstance(error, apsw.ConstraintError) else Error
        # Errors of apsw's own have no code at all.
        code = getattr(error, "extendedresult", 0) or getattr(error, "result", 0)
        raise kind(str(error), code) from error


class _Cursor:
    def __init__(self, inner: apsw.Cursor) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        with _translated():
            yield from self._inner

    def fetchone(self) -> Any:
        with _translated():
            return self._inner.fetchone()

    def fetchall(self) -> list[Any]:
        with _translated():
            return self._inner.fetchall()

    def close(self) -> None:
        with _translated():
            self._inner.close(force=True)


class _Connection:
    def __init__(self, inner: apsw.Connection, synchronous: str) -> None:
        self._inner = inner
        self._synchronous = synchronous

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Cursor:
        with _translated():
            return _Cursor(self._inner.execute(self._weakened(sql), tuple(parameters)))

    def executescript(self, sql: str) -> None:
        with _translated():
            for _ in self._inner.execute(self._weakened(sql)):
                pass

    def _weakened(self, sql: str) -> str:
        return sql.replace("synchronous = FULL", f"synchronous = {self._synchronous}")

    @property
    def total_changes(self) -> int:
        return self._inner.total_changes()

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        # What fails meanwhile, as the last checkpoint may, SQLite tells nobody; apsw would.
        with suppress(apsw.Error):
            self._inner.close(True)


class ApswModule:
    """What the store takes for a DB-API module.

    Args:
        vfs: the file system of its connections.
        synchronous: put in the place of FULL, to see that tests notice.
    """

    __name__ = "apsw"
    Error = Error
    IntegrityError = IntegrityError

    def __init__(self, vfs: str, synchronous: str) -> None:
        self.sqlite_version = apsw.sqlite_lib_version()
        self._vfs = vfs
        self._synchronous = synchronous

    def connect(
        self, target: str, *, timeout: float = 5.0, isolation_level: None = None, uri: bool = False
    ) -> _Connection:
        if target == ":memory:":
            return _Connection(apsw.Connection(target), self._synchronous)
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | (apsw.SQLITE_OPEN_URI if uri else 0)
        with _translated():
            inner = apsw.Connection(target, flags=flags, vfs=self._vfs)
        inner.set_busy_timeout(int(timeout * 1000))
        return _Connection(inner, self._synchronous)


def driver_over(vfs: str, *, synchronous: str = "FULL", several_connections: bool = True) -> Driver:
    """Return a driver whose connections use a file system by its name."""
    return replace(describe(ApswModule(vfs, synchronous)), several_connections=several_connections)
