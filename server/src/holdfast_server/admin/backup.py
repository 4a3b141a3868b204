"""Makes a backup: one plain file that holds a database as it was at one moment, beside its server or without one."""

from dataclasses import dataclass
from pathlib import Path

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite.copying import Progress, copy_pages, put_in_place, scratch_copy
from holdfast_server.store.sqlite.driver import Driver

__all__ = ["Copied", "FileTakenError", "back_up"]


class FileTakenError(StoreError):
    """The file to be written is there already."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that was written."""

    size_bytes: int
    before_bytes: int
    """What it was made from, with its log."""


def back_up(database: Path, file: Path, driver: Driver, progress: Progress, *, force: bool) -> Copied:
    """Copies a database to a file; a server may be at work on it.

    Args:
        database: the database.
        file: where the backup goes; it has that name once it is complete and on disk.
        driver: the SQLite library.
        progress: told how many bytes are done.
        force: whether a file that is there is replaced.

    Raises:
        FileTakenError: the file is there.
        StoreError: the database cannot be read, or the file not be written.
    """
    check_free(file, force=force)
    if file.exists() and file.samefile(database):
        raise FileTakenError(f"{file} is the database itself")
    before_bytes = stored_bytes(database)
    with scratch_copy(file, "backup") as scratch:
        copy_pages(database, scratch, driver, progress, paced=True)
        put_in_place(scratch, file)
    return Copied(file.stat().st_size, before_bytes)


def check_free(file: Path, *, force: bool) -> None:
    """Sees that a file may be written.

    Raises:
        FileTakenError: it is there.
    """
    if file.exists() and not force:
        raise FileTakenError(f"{file} is there already")


def stored_bytes(database: Path) -> int:
    """Size of a database with its log; 0 if it is not there."""
    log = database.with_name(f"{database.name}-wal")
    return sum(one.stat().st_size for one in (database, log) if one.is_file())
