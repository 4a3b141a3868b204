"""The store in one SQLite file."""

from holdfast_server.store.sqlite.adapter import SqliteStore

__all__ = ["SqliteStore"]
