"""What workers and clients write down of what they did and were told, in files that outlive every kill.

A line is a JSON array. What somebody else promised is on the disk before its reader goes on; what the reader itself did
is written before, and a kill of the process cannot lose it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from holdfast_server.matching.tokens import HEAD

__all__ = [
    "Began",
    "Done",
    "Ended",
    "Gone",
    "Meant",
    "Note",
    "Pen",
    "Ran",
    "Refused",
    "Saw",
    "Settled",
    "Tail",
    "Told",
    "Wrong",
    "lease_of",
    "read",
    "server_epoch_of",
]

EPOCH_BITS = 40


@dataclass(frozen=True, slots=True)
class Ran:
    """A worker begins to run a handler."""

    run_id: str
    path: str
    attempt: int
    lease: int
    worker: str
    key: str
    """The idempotency key."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A worker was told that a result is accepted."""

    run_id: str
    path: str
    attempt: int
    lease: int
    outcome: str
    """`output`, `failure`, `canceled` or `returned`."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker was told that a result is refused for good."""

    run_id: str
    path: str
    attempt: int
    lease: int
    reason: str


@dataclass(frozen=True, slots=True)
class Began:
    """A client takes a run in hand; whoever comes after it goes on with it."""

    run_id: str
    script: str


@dataclass(frozen=True, slots=True)
class Meant:
    """A client is about to ask for a change."""

    run_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """A client was told that a change is accepted."""

    run_id: str
    request_id: str
    answer: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A client was told that a change is refused."""

    run_id: str
    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Saw:
    """A client was shown an event."""

    run_id: str
    seq: int
    digest: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A client was told how a run ended."""

    run_id: str
    run_epoch: int
    state: str
    output: str
    """Digest of the output."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A client was told something that cannot be."""

    run_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Done:
    """A client is through with a run."""

    run_id: str


Note = Ran | Settled | Gone | Began | Meant | Told | Refused | Saw | Ended | Wrong | Done
_KINDS = {kind.__name__: kind for kind in (Ran, Settled, Gone, Began, Meant, Told, Refused, Saw, Ended, Wrong, Done)}


class Pen:
    """Adds notes to a file that several processes may add to.

    Args:
        file: The file; made if it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *notes: Note, synced: bool = False) -> None:
        """Add notes in one write, so that those of several processes do not mix.

        Args:
            notes: What to write.
            synced: Return only when it is on disk.
        """
        if not notes:
            return
        text = "".join(json.dumps([type(note).__name__, *astuple(note)]) + "\n" for note in notes)
        os.write(self._descriptor, text.encode())
        if synced:
            os.fsync(self._descriptor)


def read(files: Iterable[Path]) -> Iterator[Note]:
    """Yield the notes of files, each in its order."""
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                name, *fields = json.loads(line)
                yield _KINDS[name](*fields)


class Tail:
    """Counts notes in a file that grows.

    Args:
        file: The file; it need not be there yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = 0
        self._counts: Counter[str] = Counter()

    def count(self, kind: str) -> int:
        """Return how many notes of a kind there are by now."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._read_bytes)
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    self._read_bytes += len(line)
                    self._counts[json.loads(line)[0]] += 1
        return self._counts[kind]


def lease_of(token: bytes) -> int:
    """Return the number of the lease a token proves; numbers grow within an activation, over restarts too."""
    lease: int = HEAD.unpack_from(token)[3]
    return lease


def server_epoch_of(lease: int) -> int:
    """Return which start of the server gave a lease."""
    return lease >> EPOCH_BITS
