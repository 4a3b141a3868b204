"""Queues: the tasks that wait on each, the workers that serve it, and the polls that are parked there."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from holdfast.v1.task_pb2 import Task
from holdfast_server.matching.leases import Lease, QueuedTask
from holdfast_server.matching.lines import Line
from holdfast_server.matching.outside import Outside
from holdfast_server.matching.workers import Worker

__all__ = ["Answer", "Group", "ParkedPoll", "TaskQueue"]


class Answer:
    """Tasks on their way to a worker in one message."""

    __slots__ = ("leases", "size_bytes", "tasks")

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.leases: list[Lease] = []
        self.size_bytes = 0


class Group:
    """The workers that serve the same handlers on a queue.

    Attributes:
        ready: parked polls whose workers have free slots; the next to be served first.
        parked: how many polls are parked, ready or not.
    """

    __slots__ = ("handlers", "parked", "ready", "workers")

    def __init__(self, handlers: frozenset[str]) -> None:
        self.handlers = handlers
        self.workers: dict[Worker, None] = {}
        # Not a dict: taking the first entry of a dict over and over passes by all that were taken before.
        self.ready: OrderedDict[ParkedPoll, None] = OrderedDict()
        self.parked = 0


class ParkedPoll:
    """A poll that waits for tasks."""

    __slots__ = ("answer", "due", "future", "group", "open", "queue", "turn", "watched", "worker")

    def __init__(
        self, worker: Worker, queue: "TaskQueue", group: Group, due_us: int, future: asyncio.Future[Answer]
    ) -> None:
        self.worker = worker
        self.queue = queue
        self.group = group
        self.due = due_us
        self.future = future
        self.answer = Answer()
        self.turn = 0
        self.open = True
        self.watched = False

    def due_us(self) -> int:
        """When it is answered with nothing."""
        return self.due


class TaskQueue:
    """One queue of one namespace.

    Attributes:
        lines: tasks by handler; handlers for which none waits may be missing.
        groups: who serves it, by the set of handlers.
        running: tasks from here that workers have.
        outside: tasks of runs that are not in memory.
    """

    __slots__ = ("_turns", "groups", "lines", "name", "namespace", "outside", "running")

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self.lines: dict[str, Line] = {}
        self.groups: dict[frozenset[str], Group] = {}
        self.running = 0
        self.outside = Outside()
        self._turns = 0

    @property
    def idle(self) -> bool:
        """Whether nobody and nothing is here."""
        return not self.groups and not self.running and not self.waiting and not self.outside

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return sum(line.waiting for line in self.lines.values())

    def add(self, task: QueuedTask) -> None:
        """A task begins to wait."""
        line = self.lines.get(task.handler)
        if line is None:
            line = self.lines[task.handler] = Line(task.handler)
        line.add(task)

    def withdraw(self, task: QueuedTask) -> None:
        """A waiting task waits no longer."""
        line = self.lines[task.handler]
        line.withdraw(task)
        if not line.waiting:
            del self.lines[task.handler]

    def lines_for(self, handlers: frozenset[str]) -> list[Line]:
        """The lines in which tasks wait for these handlers. Drops empty ones."""
        found, empty = [], []
        for handler, line in self.lines.items():
            if not line.waiting:
                empty.append(handler)
            elif handler in handlers:
                found.append(line)
        for handler in empty:
            del self.lines[handler]
        return found

    def oldest_us(self) -> int | None:
        """When the task that has waited longest was queued, in memory or outside; None if none waits."""
        heads = [head.since_us for line in self.lines.values() if (head := line.oldest()) is not None]
        outside_us = self.outside.oldest_us()
        if outside_us is not None:
            heads.append(outside_us)
        return min(heads, default=None)

    def wanted_from_outside(self, handlers: frozenset[str]) -> list[str]:
        """For which of these handlers tasks are to be fetched now."""
        wanted = []
        for handler in self.outside.handlers():
            if handler in handlers:
                line = self.lines.get(handler)
                head = line.oldest() if line is not None else None
                waiting = line.waiting if line is not None else 0
                if self.outside.wanted(handler, waiting, None if head is None else head.since_us):
                    wanted.append(handler)
        return wanted

    def serves(self, handler: str) -> bool:
        """Whether a worker serves the handler here."""
        return any(group.workers and handler in group.handlers for group in self.groups.values())

    def workers(self) -> Iterator[Worker]:
        """Who serves it."""
        for group in self.groups.values():
            yield from group.workers

    def enlist(self, worker: Worker, handlers: frozenset[str]) -> Group:
        """A worker serves these handlers here, and no others."""
        group = worker.serving.get(self)
        if group is not None:
            if group.handlers == handlers:
                return group
            self.dismiss(worker)
        group = self.groups.get(handlers)
        if group is None:
            group = self.groups[handlers] = Group(handlers)
        group.workers[worker] = None
        worker.serving[self] = group
        return group

    def dismiss(self, worker: Worker) -> None:
        """A worker serves nothing here any more."""
        group = worker.serving.pop(self)
        group.workers.pop(worker, None)
        self._drop_if_empty(group)

    def park(self, poll: ParkedPoll) -> None:
        """A poll begins to wait; it becomes ready by `make_ready`."""
        poll.group.parked += 1
        poll.worker.parked[poll] = None

    def unpark(self, poll: ParkedPoll) -> None:
        """A poll waits no longer."""
        poll.open = False
        poll.group.parked -= 1
        poll.group.ready.pop(poll, None)
        del poll.worker.parked[poll]
        self._drop_if_empty(poll.group)

    def make_ready(self, poll: ParkedPoll) -> None:
        """A poll may be served, after all that are ready."""
        self._turns += 1
        poll.turn = self._turns
        poll.group.ready[poll] = None
        poll.group.ready.move_to_end(poll)

    def _drop_if_empty(self, group: Group) -> None:
        if not group.workers and not group.parked and self.groups.get(group.handlers) is group:
            del self.groups[group.handlers]
