"""The limits and intervals of matching. Defaults: the table of limits in `docs/semantics.md`."""

from dataclasses import dataclass

__all__ = ["MatchingSettings"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """Rules of handing out tasks."""

    lease_us: int = 30_000_000
    """A lease ends this long after the last sign of life; a worker is forgotten this long after it."""
    adoption_grace_us: int = 30_000_000
    """Time workers have after a restart to claim what an earlier server handed them."""
    answer_tasks: int = 400
    """Most tasks in one answer."""
    answer_bytes: int = 8 * MIB
    """Most bytes of tasks in one answer; a single task may be larger."""
    task_bytes: int = 4 * MIB + 64 * 1024
    """What a task with the largest input weighs. An answer is full as soon as one more of these might not fit, because
    a task's weight is known only once it is handed out."""
    returns: int = 2
    """How often an attempt goes back to its queue unused because its worker turned out not to have it."""
    workers: int = 10_000
    """Workers known at once."""
    worker_queues: int = 100
    """Queues one worker serves."""
    parked_polls: int = 10_000
    """Polls that wait for tasks at once."""
    details_bytes: int = 256 * MIB
    """Heartbeat details kept over all runs; the longest unchanged go first."""
