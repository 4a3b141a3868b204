"""Gives the room that deleted runs have left in a database back to the disk, while no server is at work on it."""

from pathlib import Path

from holdfast_server.admin.backup import Copied, stored_bytes
from holdfast_server.store.sqlite.copying import Progress, put_in_place, rewrite, scratch_copy, settle
from holdfast_server.store.sqlite.driver import Driver

__all__ = ["vacuum"]


def vacuum(database: Path, driver: Driver, progress: Progress) -> Copied:
    """Writes a database anew beside it, and lets that take its place; a crash leaves what was there.

    Args:
        database: the database; the lock must be held. Beside it there must be room for what is in it.
        driver: the SQLite library.
        progress: told how many bytes are done.

    Raises:
        StoreCorruptError: it is damaged; nothing was replaced.
        StoreError: it cannot be read or written.
    """
    before_bytes = stored_bytes(database)
    settle(database, driver)
    with scratch_copy(database, "vacuum") as scratch:
        rewrite(database, scratch, driver, progress)
        put_in_place(scratch, database)
    return Copied(stored_bytes(database), before_bytes)
