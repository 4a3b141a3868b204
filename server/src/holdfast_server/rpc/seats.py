"""Seats for calls that last: parked and streaming ones hold memory for as long as their callers like."""

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast_server.engine.refusal import limit_exceeded

__all__ = ["Seats"]


class Seats:
    """A number of seats.

    Args:
        limit: how many there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A seat for as long as a call lasts.

        Raises:
            Refused: LIMIT_EXCEEDED if all are taken.
        """
        if self._taken >= self._limit:
            raise limit_exceeded("the server", "open_calls", self._limit, self._taken + 1)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
