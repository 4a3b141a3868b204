"""What a worker saw with its own eyes, to be held against what the server says later.

A worker process appends a line for every handler it runs and for every result it is told is accepted. The lines outlive
the kill of any process, so they show what was promised to whom, and in which order.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Line", "Oracle", "Pen"]

RAN = "ran"
ACCEPTED = "accepted"


@dataclass(frozen=True)
class Line:
    """One thing a worker saw."""

    what: str
    run_id: str
    path: str
    attempt: int
    key: str


class Pen:
    """Appends lines; each is one write, so that those of several processes do not mix."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, line: Line) -> None:
        """Adds a line."""
        fields = (line.what, line.run_id, line.path, str(line.attempt), line.key)
        os.write(self._descriptor, (" ".join(fields) + "\n").encode())


class Oracle:
    """All lines, in order."""

    def __init__(self, file: Path) -> None:
        self.lines = [_read(text) for text in file.read_text().splitlines()]

    @property
    def accepted(self) -> set[tuple[str, str, int]]:
        """Activations and attempts whose results a worker was told are accepted."""
        return {(line.run_id, line.path, line.attempt) for line in self.lines if line.what == ACCEPTED}

    def run_again(self) -> list[Line]:
        """Handlers that began after a result of their activation had been accepted: promise 2 broken."""
        done: set[tuple[str, str]] = set()
        again: list[Line] = []
        for line in self.lines:
            if line.what == ACCEPTED:
                done.add((line.run_id, line.path))
            elif (line.run_id, line.path) in done:
                again.append(line)
        return again

    def executions(self) -> Counter[tuple[str, str]]:
        """How often each activation was begun."""
        return Counter((line.run_id, line.path) for line in self.lines if line.what == RAN)

    def idempotency_keys(self) -> Iterator[tuple[tuple[str, str], set[str]]]:
        """The idempotency keys each activation was run under."""
        found: dict[tuple[str, str], set[str]] = {}
        for line in self.lines:
            if line.what == RAN:
                found.setdefault((line.run_id, line.path), set()).add(line.key)
        yield from found.items()


def _read(text: str) -> Line:
    what, run_id, path, attempt, key = text.split(" ")
    return Line(what, run_id, path, int(attempt), key)


def lost(accepted: Iterable[tuple[str, str, int]], recorded: set[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Accepted results the server's histories do not have: promise 1 broken."""
    return sorted(set(accepted) - recorded)
