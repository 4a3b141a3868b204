"""Hands over timers when they are due: one alarm for the whole heap."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from holdfast_server.clock import Clock
from holdfast_server.timers.heap import TimerHandle, TimerHeap

__all__ = ["TimerService"]

T = TypeVar("T")


class TimerService(Generic[T]):
    """Timers by the clock of the runs.

    Args:
        clock: tells the time, and rings.
        on_due: gets what is due, in order.
    """

    def __init__(self, clock: Clock, on_due: Callable[[Sequence[T]], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._heap: TimerHeap[T] = TimerHeap()
        self._alarm = clock.alarm(self._heap.next_due_us, self.wake)
        self._running = False

    def start(self) -> None:
        """Begins to wake."""
        self._running = True
        self._alarm.look()

    def stop(self) -> None:
        """Wakes no more."""
        self._running = False
        self._alarm.stop()

    def add(self, due_us: int, payload: T) -> TimerHandle[T]:
        """Adds a timer."""
        handle = self._heap.add(due_us, payload)
        if self._running:
            self._alarm.expect(due_us)
        return handle

    def cancel(self, handle: TimerHandle[T]) -> None:
        """Makes a timer void."""
        self._heap.cancel(handle)

    def wake(self) -> None:
        """Hands over what is due by now."""
        due = self._heap.pop_due(self._clock.now_us())
        try:
            if due:
                self._on_due(due)
        finally:
            # Whatever one consequence runs into, the other timers go on.
            if self._running:
                self._alarm.look()
