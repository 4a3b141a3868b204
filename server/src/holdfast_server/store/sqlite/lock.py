"""The lock file that keeps a second server off a database.

The lock belongs to the operating system and ends with the process, however it ends; the text in the file is only for
the message. The file stays when the lock is given back: removing it would let two servers hold locks on two files of
the same name.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from holdfast_server.store.port import StoreError, StoreLockedError
from holdfast_server.store.sqlite.failures import of_system

__all__ = ["LockFile"]

_TEXT_BYTES_MAX = 1024

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        # Windows locks bytes and keeps others from reading them: take one far behind the text.
        os.lseek(descriptor, _TEXT_BYTES_MAX, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        # Unlike `lockf`, `flock` also holds between two stores of one process.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LockFile:
    """The lock of one database, `<database>.lock`.

    Args:
        database: path of the database.
        clock_us: gives the time the lock was taken, microseconds since the Unix epoch.
    """

    def __init__(self, database: Path, clock_us: Callable[[], int]) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.lock")
        self._clock_us = clock_us
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            StoreLockedError: another process, or another store of this one, has it.
            StoreError: the file cannot be made or locked.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock file {self._path} cannot be made ({error.strerror}); "
                "the database needs a folder that exists and that this user may write to"
            ) from error
        try:
            _try_lock(descriptor)
        except (BlockingIOError, PermissionError) as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise StoreLockedError(str(self._database), owner) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"{self._path} cannot be locked ({error.strerror}); use a local file system") from error
        try:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, self._own_text().encode())
        except OSError as error:
            os.close(descriptor)
            raise of_system(error, str(self._path)) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; without it nothing happens."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # the text is only for messages
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def _own_text(self) -> str:
        since = datetime.fromtimestamp(self._clock_us() / 1_000_000, UTC).isoformat(timespec="seconds")
        return f"pid {os.getpid()} on {socket.gethostname()} since {since}"


def _owner(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    # The owner writes its text just after it has the lock, so for a moment there is none.
    return os.read(descriptor, _TEXT_BYTES_MAX).decode(errors="replace") or "another process"
