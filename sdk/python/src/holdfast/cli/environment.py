"""What commands need from the machine, in one place, so that tests can put something else there."""

import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

__all__ = ["Environment"]


def _now() -> datetime:
    return datetime.now(UTC)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # only now: `--help` does without

    return asyncio.run(work)


def _is_person() -> bool:
    """Return whether somebody sits in front of it who can be asked: input and messages are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _read_line() -> str:
    return sys.stdin.readline()


def _read_bytes() -> bytes:
    return sys.stdin.buffer.read()


@dataclass(frozen=True)
class Environment:
    """The machine as commands see it.

    Attributes:
        clock: Tells the present time, with a time zone.
        zone: Time zone that times are shown in; None for that of the machine.
        run: Runs a coroutine to its end.
        is_person: Tells whether there is somebody who can be asked.
        read_line: Returns the line somebody typed, with its line break; empty at the end of the input.
        read_bytes: Returns all of the standard input.
        variables: The environment variables.
    """

    clock: Callable[[], datetime] = _now
    zone: tzinfo | None = None
    run: Callable[[Coroutine[Any, Any, Any]], Any] = _run
    is_person: Callable[[], bool] = _is_person
    read_line: Callable[[], str] = _read_line
    read_bytes: Callable[[], bytes] = _read_bytes
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
