"""The one asyncio timer of matching."""

import asyncio
from collections.abc import Callable

__all__ = ["Alarm"]

SECOND_US = 1_000_000


class Alarm:
    """Calls back at a time; a new time replaces the old one."""

    __slots__ = ("_clock_us", "_handle")

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_us: int, ring: Callable[[], None]) -> None:
        """Calls `ring` at `due_us`, at once if that has passed."""
        self.cancel()
        delay_s = max(due_us - self._clock_us(), 0) / SECOND_US
        self._handle = asyncio.get_running_loop().call_later(delay_s, ring)

    def cancel(self) -> None:
        """Calls nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
