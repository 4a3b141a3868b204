"""Copies a database into one plain file: page by page beside a running server, or rewritten without its free pages.

A copy has no log beside it, belongs to its owner only, and is on disk when it has its name. Until then it has another
one, so what has the name is whole.
"""

import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast_server.store.port import StoreCorruptError, StoreError, StoreLockedError
from holdfast_server.store.sqlite.connection import BUSY_TIMEOUT_MS
from holdfast_server.store.sqlite.driver import Driver
from holdfast_server.store.sqlite.failures import translated
from holdfast_server.store.sqlite.migrations import migrate, read_version
from holdfast_server.store.sqlite.queries import QUERIES

__all__ = ["Progress", "begin_anew", "copy_pages", "only_reading", "put_in_place", "rewrite", "scratch_copy", "settle"]

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and how many there are in all, as far as that is known."""

PIECE_PAGES = 1_024
"""Copied in one go. The copy is synced after each, so that no commit of a server has to wait for all of it at once."""
STEPS_PER_LOOK = 200_000
"""Steps of SQLite's machine between two looks at how far it is."""


@contextmanager
def only_reading(path: Path, driver: Driver) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing to the database, beside a server or not; ours is checked.

    Raises:
        StoreError: it cannot be read.
        StoreCorruptError: it is no database of ours.
        StoreTooNewError: a newer version has written it.
    """
    if not path.is_file():
        raise StoreError(f"{path} is not there; name the file of a database")
    with _told(str(path), driver), contextlib.closing(_connect(path, driver, "ro")) as connection:
        if read_version(connection, str(path)) == 0:
            raise StoreCorruptError(f"{path} is empty; name the file of a database")
        connection.execute("PRAGMA query_only = ON").fetchall()
        yield connection


@contextmanager
def scratch_copy(path: Path, what: str) -> Iterator[Path]:
    """A private, empty file beside `path` to copy into; it is removed unless it was put in place.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=f".{what}", dir=path.parent)
    except OSError as error:
        raise StoreError(f"nothing can be written beside {path} ({error.strerror})") from error
    os.close(descriptor)
    scratch = Path(name)
    try:
        yield scratch
    finally:
        for file in (scratch, *_companions(scratch)):
            file.unlink(missing_ok=True)


def copy_pages(source: Path, target: Path, driver: Driver, progress: Progress, *, paced: bool) -> None:
    """Copies what is committed in a database at this moment, and syncs the copy.

    The copy is of one moment, however long it takes: one transaction is held open meanwhile, so the log of the server
    grows as long as that lasts.

    Args:
        source: the database; a server may be at work on it.
        target: an empty file.
        driver: the SQLite library.
        progress: told after each piece.
        paced: rest after each piece as long as it took, for the sake of those who wait for the same disk.

    Raises:
        StoreError: it cannot be read or written.
    """
    with only_reading(source, driver) as reader, _told(str(target), driver):
        with contextlib.closing(_connect(target, driver, "rw")) as writer:
            writer.execute("PRAGMA synchronous = OFF").fetchall()  # it is synced here
            (page_bytes,) = reader.execute("PRAGMA page_size").fetchone()
            with target.open("rb+") as file:
                begin_s = time.monotonic()

                def piece_done(_status: int, left: int, pages: int) -> None:
                    nonlocal begin_s
                    os.fsync(file.fileno())
                    progress((pages - left) * page_bytes, pages * page_bytes)
                    if paced and left:
                        time.sleep(time.monotonic() - begin_s)
                    begin_s = time.monotonic()

                reader.execute("BEGIN").close()
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # the moment it is a copy of
                reader.backup(writer, pages=PIECE_PAGES, progress=piece_done)
                reader.execute("COMMIT").close()
            # A file of its own again, without a log that could be forgotten.
            writer.execute("PRAGMA journal_mode = DELETE").fetchall()
        _sync(target)


def rewrite(source: Path, target: Path, driver: Driver, progress: Progress) -> None:
    """Writes a database anew, without its free pages and in order, and syncs that; nobody else may be at work on it.

    Args:
        source: the database.
        target: an empty file.
        driver: the SQLite library.
        progress: told every now and then.

    Raises:
        StoreError: it cannot be read or written.
    """
    with only_reading(source, driver) as reader:
        (page_bytes,), (pages,), (free,) = (
            reader.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
        )
        expected_bytes = page_bytes * (pages - free)

        def look() -> None:
            progress(min(target.stat().st_size, expected_bytes), expected_bytes)

        reader.set_progress_handler(look, STEPS_PER_LOOK)
        reader.execute("PRAGMA query_only = OFF").fetchall()  # of the copy it would keep it too
        reader.execute("VACUUM INTO ?", (str(target),)).close()
        progress(expected_bytes, expected_bytes)
    _sync(target)


def begin_anew(path: Path, driver: Driver) -> None:
    """Makes a copy the beginning of another life of its database: of the newest version, with other lease tokens.

    What happened after the copy was made happens again, with the same numbers in the tokens; those that are still about
    must not be taken for the new ones.

    Raises:
        StoreError: it cannot be read or written.
    """
    with _told(str(path), driver), contextlib.closing(_connect(path, driver, "rw")) as connection:
        migrate(connection, str(path))
        connection.execute(QUERIES["forget_token_key"]).close()


def settle(path: Path, driver: Driver) -> None:
    """Brings all that is committed into the file of a database itself, so that its log can be left behind.

    Raises:
        StoreLockedError: another program is at work on it.
        StoreCorruptError: it is damaged, or no database.
        StoreError: it cannot be read or written.
    """
    with _told(str(path), driver), contextlib.closing(_connect(path, driver, "rw")) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreLockedError(str(path), "another program")


def put_in_place(copy: Path, path: Path) -> None:
    """Lets a copy take the place of a database, in one step; the log of what was there must be settled or void.

    Raises:
        StoreError: that is not possible.
    """
    try:
        # A log that is left would be taken for that of the copy.
        for companion in _companions(path):
            companion.unlink(missing_ok=True)
        copy.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be replaced ({error.strerror})") from error


def _connect(path: Path, driver: Driver, mode: str) -> sqlite3.Connection:
    connection: sqlite3.Connection = driver.module.connect(
        f"{path.absolute().as_uri()}?mode={mode}", timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, uri=True
    )
    return connection


@contextmanager
def _told(location: str, driver: Driver) -> Iterator[None]:
    try:
        yield
    except driver.module.Error as error:
        raise translated(error, location, driver.module) from error
    except OSError as error:
        raise StoreError(f"{location} cannot be read or written ({error.strerror})") from error


def _companions(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal")]


def _sync(path: Path) -> None:
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})") from error


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # there the name is on disk with the file
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
