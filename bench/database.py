"""How much disk a database takes."""

from contextlib import closing
from pathlib import Path

from bench.machine import BenchError
from holdfast_server.store.sqlite.driver import find_driver

WAIT_S = 10.0


def checkpointed_bytes(database: Path) -> int:
    """Copy what the write-ahead log holds into the database, and return the size of its file.

    The server stays up: its own checkpoints are made like this too, from one more connection.

    Raises:
        BenchError: Something uses the database without a pause, or this SQLite is good for one connection only.
    """
    driver = find_driver()
    if not driver.several_connections:
        raise BenchError(f"a checkpoint beside the server is not safe with {driver.description}; install pysqlite3")
    uri = f"{database.resolve().as_uri()}?mode=rw"
    with closing(driver.module.connect(uri, timeout=WAIT_S, uri=True, isolation_level=None)) as connection:
        busy, written, copied = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if busy or copied < written:
        raise BenchError(f"{database}: {written - copied} pages could not be copied from its log; it is in use")
    return database.stat().st_size
