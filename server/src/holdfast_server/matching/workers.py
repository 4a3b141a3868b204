"""Workers as the server knows them: who is connected, what they serve, what they have."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.task_pb2 import WorkerInfo
from holdfast_server.engine.refusal import Refused
from holdfast_server.matching.leases import Lease
from holdfast_server.matching.tokens import Seal, Tokens

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.matching.queues import Group, ParkedPoll, TaskQueue

__all__ = ["SessionSuperseded", "Worker", "Workers"]

SESSIONS_REMEMBERED = 8


class SessionSuperseded(Refused):
    """A process speaks under the id of a worker that a newer process has taken over."""

    def __init__(self, worker: WorkerInfo) -> None:
        message = (
            f"worker id {worker.id!r} was taken over by a process that started later than session "
            f"{worker.session_id!r}; give each process an id of its own"
        )
        metadata = {"worker_id": worker.id, "session_id": worker.session_id}
        super().__init__(ErrorReason.ERROR_REASON_ILLEGAL_STATE, message, metadata)


class Worker:
    """One worker.

    Attributes:
        info: who it said it is when its present session began.
        slots_total: what it said last.
        freed: slots that its results have freed since it last took tasks.
        seen_us: when it was last heard of.
        draining: it goes down and gets nothing more.
        serving: what it serves, by queue.
        leases: what it has, by token: whoever shows one of these is its worker, and nothing has to be verified again.
        inherited: what it had when an earlier server crashed and has not claimed yet.
    """

    __slots__ = (
        "draining",
        "freed",
        "info",
        "inherited",
        "lease_us",
        "leases",
        "namespace",
        "open",
        "parked",
        "past_sessions",
        "seal",
        "seen_us",
        "serving",
        "slots_total",
        "watched",
    )

    def __init__(self, namespace: str, info: WorkerInfo, seal: Seal, lease_us: int, now_us: int) -> None:
        self.namespace = namespace
        self.info = info
        self.seal = seal
        self.lease_us = lease_us
        self.seen_us = now_us
        self.slots_total = self.freed = 0
        self.draining = self.watched = False
        self.open = True
        self.leases: dict[bytes, Lease] = {}
        self.inherited: dict[Lease, None] = {}
        self.parked: dict[ParkedPoll, None] = {}
        self.serving: dict[TaskQueue, Group] = {}
        self.past_sessions: deque[str] = deque(maxlen=SESSIONS_REMEMBERED)

    @property
    def free(self) -> int:
        """Slots it has left; below 0 if it lowered its total."""
        return self.slots_total - len(self.leases) - len(self.inherited)

    @property
    def holds(self) -> list[Lease]:
        """All its leases."""
        return [*self.leases.values(), *self.inherited]

    @property
    def connected(self) -> bool:
        """Whether it has spoken to this server, and not only to an earlier one."""
        return bool(self.info.session_id)

    def due_us(self) -> int:
        """When it is forgotten if it stays silent and has nothing."""
        return self.seen_us + self.lease_us


class Workers:
    """All workers, by namespace and id."""

    __slots__ = ("_by_id", "_lease_us", "_tokens")

    def __init__(self, tokens: Tokens, lease_us: int) -> None:
        self._tokens = tokens
        self._lease_us = lease_us
        self._by_id: dict[tuple[str, str], Worker] = {}

    def get(self, namespace: str, worker_id: str) -> Worker | None:
        """The worker of that id, if it is known."""
        return self._by_id.get((namespace, worker_id))

    def add(self, namespace: str, info: WorkerInfo, now_us: int) -> Worker:
        """A worker that was not known."""
        kept = WorkerInfo()
        kept.CopyFrom(info)  # a part of a request would keep all of it in memory
        seal = self._tokens.seal(namespace, info.id)
        worker = self._by_id[namespace, info.id] = Worker(namespace, kept, seal, self._lease_us, now_us)
        return worker

    def remove(self, worker: Worker) -> None:
        """Forgets a worker."""
        worker.open = False
        del self._by_id[worker.namespace, worker.info.id]

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._by_id.values())

    def of(self, namespace: str) -> list[Worker]:
        """The workers of a namespace that are connected, by id."""
        found = [worker for worker in self._by_id.values() if worker.namespace == namespace and worker.connected]
        return sorted(found, key=lambda worker: worker.info.id)
