"""Keeps the write-ahead log short, off the path of commits.

SQLite's own checkpoint is switched off: it would run inside a commit. Here a connection of its own copies pages back
(PASSIVE, beside the writer) whenever enough of them wait, and only when the log is long all the same is the writer
asked, between two commits, to copy the small rest and start the log over. The file is then overwritten, not cut to
nothing: a commit that overwrites takes half the time of one that appends.
"""

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite.connection import BUSY_TIMEOUT_MS, WAL_KEPT_BYTES, Connection

__all__ = ["PASSIVE_ABOVE_BYTES", "Checkpointer"]

_log = logging.getLogger(__name__)

PASSIVE_ABOVE_BYTES = 16 * 1024 * 1024
"""Pages that wait for a checkpoint. Copying earlier means to copy the same hot pages more often, on the disk that
commits wait for: when other programs used it too, groups of 100 rows took 4 to 5 ms at 4 MiB and 1.6 to 1.9 at 16 MiB;
on a quiet disk both took 1.5."""
_LOOK_EVERY_BYTES = 4 * 1024 * 1024
"""After so much by the guess of commits the log itself is asked; that costs microseconds."""
_FRAME_BYTES = 4096 + 24
_READERS_WAIT_MS = 50
"""How long the writer waits for readers to leave the log; commits wait with it."""


class Checkpointer:
    """Shortens the log of one database in the background.

    Args:
        writer: the connection that commits.
        beside: a connection for checkpoints only; None if there may be but one connection, which then does it itself.
        log: path of the write-ahead log.
        log_bytes_max: above it the log starts over.
    """

    def __init__(
        self, writer: Connection, beside: Connection | None, log: Path, log_bytes_max: int = WAL_KEPT_BYTES
    ) -> None:
        self._writer = writer
        self._beside = beside
        self._log = log
        self._log_bytes_max = log_bytes_max
        self._restart_above_bytes = log_bytes_max
        self._guess_bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name="checkpoint")

    async def stop(self) -> None:
        """Stop working; a checkpoint under way ends on its own thread."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def note(self, written_bytes: int) -> None:
        """Say that a commit has written about so much to the log."""
        self._guess_bytes += written_bytes
        if self._guess_bytes >= _LOOK_EVERY_BYTES:
            self._guess_bytes = 0
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._shorten()
            except StoreError as error:
                # The log only grows; commits report by themselves what is wrong with the disk.
                _log.warning("checkpoint failed: %s", error)

    async def _shorten(self) -> None:
        if self._beside is None:
            await self._writer.call(self._cut_if_long)
            return
        _, written, copied = await self._beside.call(_look)
        if written - copied < PASSIVE_ABOVE_BYTES:
            return
        _, written, copied = await self._beside.call(_copy)
        if written <= self._restart_above_bytes:
            self._restart_above_bytes = self._log_bytes_max
            return
        # What came in meanwhile is copied beside the writer too, so that the writer has next to nothing to do.
        await self._beside.call(_copy)
        busy, written, _ = await self._writer.call(_start_over)
        # A reader keeps its place in the log: asking at every turn would make all commits wait for it.
        self._restart_above_bytes = written + self._log_bytes_max if busy else self._log_bytes_max

    def _cut_if_long(self, connection: sqlite3.Connection) -> None:
        if self._log.stat().st_size > PASSIVE_ABOVE_BYTES:
            _checkpoint(connection, "TRUNCATE")


def _look(connection: sqlite3.Connection) -> tuple[bool, int, int]:
    return _checkpoint(connection, "NOOP")


def _copy(connection: sqlite3.Connection) -> tuple[bool, int, int]:
    return _checkpoint(connection, "PASSIVE")


def _start_over(connection: sqlite3.Connection) -> tuple[bool, int, int]:
    connection.execute(f"PRAGMA busy_timeout = {_READERS_WAIT_MS}").fetchall()
    try:
        return _checkpoint(connection, "RESTART")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()


def _checkpoint(connection: sqlite3.Connection, mode: str) -> tuple[bool, int, int]:
    """Return whether something was in the way, and how many bytes of the log are written and copied."""
    busy, frames, copied = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return bool(busy), frames * _FRAME_BYTES, copied * _FRAME_BYTES
