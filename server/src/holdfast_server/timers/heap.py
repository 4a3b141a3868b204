"""A heap of due times with cancelling: dead entries stay until they surface or outnumber the living."""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

__all__ = ["TimerHandle", "TimerHeap"]

T = TypeVar("T")

DEAD_MIN = 64


class TimerHandle(Generic[T]):
    """A timer in the heap.

    Attributes:
        due_us: when it is due, microseconds since the Unix epoch.
        payload: what is handed back when it is; None once it is over.
    """

    __slots__ = ("due_us", "payload")

    def __init__(self, due_us: int, payload: T) -> None:
        self.due_us = due_us
        self.payload: T | None = payload


class TimerHeap(Generic[T]):
    """Due times in order. Adding and taking cost the logarithm of the number of timers, cancelling nothing."""

    __slots__ = ("_dead", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TimerHandle[T]]] = []
        self._number = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def add(self, due_us: int, payload: T) -> TimerHandle[T]:
        """Adds a timer; of those due at the same time, the one added first comes first."""
        handle = TimerHandle(due_us, payload)
        self._number += 1
        heappush(self._heap, (due_us, self._number, handle))
        return handle

    def cancel(self, handle: TimerHandle[T]) -> None:
        """Makes a timer void. One that is over or void already stays so."""
        if handle.payload is None:
            return
        handle.payload = None
        self._dead += 1
        if self._dead > DEAD_MIN and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].payload is not None]
            heapify(self._heap)
            self._dead = 0

    def next_due_us(self) -> int | None:
        """When the next timer is due; None if there is none."""
        self._drop_dead()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_us: int) -> list[T]:
        """Takes what is due, in order."""
        due: list[T] = []
        while True:
            self._drop_dead()
            if not self._heap or self._heap[0][0] > now_us:
                return due
            handle = heappop(self._heap)[2]
            if handle.payload is not None:
                due.append(handle.payload)
                handle.payload = None

    def _drop_dead(self) -> None:
        while self._heap and self._heap[0][2].payload is None:
            heappop(self._heap)
            self._dead -= 1
