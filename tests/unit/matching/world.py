"""What the tests of matching share: a clock, an owner that keeps what it was told, and shorthand for workers."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.v1.worker_service_pb2 import HeldState, HeldTask
from holdfast_server.clock import Clocks
from holdfast_server.matching.matching import (
    Adopted,
    HandedOut,
    Matching,
    MatchingSettings,
    QueuedTask,
    Tokens,
)
from tests.unit.hand_clock import HandClock

SECOND_US = 1_000_000
LEASE_US = 30 * SECOND_US
PARK_US = 60 * SECOND_US
NAMESPACE, QUEUE, HANDLER = "default", "default", "search"
KEY = b"k" * 32

HELD = HeldState.HELD_STATE_HELD
CANCEL = HeldState.HELD_STATE_CANCEL_REQUESTED
LOST = HeldState.HELD_STATE_LOST


@dataclass
class FakeOwner:
    """Runs that take everything as it comes."""

    void: set[tuple[int, str]] = field(default_factory=set)
    start_to_close_us: int | None = 600 * SECOND_US
    heartbeat_us: int | None = None
    size_bytes: int = 500
    adopted_start_us: int = 0
    adoptions: list[tuple[int, str, int, str, int]] = field(default_factory=list)
    ended: list[tuple[int, str, int, str]] = field(default_factory=list)
    returned: list[tuple[int, str, int]] = field(default_factory=list)
    fetched: list[tuple[str, str, str]] = field(default_factory=list)
    leases: Iterator[int] = field(default_factory=lambda: count(1))
    on_hand_out: Callable[[QueuedTask], None] = lambda task: None

    def hand_out(self, task: QueuedTask, worker: WorkerInfo) -> HandedOut | None:
        self.on_hand_out(task)
        if (task.run_key, task.path) in self.void:
            return None
        message = Task(
            run_id=str(task.run_key),
            step_path=task.path,
            attempt=task.attempt,
            handler=task.handler,
            queue=task.queue,
        )
        return HandedOut(message, next(self.leases), self.start_to_close_us, self.heartbeat_us, self.size_bytes)

    def adopt(self, task: QueuedTask, worker: WorkerInfo, lease: int) -> Adopted | None:
        if (task.run_key, task.path) in self.void:
            return None
        self.adoptions.append((task.run_key, task.path, task.attempt, worker.id, lease))
        return Adopted(self.adopted_start_us, self.start_to_close_us, self.heartbeat_us)

    def attempt_ended(self, run_key: int, path: str, attempt: int, kind: str, detail: str) -> None:
        assert detail
        self.ended.append((run_key, path, attempt, kind))

    def attempt_returned(self, run_key: int, path: str, attempt: int) -> None:
        self.returned.append((run_key, path, attempt))

    def fetch(self, namespace: str, queue: str, handler: str) -> None:
        self.fetched.append((namespace, queue, handler))


def info(worker: str = "w1", session: str = "s1") -> WorkerInfo:
    return WorkerInfo(id=worker, session_id=session, language="python")


class World:
    """Matching with all that surrounds it."""

    def __init__(self, settings: MatchingSettings | None = None, epoch: int = 1) -> None:
        self.clock = HandClock(1_000 * SECOND_US)
        self.owner = FakeOwner()
        self.epoch = epoch
        self.settings = settings or MatchingSettings()
        self.matching = self.new_matching()
        self.matching.dispatch()

    @property
    def now_us(self) -> int:
        return self.clock.time_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        self.clock.time_us = now_us

    @property
    def clocks(self) -> Clocks:
        """One clock for all, as for a server that nobody sets the clock of."""
        return Clocks(self.clock, self.clock, self.clock)

    def new_matching(self) -> Matching:
        return Matching(self.owner, Tokens(KEY, self.epoch), self.clocks, self.settings)

    def restart(self) -> None:
        """A new server on the same database; nothing of matching survives."""
        self.epoch += 1
        self.clock.forget()
        self.matching = self.new_matching()

    def pass_time(self, seconds: float) -> None:
        """Lets time pass; whatever is due on the way happens at its time."""
        self.clock.pass_to(self.now_us + int(seconds * SECOND_US))

    def task(
        self,
        run: int,
        *,
        path: str = "a",
        handler: str = HANDLER,
        attempt: int = 1,
        queue: str = QUEUE,
        since_us: int = 0,
    ) -> QueuedTask:
        return QueuedTask(run, NAMESPACE, queue, handler, path, attempt, since_us or self.now_us)

    def offer(self, *runs: int, path: str = "a", handler: str = HANDLER, attempt: int = 1, queue: str = QUEUE) -> None:
        for run in runs:
            self.matching.offer(self.task(run, path=path, handler=handler, attempt=attempt, queue=queue))

    def take(
        self,
        worker: str = "w1",
        *,
        slots: int = 10,
        session: str = "s1",
        handlers: Sequence[str] = (HANDLER,),
        queue: str = QUEUE,
    ) -> list[Task]:
        return self.matching.take(NAMESPACE, info(worker, session), queue, handlers, slots)

    def settle(self, task: Task, worker: str = "w1") -> None:
        """The worker's result is taken."""
        present = self.matching.present(NAMESPACE, info(worker))
        self.matching.settled(self.matching.claim(present, task.token))

    def beat(
        self,
        worker: str = "w1",
        tasks: Sequence[Task] = (),
        *,
        session: str = "s1",
        alive: bool = False,
        all_held: bool = False,
    ) -> list[HeldState.ValueType]:
        held = [HeldTask(token=task.token, alive=alive) for task in tasks]
        return self.matching.heartbeat(NAMESPACE, info(worker, session), held, all_held=all_held)

    def park(
        self,
        worker: str = "w1",
        *,
        slots: int = 10,
        session: str = "s1",
        handlers: Sequence[str] = (HANDLER,),
        queue: str = QUEUE,
    ) -> "asyncio.Task[list[Task]]":
        poll = self.matching.poll(NAMESPACE, info(worker, session), queue, handlers, slots, PARK_US)
        return asyncio.get_running_loop().create_task(poll)


def runs(tasks: Sequence[Task]) -> list[int]:
    """The runs tasks are of, in their order."""
    return [int(task.run_id) for task in tasks]


async def settle_loop() -> None:
    """Lets everything that is ready on the loop run, also what becomes ready by that."""
    for _ in range(3):
        await asyncio.sleep(0)
