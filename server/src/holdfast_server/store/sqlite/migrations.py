"""Brings the schema of a database to the newest version, and knows a database that is not ours.

A migration is a file `migrations/NNNN_name.sql`; its number is the `user_version` after it. Each runs in a transaction
of its own, so a server that dies in the middle leaves the version before.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from holdfast_server.store.port import StoreCorruptError, StoreTooNewError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Migration", "migrate", "read_version"]

APPLICATION_ID = 0x484F4C44
"""`HOLD`, in the header of each database of ours."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    """The `user_version` after it, from 1."""
    script: str


def _load() -> tuple[Migration, ...]:
    folder = files(__package__).joinpath("migrations")
    found = [
        Migration(int(match.group(1)), entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _FILE_NAME.fullmatch(entry.name))
    ]
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered from 1 without a gap")
    return tuple(found)


MIGRATIONS: Sequence[Migration] = _load()
"""All migrations in their order."""


def read_version(connection: sqlite3.Connection, location: str, known: int = len(MIGRATIONS)) -> int:
    """Return the schema version of a database, at most `known`; 0 for an empty one. Writes nothing.

    Raises:
        StoreTooNewError: a newer server has migrated it.
        StoreCorruptError: it belongs to another application.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0 and application_id == 0 and version == 0:
        return 0
    if application_id != APPLICATION_ID or version < 1:
        raise StoreCorruptError(f"{location} is a database of another application; name another file")
    if version > known:
        raise StoreTooNewError(location, version, known)
    return int(version)


def migrate(connection: sqlite3.Connection, location: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Apply what is missing and return the version reached; the connection must be in autocommit mode."""
    version = read_version(connection, location, len(migrations))
    for migration in migrations[version:]:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.script}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {migration.version};\nCOMMIT;"
        )
        version = migration.version
    return version
