"""Waiting tasks in the order of being queued: one line per handler, and the merging of several lines."""

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

from holdfast_server.matching.leases import GONE, WAITING, QueuedTask

__all__ = ["Feed", "Line"]

VOID_MIN = 64
"""A line with fewer void entries than this is not worth cleaning."""


class Line:
    """The waiting tasks of one handler on one queue, oldest first.

    Almost all tasks are offered in the order of being queued and go to the end. Those that come late (a run that was
    resumed or reloaded) go to a heap beside it, so that nothing is ever shifted or sorted.

    Attributes:
        waiting: how many tasks wait.
    """

    __slots__ = ("_late", "_number", "_tasks", "handler", "waiting")

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self._tasks: deque[QueuedTask] = deque()
        self._late: list[tuple[int, int, QueuedTask]] = []
        self._number = 0
        self.waiting = 0

    def add(self, task: QueuedTask) -> None:
        """A task begins to wait."""
        task.place = WAITING
        tasks = self._tasks
        if tasks and task.since_us < tasks[-1].since_us:
            self._number += 1
            heappush(self._late, (task.since_us, self._number, task))
        else:
            tasks.append(task)
        self.waiting += 1

    def withdraw(self, task: QueuedTask) -> None:
        """A task of this line waits no longer."""
        task.place = GONE
        self.waiting -= 1
        # Its entry stays until it comes up; so it costs nothing to withdraw, and nothing piles up.
        void = len(self._tasks) + len(self._late) - self.waiting
        if void > VOID_MIN and void > self.waiting:
            self._tasks = deque(entry for entry in self._tasks if entry.place == WAITING)
            self._late = [entry for entry in self._late if entry[2].place == WAITING]
            heapify(self._late)

    def oldest(self) -> QueuedTask | None:
        """The task that has waited longest; None if none waits."""
        tasks, late = self._tasks, self._late
        while tasks and tasks[0].place != WAITING:
            tasks.popleft()
        while late and late[0][2].place != WAITING:
            heappop(late)
        if late and (not tasks or late[0][0] < tasks[0].since_us):
            return late[0][2]
        return tasks[0] if tasks else None

    def take(self) -> QueuedTask | None:
        """Takes the task that has waited longest; None if none waits. Its place is the caller's to set."""
        if self._late:
            oldest = self.oldest()
            if oldest is not None and self._late and self._late[0][2] is oldest:
                heappop(self._late)
                self.waiting -= 1
                return oldest
        tasks = self._tasks
        while tasks:
            task = tasks.popleft()
            if task.place == WAITING:
                self.waiting -= 1
                return task
        return None


class Feed:
    """Takes from several lines whatever has waited longest. Others may take from the same lines meanwhile."""

    __slots__ = ("_heads",)

    def __init__(self, lines: Sequence[Line]) -> None:
        # A key that is out of date is too small, because what comes up later was queued later: looking again when it
        # comes to the top is enough.
        self._heads = [(0, number, line) for number, line in enumerate(lines)]

    def take(self) -> QueuedTask | None:
        """Takes the oldest task; None if none waits."""
        heads = self._heads
        while len(heads) > 1:
            since_us, number, line = heads[0]
            oldest = line.oldest()
            if oldest is None:
                heappop(heads)
            elif oldest.since_us != since_us:
                heapreplace(heads, (oldest.since_us, number, line))
            else:
                return line.take()
        return heads[0][2].take() if heads else None
