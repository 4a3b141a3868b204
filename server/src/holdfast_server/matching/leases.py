"""Attempts as matching knows them: waiting in a queue, or leased to a worker."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.matching.queues import TaskQueue
    from holdfast_server.matching.workers import Worker

__all__ = ["GONE", "LEASED", "OUTSIDE", "WAITING", "Lease", "Limits", "QueuedTask"]

NEVER_US = 2**63
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
        limits: what its attempt is limited by; None for nothing.
        claimed: the worker has shown that it has the task.
        inherited: an earlier server gave it, and the worker has not come back for it yet.
    """

    __slots__ = (
        "cancel_requested",
        "claimed",
        "inherited",
        "limits",
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
        self.renew_us = now_us
        self.limits: Limits | None = None
        self.inherited = not token
        self.claimed = self.cancel_requested = self.watched = False
        self.open = True

    def due_us(self) -> int:
        """When the lease ends unless renewed.

        Any sign of life of the worker renews what it has shown to have. What it never claimed may have been in an
        answer that did not arrive, so for that only being listed counts.
        """
        renew_us = max(self.renew_us, self.worker.seen_us) if self.claimed else self.renew_us
        return renew_us + self.worker.lease_us


class Limits:
    """What the definition of a step says of how long an attempt may take, by the clock of attempts.

    Attributes:
        deadline_us: when `start_to_close` is over; None for never.
        silence_us: longest silence of the handler; None for any.
        beat_us: when the handler last spoke, or began.
    """

    __slots__ = ("beat_us", "deadline_us", "lease", "silence_us", "watched")

    def __init__(self, lease: Lease, deadline_us: int | None, silence_us: int | None, now_us: int) -> None:
        self.lease = lease
        self.deadline_us = deadline_us
        self.silence_us = silence_us
        self.beat_us = now_us
        self.watched = False

    @property
    def open(self) -> bool:
        """Whether the attempt is still in its worker's hands."""
        return self.lease.open

    def due_us(self) -> int:
        """When the first of them is reached."""
        silent_us = NEVER_US if self.silence_us is None else self.beat_us + self.silence_us
        return silent_us if self.deadline_us is None else min(self.deadline_us, silent_us)
