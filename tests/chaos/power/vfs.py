"""A file system below SQLite that keeps a trace of what is done to one database, and fails when told to."""

import errno
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw
import pytest

from holdfast_server.store.sqlite import connection
from holdfast_server.store.sqlite.log_file import write_again
from tests.chaos.power.disk import Delete, Mark, Open, Operation, Sync, Truncate, Write

__all__ = ["Asked", "TracingVfs", "disk_error", "no_room"]

_names = itertools.count(1)
_SYNCS_FOLDER = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation SQLite is about to do."""

    number: int
    """Of all operations on this file system, from 1."""
    what: str
    """`open`, `read`, `write`, `truncate`, `sync` or `delete`."""
    name: str
    """Of the file, without its folder."""


class DiskError(apsw.IOError):
    """An operation fails."""

    def __init__(self, asked: Asked, code: int) -> None:
        super().__init__(f"injected at {asked.what} {asked.number} of {asked.name}")
        self.extendedresult = code


class NoRoom(apsw.FullError):
    """There is no room for an operation."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(f"injected at {asked.what} {asked.number} of {asked.name}")
        self.extendedresult = apsw.SQLITE_FULL


class CannotOpen(apsw.CantOpenError):
    """A file cannot be opened."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(f"injected at {asked.what} {asked.number} of {asked.name}")
        self.extendedresult = apsw.SQLITE_CANTOPEN


_CODES = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


def disk_error(asked: Asked) -> Exception:
    """EIO, as SQLite reports it for each operation."""
    return CannotOpen(asked) if asked.what == "open" else DiskError(asked, _CODES[asked.what])


def no_room(asked: Asked) -> Exception:
    """ENOSPC."""
    return disk_error(asked) if asked.what == "sync" else NoRoom(asked)


def _is_ours(error: BaseException | None) -> bool:
    return isinstance(error, CannotOpen | DiskError | NoRoom)


class TracingVfs(apsw.VFS):
    """The real file system, watched.

    Attributes:
        trace: what was done, in order.
        operations: how many operations were asked for.
        fail: called with each; answers the error it ends with, or None.
        torn: whether a write that fails has written its first half.
        pause: called before each, without a lock; may wait.
    """

    def __init__(self) -> None:
        self.name = f"tracing-{next(_names)}"
        super().__init__(self.name, "")
        self.trace: list[Operation] = []
        self.operations = 0
        self.fail: Callable[[Asked], Exception | None] = lambda _asked: None
        self.torn = False
        self.pause: Callable[[Asked], None] = lambda _asked: None
        self._lock = threading.RLock()
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        # What the store does to the log without SQLite has to be in the trace too.
        self._patch.setattr(connection, "write_again", self.write_again)
        report = sys.unraisablehook
        # Faults also come where SQLite has nobody to tell, as when it closes after another fault.
        self._patch.setattr(sys, "unraisablehook", lambda told: _is_ours(told.exc_value) or report(told))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._patch.undo()
        self.unregister()

    def mark(self, what: object) -> None:
        """Note something in the trace."""
        with self._lock:
            self.trace.append(Mark(what))

    def xOpen(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - as apsw calls it
        if name is None:
            raise AssertionError("temporary files are kept in memory")
        path = Path(name if isinstance(name, str) else name.filename())
        with self.doing("open", path.name) as failure:
            if failure is not None:
                raise failure
            opened = _TracedFile(self, path.name, name, flags)
            self.trace.append(Open(path.name))
            return opened

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802 - as apsw calls it
        base = Path(name).name
        with self.doing("delete", base) as failure:
            if failure is not None:
                raise failure
            super().xDelete(name, syncdir)
            self.trace.append(Delete(base, folder=syncdir))

    def write_again(self, log: Path) -> None:
        """What the store does to the log by itself."""
        content = log.read_bytes() if log.exists() else b""
        with self.doing("write", log.name) as failure:
            if failure is not None:
                raise OSError(errno.EIO, str(failure))
            write_again(log)
            if content:
                self.trace += [Write(log.name, 0, content), Sync(log.name, folder=False)]

    @contextmanager
    def doing(self, what: str, name: str) -> Iterator[Exception | None]:
        """Count an operation and say how it has to fail; what is inside happens at once as far as others can tell."""
        with self._lock:
            self.operations += 1
            asked = Asked(self.operations, what, name)
        self.pause(asked)
        with self._lock:
            yield self.fail(asked)


class _TracedFile(apsw.VFSFile):
    """An open file of the file system."""

    def __init__(self, vfs: TracingVfs, name: str, path: "str | apsw.URIFilename", flags: list[int]) -> None:
        super().__init__("", path, flags)
        self._vfs = vfs
        self._name = name
        # SQLite syncs the folder along with the first sync of a file that it made.
        self._syncs_folder = bool(flags[0] & _SYNCS_FOLDER and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - as apsw calls it
        with self._vfs.doing("read", self._name) as failure:
            if failure is not None:
                raise failure
        data: bytes = super().xRead(amount, offset)
        return data

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - as apsw calls it
        with self._vfs.doing("write", self._name) as failure:
            written = bytes(data) if failure is None else bytes(data)[: len(data) // 2 if self._vfs.torn else 0]
            if written:
                super().xWrite(written, offset)
                self._vfs.trace.append(Write(self._name, offset, written))
            if failure is not None:
                raise failure

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - as apsw calls it
        with self._vfs.doing("truncate", self._name) as failure:
            if failure is not None:
                raise failure
            super().xTruncate(newsize)
            self._vfs.trace.append(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - as apsw calls it
        with self._vfs.doing("sync", self._name) as failure:
            self._vfs.trace.append(Sync(self._name, folder=self._syncs_folder, failed=failure is not None))
            if failure is not None:
                raise failure
            super().xSync(flags)
            self._syncs_folder = False
