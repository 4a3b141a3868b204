"""Puts a backup in the place of a database: verified first, then in one step, and never under a running server."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from holdfast_server.admin.backup import check_free
from holdfast_server.admin.verify import Report, Steps, verify
from holdfast_server.store.port import StoreCorruptError
from holdfast_server.store.sqlite.copying import begin_anew, copy_pages, put_in_place, scratch_copy, settle
from holdfast_server.store.sqlite.driver import Driver
from holdfast_server.store.sqlite.lock import LockFile

__all__ = ["locked", "restore"]


@contextmanager
def locked(database: Path, clock_us: Callable[[], int]) -> Iterator[None]:
    """Keeps servers off a database meanwhile.

    Raises:
        StoreLockedError: one is at work on it.
    """
    lock = LockFile(database, clock_us)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def restore(file: Path, database: Path, driver: Driver, progress: Steps, *, force: bool) -> Report:
    """Verifies a copy of a backup and lets it take the place of a database, unless it has faults.

    Args:
        file: the backup.
        database: what it replaces; need not be there. The lock must be held.
        driver: the SQLite library.
        progress: told what is being done and how far it is.
        force: whether a database that is there is replaced.

    Returns:
        what the checks found; with faults nothing was replaced.

    Raises:
        FileTakenError: there is a database.
        StoreError: the backup cannot be read, or the database not be written.
    """
    check_free(database, force=force)
    with scratch_copy(database, "restore") as scratch:
        copy_pages(file, scratch, driver, partial(progress, "copying"), paced=False)
        begin_anew(scratch, driver)
        report = verify(scratch, driver, progress)
        if not report.faults:
            _leave_log(database, driver)
            put_in_place(scratch, database)
    return report


def _leave_log(database: Path, driver: Driver) -> None:
    """Makes what is there complete without its log, so that a crash in what follows leaves one of the two databases."""
    if not database.is_file():
        return
    # One that is damaged may be the reason why a backup takes its place: there is nothing to keep of it.
    with contextlib.suppress(StoreCorruptError):
        settle(database, driver)
