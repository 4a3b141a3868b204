"""What has to be looked at again at some time: leases, limits of attempts, parked polls, silent workers.

Most leases are settled within a second of being given, and one that lives is renewed again and again. So nothing is
moved when a time changes: an entry that comes up is asked for its time anew, and leases get an entry only once they
have lived for a second.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

__all__ = ["YOUNG_US", "Deadlines", "Watched"]

YOUNG_US = 1_000_000
VOID_MIN = 1_024


class Watched(Protocol):
    """Something with a time.

    Attributes:
        watched: kept by Deadlines: it has an entry.
    """

    watched: bool

    @property
    def open(self) -> bool:
        """Whether it still matters."""

    def due_us(self) -> int:
        """Its time as it stands now."""


T = TypeVar("T", bound=Watched)


class Deadlines(Generic[T]):
    """The heap of times."""

    __slots__ = ("_heap", "_number", "_void", "_young")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._young: deque[tuple[int, T]] = deque()
        self._number = 0
        self._void = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._young)

    def watch(self, item: T, due_us: int) -> None:
        """Looks at an item at that time. One that has an entry must not become due sooner than it was."""
        self._number += 1
        item.watched = True
        heappush(self._heap, (due_us, self._number, item))

    def watch_young(self, item: T, now_us: int) -> None:
        """Looks at an item that is not due within a second, and probably closed by then. Times must not fall."""
        self._young.append((now_us + YOUNG_US, item))

    def closed(self, item: T) -> None:
        """An item does not matter any more."""
        if item.watched:
            item.watched = False
            self._void += 1
            if self._void > VOID_MIN and self._void * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].watched]
                heapify(self._heap)
                self._void = 0

    def next_us(self) -> int | None:
        """When to call `due` next; None if nothing is watched."""
        young, heap = self._young, self._heap
        while young and not young[0][1].open:
            young.popleft()
        while heap and not heap[0][2].watched:
            heappop(heap)
            self._void -= 1
        if not heap:
            return young[0][0] if young else None
        return min(young[0][0], heap[0][0]) if young else heap[0][0]

    def due(self, now_us: int) -> list[T]:
        """The items whose time has come; they are watched no longer."""
        young = self._young
        while young and young[0][0] <= now_us:
            item = young.popleft()[1]
            if item.open:
                self.watch(item, item.due_us())
        due: list[T] = []
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            item = heappop(heap)[2]
            if not item.watched:
                self._void -= 1
                continue
            item.watched = False
            due_us = item.due_us()
            if due_us > now_us:
                self.watch(item, due_us)
            else:
                due.append(item)
        return due
