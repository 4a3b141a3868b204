"""What SQLite reports, as errors of the port with a sentence that says what to do."""

import errno
from typing import Any

from holdfast_server.store.port import StoreConflictError, StoreCorruptError, StoreError

__all__ = ["is_lasting", "of_system", "translated"]

# Primary result codes, sqlite.org/rescode.html. Extended codes carry them in the low byte.
_BUSY, _LOCKED, _NOMEM, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN = 5, 6, 7, 8, 10, 11, 13, 14
_TOOBIG, _CONSTRAINT, _NOTADB = 18, 19, 26

_SENTENCES = {
    _BUSY: "{location} is locked by another program; end that program",
    _LOCKED: "{location} is locked by another program; end that program",
    _NOMEM: "no memory left to work on {location}",
    _READONLY: "{location} cannot be written; make the file and its folder writable for this user",
    _IOERR: "the disk refused to read or write {location}; check it",
    _FULL: "no room left on the disk of {location}; free some",
    _CANTOPEN: "{location} cannot be opened; check that it exists and is writable for this user",
    _TOOBIG: "a row for {location} exceeds what SQLite can hold",
}
# After these the connection is as good as before; after all others a new one is opened.
_PASSING = frozenset({1, _BUSY, _LOCKED, _FULL, _TOOBIG, _CONSTRAINT})


def _code(error: Exception) -> int:
    """Return the primary result code; 0 when the driver itself refused."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_lasting(error: Exception) -> bool:
    """Say whether a connection that reported the error may not be used again."""
    return _code(error) not in _PASSING


def of_system(error: OSError, location: str) -> StoreError:
    """Return the error of the port for one of the operating system, in the words SQLite's own would have."""
    code = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _READONLY, errno.EACCES: _READONLY}.get(
        error.errno or 0, _IOERR
    )
    return StoreError(f"{_SENTENCES[code].format(location=location)} ({error.strerror})")


def translated(error: Exception, location: str, driver: Any) -> StoreError:
    """Return the error of the port for one of the driver.

    Args:
        error: an instance of `driver.Error`.
        location: the database, for the message.
        driver: the DB-API module the error comes from.
    """
    code = _code(error)
    if isinstance(error, driver.IntegrityError):
        return StoreConflictError(f"{location} refused the commit: {error}")
    if code in (_CORRUPT, _NOTADB):
        return StoreCorruptError(f"{location} is damaged or not a database ({error}); restore it from a backup")
    sentence = _SENTENCES.get(code, "SQLite could not do what was asked of {location}")
    return StoreError(f"{sentence.format(location=location)} ({error})")
