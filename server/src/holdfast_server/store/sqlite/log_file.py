"""Brings a write-ahead log that was left behind to the disk, as it is shown."""

import os
import sys
from pathlib import Path

__all__ = ["log_of", "write_again"]

_PIECE_BYTES = 4 * 1024 * 1024

if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone leaves data in the drive
else:
    _sync = os.fsync


def log_of(database: Path) -> Path:
    """Return the path of the write-ahead log of a database."""
    return database.with_name(f"{database.name}-wal")


def write_again(log: Path) -> None:
    """Write every byte of a log once more, and sync it; one that is missing or empty is left alone.

    When a sync fails, the system takes what it could not write for written: it goes on to show it, and no later sync
    brings it to the disk. A server killed at that moment leaves a log whose last commits exist in memory only. The next
    one would find them, build on them, and lose everything it adds when the power goes.

    Nobody else may write to the log meanwhile.

    Raises:
        OSError: the disk refuses.
    """
    if not log.exists() or not log.stat().st_size:
        return
    with log.open("r+b", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            file.seek(-len(piece), os.SEEK_CUR)
            left = memoryview(piece)
            while left:
                left = left[file.write(left) :]
        _sync(file.fileno())
