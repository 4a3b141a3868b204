"""What matching asks of whoever owns the runs. It is called on the event loop, answers at once and does not raise."""

from dataclasses import dataclass
from typing import Protocol

from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast_server.matching.leases import QueuedTask

__all__ = ["Adopted", "HandedOut", "Owner"]


@dataclass(slots=True)
class HandedOut:
    """An attempt on its way to a worker.

    Attributes:
        task: the message without token and heartbeat details, which matching adds.
        lease: number of the lease; the same number never comes twice for an attempt, not even when an earlier one was
            lost with a server or with a commit before it was on disk.
        start_to_close_us: time the attempt has; None means any.
        heartbeat_us: longest silence of its handler; None means any.
        size_bytes: about what the message weighs.
    """

    task: Task
    lease: int
    start_to_close_us: int | None
    heartbeat_us: int | None
    size_bytes: int


@dataclass(slots=True)
class Adopted:
    """An attempt that a worker has from an earlier server, or from before a failure of the disk.

    Attributes:
        start_us: when it started.
        start_to_close_us: time the attempt has from then; None means any.
        heartbeat_us: longest silence of its handler; None means any.
    """

    start_us: int
    start_to_close_us: int | None
    heartbeat_us: int | None


class Owner(Protocol):
    """The runs."""

    def hand_out(self, task: QueuedTask, worker: WorkerInfo) -> HandedOut | None:
        """Notes that the worker starts on the attempt; None if the attempt is void by now."""

    def adopt(self, task: QueuedTask, worker: WorkerInfo, lease: int) -> Adopted | None:
        """Notes that the worker has had the attempt all along under that lease; None if the attempt is void by now."""

    def attempt_ended(self, run_key: int, path: str, attempt: int, kind: str, detail: str) -> None:
        """The attempt failed by itself: `kind` is `lost`, `start_to_close` or `heartbeat`, `detail` a sentence."""

    def attempt_returned(self, run_key: int, path: str, attempt: int) -> None:
        """The attempt goes back to its queue and is not used up; it will be offered again."""

    def fetch(self, namespace: str, queue: str, handler: str) -> None:
        """Workers have time for attempts that wait outside: some are to be offered, and then `fetched` to be said."""
