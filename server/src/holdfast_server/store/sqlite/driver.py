"""Chooses the SQLite library: the current one that comes with pysqlite3, else the one of Python."""

import importlib
import logging
from dataclasses import dataclass
from typing import Any

from holdfast_server.store.port import StoreError

__all__ = ["Driver", "find_driver"]

_log = logging.getLogger(__name__)

OLDEST = (3, 38, 0)
"""Has `->>`, `STRICT`, `RETURNING` and `UPDATE FROM`."""
SAFE_WITH_SEVERAL = (3, 51, 3)
"""Before it, two connections could lose committed pages when one reset the WAL while the other checkpointed."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A DB-API module and what its SQLite can do."""

    module: Any
    """`pysqlite3.dbapi2` or `sqlite3`; errors must be caught as this module's."""
    version: tuple[int, int, int]
    several_connections: bool
    """Whether more than one connection to a file is safe."""
    keeps_nul: bool
    """Whether a NUL character in JSON text survives; older ones cut the text there."""

    @property
    def description(self) -> str:
        """For people, for example `sqlite 3.53.4`."""
        name = "sqlite " + ".".join(map(str, self.version))
        return name if self.several_connections else f"{name}, one connection"


def describe(module: Any) -> Driver:
    """Return what the SQLite of a DB-API module can do.

    Raises:
        StoreError: it is too old.
    """
    major, minor, patch = map(int, module.sqlite_version.split("."))
    version = (major, minor, patch)
    if version < OLDEST:
        raise StoreError(
            f"SQLite {module.sqlite_version} of {module.__name__} is too old; "
            f"Holdfast needs {'.'.join(map(str, OLDEST))} or newer: install pysqlite3 or a newer Python"
        )
    probe = module.connect(":memory:")
    try:
        (length,) = probe.execute("""SELECT length(CAST('["a\\u0000b"]' ->> 0 AS BLOB))""").fetchone()
    finally:
        probe.close()
    return Driver(module, version, several_connections=version >= SAFE_WITH_SEVERAL, keeps_nul=length == len("a\0b"))


def find_driver(names: tuple[str, ...] = ("pysqlite3.dbapi2", "sqlite3")) -> Driver:
    """Return the first of the modules that is installed; warns when it is good for one connection only.

    Raises:
        StoreError: its SQLite is too old.
    """
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:  # pysqlite3 has wheels for the common platforms only
            continue
        driver = describe(module)
        if not driver.several_connections:
            _log.warning(
                "SQLite %s is older than %s and can lose data with several connections: using one, which is slower",
                module.sqlite_version,
                ".".join(map(str, SAFE_WITH_SEVERAL)),
            )
        return driver
    raise StoreError(f"no SQLite library found; looked for {', '.join(names)}")
