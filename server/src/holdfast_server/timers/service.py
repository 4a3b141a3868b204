"""Wakes when the next timer is due: one asyncio timer for the whole heap."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from holdfast_server.timers.heap import TimerHandle, TimerHeap

__all__ = ["TimerService"]

T = TypeVar("T")

SHORTEST_SLEEP_US = 1_000
"""Timers that come close one after the other are handed over together."""
LONGEST_SLEEP_US = 3_600_000_000
"""The clock may be set while a timer sleeps, so none sleeps longer than this without a look at it."""


class TimerService(Generic[T]):
    """Timers by the wall clock.

    Args:
        clock_us: microseconds since the Unix epoch.
        on_due: gets what is due, in order.
    """

    def __init__(self, clock_us: Callable[[], int], on_due: Callable[[Sequence[T]], None]) -> None:
        self._clock_us = clock_us
        self._on_due = on_due
        self._heap: TimerHeap[T] = TimerHeap()
        self._sleep: asyncio.TimerHandle | None = None
        self._wake_us: int | None = None
        self._running = False

    def start(self) -> None:
        """Begins to wake."""
        self._running = True
        self._schedule()

    def stop(self) -> None:
        """Wakes no more."""
        self._running = False
        if self._sleep is not None:
            self._sleep.cancel()
            self._sleep = None

    def add(self, due_us: int, payload: T) -> TimerHandle[T]:
        """Adds a timer."""
        handle = self._heap.add(due_us, payload)
        if self._running and (self._wake_us is None or due_us < self._wake_us):
            self._schedule()
        return handle

    def cancel(self, handle: TimerHandle[T]) -> None:
        """Makes a timer void."""
        self._heap.cancel(handle)

    def wake(self) -> None:
        """Hands over what is due by now."""
        self._wake_us = None
        due = self._heap.pop_due(self._clock_us())
        try:
            if due:
                self._on_due(due)
        finally:
            # Whatever one consequence runs into, the other timers go on.
            if self._running:
                self._schedule()

    def _schedule(self) -> None:
        due_us = self._heap.next_due_us()
        if self._sleep is not None:
            self._sleep.cancel()
            self._sleep = None
        self._wake_us = due_us
        if due_us is None:
            return
        wait_us = due_us - self._clock_us()
        delay_us = min(max(wait_us, SHORTEST_SLEEP_US), LONGEST_SLEEP_US) if wait_us > 0 else 0
        self._sleep = asyncio.get_running_loop().call_later(delay_us / 1_000_000, self.wake)
