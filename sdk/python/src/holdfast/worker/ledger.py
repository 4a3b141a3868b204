"""What a worker holds, written by its event loop and read by its heartbeats: which tasks, who is alive, what is due.

No I/O and no clock. The loop adds and removes, handlers mark themselves alive from any thread, the thread of the
heartbeats takes snapshots; each of these is one operation on a dict or one assignment, so nobody ever waits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from holdfast.context import CancelReason, Held
from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.v1.worker_service_pb2 import HeartbeatRequest, HeartbeatResponse, HeldState, HeldTask

__all__ = ["Beat", "Ledger", "Stop"]

LEASE_DEFAULT_S = 30.0
# A lease outlives two beats that fail.
BEATS_PER_LEASE = 3
# What a handler says is sent this soon, so that people see it move; without news only the leases count.
NEWS_S = 1.0
BEAT_MIN_S = 0.1
REQUEST_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat on its way.

    Attributes:
        request: What is sent.
        held: The tasks in it, in the same order.
    """

    request: HeartbeatRequest
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Stop:
    """A task whose handler shall stop.

    Attributes:
        held: The task.
        reason: Why.
    """

    held: Held
    reason: CancelReason


class Ledger:
    """The tasks of one worker, until their results are accepted."""

    def __init__(self, worker: WorkerInfo, namespace: str) -> None:
        """Build it; `on_sooner`, once set, is called from any thread when the next heartbeat may be due sooner."""
        self._worker = worker
        self._namespace = namespace
        self._held: dict[bytes, Held] = {}
        self._interval_s = LEASE_DEFAULT_S / BEATS_PER_LEASE
        self._news = False
        self.on_sooner: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self._held)

    def add(self, task: Task) -> Held:
        """Hold a task from now on."""
        held = self._held[task.token] = Held(task)
        if held.heartbeat_timeout_s is not None:
            self.on_sooner()
        return held

    def remove(self, token: bytes) -> Held | None:
        """Hold a task no longer, because its result is accepted or of no use, and return it."""
        return self._held.pop(token, None)

    def beat_of_handler(self, held: Held) -> None:
        """Take note that a handler spoke; `held` says what."""
        held.alive = True
        if not self._news:
            self._news = True
            self.on_sooner()

    def wait_s(self, since_last_s: float) -> float:
        """Return how long to wait for the next heartbeat, in seconds.

        Args:
            since_last_s: How long ago the last one was sent.
        """
        interval_s = self._interval_s
        if self._news:
            interval_s = min(interval_s, NEWS_S)
        timeouts_s = [h.heartbeat_timeout_s for h in list(self._held.values()) if h.heartbeat_timeout_s is not None]
        if timeouts_s:
            interval_s = min(interval_s, min(timeouts_s) / BEATS_PER_LEASE)
        return max(max(interval_s, BEAT_MIN_S) - since_last_s, 0.0)

    def everything(self) -> Beat:
        """Return the heartbeat that lists every task; what is not in it goes back to its queue."""
        held = list(self._held.values())
        request = self._request()
        request.all_held = True
        request.held.extend(HeldTask(token=h.token) for h in held)
        return Beat(request, held)

    def beats(self) -> Iterator[Beat]:
        """Yield the heartbeats that keep all leases and carry what handlers said, at most 8 MiB each."""
        self._news = False
        members: list[Held] = []
        request, size_bytes = self._request(), 0
        for held in list(self._held.values()):
            alive, held.alive = held.alive, False
            details, held.details = held.details, None
            entry = HeldTask(token=held.token, alive=alive, details=details)
            size_bytes += entry.ByteSize()
            if members and size_bytes > REQUEST_MAX_BYTES:
                yield Beat(request, members)
                request, members, size_bytes = self._request(), [], entry.ByteSize()
            request.held.append(entry)
            members.append(held)
        yield Beat(request, members)

    def failed(self, beat: Beat, faulty_fields: Iterable[str] = ()) -> list[Held]:
        """Take back what a heartbeat that did not arrive was to say, unless the handler said more since.

        Args:
            beat: The heartbeat.
            faulty_fields: Fields of the request for which the server refused it. Details among them are dropped, or
                they would cost all other tasks their leases.

        Returns:
            The tasks whose details were dropped.
        """
        faulty = set(faulty_fields)
        dropped = []
        for position, (held, entry) in enumerate(zip(beat.held, beat.request.held, strict=True)):
            if entry.alive:
                held.alive = True
                self._news = True
            if not entry.HasField("details"):
                continue
            if f"held[{position}].details" in faulty:
                dropped.append(held)
            elif held.details is None:
                held.details = entry.details
        return dropped

    def answered(self, beat: Beat, response: HeartbeatResponse) -> list[Stop]:
        """Take in an answer and return which handlers shall stop; a handler in a thread sees it at once."""
        interval_s = response.heartbeat_interval.ToTimedelta().total_seconds()
        lease_s = response.lease_timeout.ToTimedelta().total_seconds()
        if interval_s > 0:
            self._interval_s = interval_s
        elif lease_s > 0:
            self._interval_s = lease_s / BEATS_PER_LEASE
        stops = []
        for held, state in zip(beat.held, response.states, strict=False):
            reason = _REASONS.get(state)
            if reason is None or held.cancel_reason in (reason, CancelReason.LOST):
                continue
            held.cancel_reason = reason
            stops.append(Stop(held, reason))
        return stops

    def _request(self) -> HeartbeatRequest:
        return HeartbeatRequest(namespace=self._namespace, worker=self._worker)


def _nothing() -> None:
    """Stand in until somebody listens."""


_REASONS = {
    HeldState.HELD_STATE_CANCEL_REQUESTED: CancelReason.CANCEL_REQUESTED,
    HeldState.HELD_STATE_LOST: CancelReason.LOST,
}
