"""Attempts as matching knows them: waiting in a queue, or leased to a worker."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.matching.queues import TaskQueue
    from holdfast_server.matching.workers import Worker

__all__ = ["GONE", "LEASED", "OUTSIDE", "WAITING", "Lease", "QueuedTask"]

OUTSIDE, WAITING, LEASED, GONE = 0, 1, 2, 3
"""Where an attempt is: not offered yet, in its queue, in a worker's hands, over."""


@dataclass(slots=True, eq=False)
class QueuedTask:
    """An attempt that workers may have. Offer each object once."""

    run_key: int
    namespace: str
    queue: str
    handler: str
    path: str
    attempt: int
    since_us: int
    """When it was queued."""
    place: int = field(default=OUTSIDE, init=False)
    lease: "Lease | None" = field(default=None, init=False)


class Lease:
    """The right of a worker to finish an attempt.

    Attributes:
        number: the lease's number within the activation.
        token: what its worker shows; empty as long as it is inherited.
        renew_us: when it was given or last listed in a heartbeat.
        beat_us: when the handler last spoke, or began.
        deadline_us: when `start_to_close` is over; 0 means never.
        heartbeat_us: longest silence of the handler; 0 means any.
        claimed: the worker has shown that it has the task.
        inherited: an earlier server gave it, and the worker has not come back for it yet.
    """

    __slots__ = (
        "beat_us",
        "cancel_requested",
        "claimed",
        "deadline_us",
        "heartbeat_us",
        "inherited",
        "number",
        "open",
        "queue",
        "renew_us",
        "task",
        "token",
        "watched",
        "worker",
    )

    def __init__(
        self, task: QueuedTask, worker: "Worker", queue: "TaskQueue", number: int, token: bytes, now_us: int
    ) -> None:
        self.task = task
        self.worker = worker
        self.queue = queue
        self.number = number
        self.token = token
        self.renew_us = self.beat_us = now_us
        self.deadline_us = self.heartbeat_us = 0
        self.inherited = not token
        self.claimed = self.cancel_requested = self.watched = False
        self.open = True

    def expiry_us(self) -> int:
        """When the lease ends unless renewed.

        Any sign of life of the worker renews what it has shown to have. What it never claimed may have been in an
        answer that did not arrive, so for that only being listed counts.
        """
        renew_us = max(self.renew_us, self.worker.seen_us) if self.claimed else self.renew_us
        return renew_us + self.worker.lease_us

    def due_us(self) -> int:
        """When to look at it again: the first of its ends."""
        due_us = self.expiry_us()
        if self.deadline_us and self.deadline_us < due_us:
            due_us = self.deadline_us
        if self.heartbeat_us and self.beat_us + self.heartbeat_us < due_us:
            due_us = self.beat_us + self.heartbeat_us
        return due_us
