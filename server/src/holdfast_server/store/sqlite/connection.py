"""A connection with a thread of its own: functions are handed to it and run there one after the other.

A function runs to its end, also when the task that waits for it is cancelled. So a transaction that is one function
can be neither interleaved with another nor left open, and a commit costs one round trip to the thread.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite.driver import Driver
from holdfast_server.store.sqlite.failures import is_lasting, of_system, translated
from holdfast_server.store.sqlite.log_file import log_of, write_again

__all__ = ["BUSY_TIMEOUT_MS", "WAL_KEPT_BYTES", "Connection", "Opener", "Role"]

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""How long a statement waits for another program that has the database locked."""
WAL_KEPT_BYTES = 32 * 1024 * 1024
"""To what the WAL file is cut back when it starts over; a file that is kept is overwritten, and that is twice as fast
as appending."""

_REPLACED = "{location} was replaced while it was open; put it back or restart the server"


class Role(StrEnum):
    """What a connection is for."""

    WRITER = "writer"
    READER = "reader"
    CHECKPOINT = "checkpoint"


_CACHE_KIB = {Role.WRITER: 8_192, Role.READER: 8_192, Role.CHECKPOINT: 1_024}
"""What the operating system has in memory is as near: 64 MiB for the writer cost 30 MB and saved no time."""


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens connections to one database."""

    driver: Driver
    path: Path | None
    """None for a database in memory. The file must exist when this is made."""
    examine: Callable[[sqlite3.Connection], object]
    """Looks at a database before anything is changed in it; raises if it is not the right one."""

    identity: tuple[int, int] | None = field(init=False)
    """Device and number of the file, by which one that was put in its place is known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", self._identity())

    @property
    def location(self) -> str:
        """The database, for messages."""
        return ":memory:" if self.path is None else str(self.path)

    def open(self, role: Role) -> sqlite3.Connection:
        """Open and set up a connection; it belongs to the calling thread.

        Raises:
            StoreError: the database cannot be opened or is not the right one.
        """
        if self._identity() != self.identity:
            # SQLite would throw the log away if the new file is empty.
            raise StoreError(_REPLACED.format(location=self.location))
        module = self.driver.module
        target = ":memory:" if self.path is None else f"{self.path.as_uri()}?mode=rw"
        connection: sqlite3.Connection | None = None
        try:
            connection = module.connect(
                target, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, uri=self.path is not None
            )
            self.examine(connection)
            self._set_up(connection, role)
            if role is Role.WRITER:
                self._bring_log_to_disk(connection)
        except module.Error as error:
            if connection is not None:
                connection.close()
            raise translated(error, self.location, module) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection

    def check_in_place(self) -> None:
        """See that the files are where they were: what is written to a file without a name is lost in the end.

        Raises:
            StoreError: one was removed, moved or replaced.
        """
        if self.path is None:
            return
        try:
            replaced = self._identity() != self.identity
        except StoreError as error:
            raise StoreError(
                f"{self.location} was removed or moved while it was open; "
                "put it back, or restart the server on a backup"
            ) from error
        if replaced:
            raise StoreError(_REPLACED.format(location=self.location))
        log = log_of(self.path)
        if not log.exists():
            raise StoreError(
                f"{log} was removed while it was open; put it back, or stop the server in good order, "
                "which brings what was in it into the database"
            )

    def _identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.location} cannot be opened; check that it exists ({error.strerror})") from error
        return status.st_dev, status.st_ino

    def _bring_log_to_disk(self, connection: sqlite3.Connection) -> None:
        if self.path is None:
            return
        connection.execute("BEGIN IMMEDIATE")  # keeps others from writing to the log
        try:
            write_again(log_of(self.path))
        except OSError as error:
            raise of_system(error, self.location) from error
        finally:
            connection.execute("ROLLBACK")

    def _set_up(self, connection: sqlite3.Connection, role: Role) -> None:
        settings = [f"cache_size = -{_CACHE_KIB[role]}", "temp_store = MEMORY"]
        if self.path is not None:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{self.location} cannot use write-ahead logging; put it on a local file system")
            # `fullfsync` matters on macOS only, where fsync alone leaves data in the drive.
            settings += ["synchronous = FULL", "fullfsync = ON", "wal_autocheckpoint = 0"]
            settings += [f"journal_size_limit = {WAL_KEPT_BYTES}"]
        if role is Role.READER:
            settings += ["query_only = ON"]
        for setting in settings:
            connection.execute(f"PRAGMA {setting}").fetchall()


class Connection(aiosqlite.Connection):
    """A connection to SQLite. Await it to open it.

    Args:
        opener: opens it, and opens it again after an error it cannot go on from.
        role: what it is for.
    """

    def __init__(self, opener: Opener, role: Role) -> None:
        super().__init__(self._open_here, 64)
        self._opener = opener
        self._role = role
        self._broken = False
        # A store that nobody closed must not keep its process from ending.
        self._thread.daemon = True

    async def _connect(self) -> Self:
        """Open; unlike the inherited method it leaves neither thread nor file open if that fails or is cancelled."""
        future = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, self._open_here))
        try:
            await future
        except BaseException:
            ended = self.stop()
            if ended is not None:
                await ended
            raise
        return self

    def _open_here(self) -> sqlite3.Connection:
        self._connection = self._opener.open(self._role)
        return self._connection

    def check_in_place(self) -> None:
        """See that the files are where they were.

        Raises:
            StoreError: one was removed, moved or replaced.
        """
        self._opener.check_in_place()

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the thread of this connection and return what it returns.

        Whatever transaction the function began is rolled back if it raises.

        Raises:
            StoreError: SQLite failed.
        """
        if not self._running:
            raise StoreError(f"{self._opener.location} is closed")
        result: T = await self._execute(self._run, function)  # type: ignore[no-untyped-call]
        return result

    def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        module = self._opener.driver.module
        if self._broken:
            self._open_here()
            self._broken = False
        try:
            return function(self._conn)
        except module.Error as error:
            self._recover(module, error)
            raise translated(error, self._opener.location, module) from error
        except BaseException:
            self._recover(module, None)
            raise

    def _recover(self, module: Any, error: Exception | None) -> None:
        """Bring the connection back to where the next function can use it."""
        lasting = error is not None and is_lasting(error) and self._opener.path is not None
        if not lasting and self._conn.in_transaction:
            try:
                self._conn.rollback()
            except module.Error:
                lasting = self._opener.path is not None
        if lasting:
            # Opened again by the next function, so that the store comes back when the disk does.
            self._broken = True
            with contextlib.suppress(module.Error):
                self._conn.close()
