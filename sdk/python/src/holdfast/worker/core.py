"""What a worker does next: a state machine without I/O, whose clock is an argument.

It knows which lanes (queues) to poll, what to send, which slots are used and what is due. The shell around it makes the
calls it asks for and tells it how they went; nothing here waits, sleeps or sends.

Three things decide:

- the *link*: LOST until a heartbeat has listed everything the worker holds. While it is lost nothing that could bring
  tasks is under way, because a task in an answer that is lost, or still on its way, would not be in that list. So the
  list is exact, and the server may hand out again whatever is not in it.
- the *phase*: WORKING, then STOPPING; see `stop`.
- per lane, whether a poll and how many completions are under way, and which results wait. Whatever finishes while a
  completion is under way goes with the next one; when much waits, that one starts before the answer is there, so that
  the server decides about one batch while the disk takes the other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import grpc

from holdfast.backoff import Backoff, BackoffPolicy
from holdfast.context import CancelReason, Held
from holdfast.v1.task_pb2 import Task, TaskResult, TaskReturned, WorkerInfo
from holdfast.v1.worker_service_pb2 import CompleteTasksRequest, PollTasksRequest, RejectedResult
from holdfast.worker.ledger import Ledger, Stop

__all__ = [
    "Action",
    "CancelPoll",
    "CancelRunning",
    "Complete",
    "Drain",
    "Lane",
    "Poll",
    "Settings",
    "Sync",
    "WorkerCore",
]

RESULTS_MAX = 1_000
RESULTS_MAX_BYTES = 8 * 1024 * 1024
# Completions under way on one lane, and how many results make another one worth its message.
COMPLETIONS_MAX = 3
OVERLAP_MIN = 32
# A server that answers an empty poll sooner than this does not park it; then the worker waits by itself.
PARKED_MIN_S = 0.5
# How soon a server that was told of the stop must have answered parked polls.
LEAVE_S = 2.0
_AWAY = grpc.StatusCode.UNAVAILABLE.value[0]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is.

    Attributes:
        worker: Who it says it is.
        namespace: Namespace it works in.
        lanes: Queues and the names of the handlers served there.
        slots: Most tasks at once.
        grace_s: How long running handlers may go on once the worker stops, in seconds.
        cancel_s: How long handlers may take to end when they are told to, in seconds; then they are abandoned.
        send_s: How long results are tried to be sent when all handlers have ended, in seconds.
        backoff: Waits between tries.
    """

    worker: WorkerInfo
    namespace: str
    lanes: Mapping[str, Sequence[str]]
    slots: int
    grace_s: float = 30.0
    cancel_s: float = 5.0
    send_s: float = 10.0
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask for tasks."""

    lane: "Lane"
    request: PollTasksRequest


@dataclass(frozen=True, slots=True)
class CancelPoll:
    """Leave the poll that is under way."""

    lane: "Lane"


@dataclass(frozen=True, slots=True)
class Complete:
    """Send results."""

    lane: "Lane"
    request: CompleteTasksRequest


@dataclass(frozen=True, slots=True)
class Sync:
    """Send the heartbeat that lists everything."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell the server that the worker goes down."""


@dataclass(frozen=True, slots=True)
class CancelRunning:
    """Tell all running handlers to stop."""

    held: Sequence[Held]


Action = Poll | CancelPoll | Complete | Sync | Drain | CancelRunning


class _Link(Enum):
    LOST = auto()
    SYNCING = auto()
    READY = auto()


class Lane:
    """What goes on between the worker and one queue."""

    __slots__ = (
        "backoff",
        "completing",
        "handlers",
        "leaving",
        "poll_backoff",
        "poll_due_s",
        "poll_since_s",
        "polling",
        "queue",
        "results",
        "results_max",
        "send_due_s",
        "taking",
    )

    def __init__(self, queue: str, handlers: Sequence[str], new_backoff: Callable[[], Backoff]) -> None:
        self.queue = queue
        self.handlers = handlers
        self.results: deque[TaskResult] = deque()
        self.polling = False
        self.leaving = False  # the poll under way was told to end
        self.completing = 0  # completions under way
        self.taking = 0  # those of them that may bring tasks
        self.results_max = RESULTS_MAX
        self.poll_due_s = self.send_due_s = self.poll_since_s = float("-inf")
        self.backoff = new_backoff()
        self.poll_backoff = new_backoff()


class WorkerCore:
    """The state of a worker. Ask `actions` after every change, and again at `due_s`."""

    def __init__(self, settings: Settings, ledger: Ledger, random: Callable[[], float]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._link = _Link.LOST
        self._server_id = ""
        self._sync_due_s = float("-inf")
        self._sync_backoff = Backoff(settings.backoff, random)
        self._running: dict[bytes, tuple[Lane, Held]] = {}
        self._zombies: set[bytes] = set()  # lost, but the handler has not ended
        self._grace_due_s: float | None = None  # set once the worker stops
        self._cancel_due_s: float | None = None  # set once running handlers were told to stop
        self._send_due_s: float | None = None  # set once all handlers have ended
        self._leave_due_s: float | None = None  # set once the server knows that the worker stops
        self._drain_asked = False
        self._given_up = False
        self.lanes = {
            queue: Lane(queue, handlers, lambda: Backoff(settings.backoff, random))
            for queue, handlers in settings.lanes.items()
        }

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop."""
        return self._grace_due_s is not None

    @property
    def running(self) -> int:
        """Handlers that run, lost ones too."""
        return len(self._running) + len(self._zombies)

    @property
    def unsent(self) -> int:
        """Results that no server has accepted yet; those under way are not counted."""
        return sum(len(lane.results) for lane in self.lanes.values())

    @property
    def done(self) -> bool:
        """Whether nothing is left to do after a stop."""
        if not self.stopping:
            return False
        if self._given_up:
            return True
        busy = any(lane.polling or lane.completing or lane.results for lane in self.lanes.values())
        return not busy and not self.running

    def tasks_came(self, lane: Lane, tasks: Iterable[Task]) -> list[Held]:
        """Take tasks in and return those whose handlers shall start; a stopping worker gives them back."""
        begun = []
        for task in tasks:
            token = task.token
            if token in self._running or token in self._zombies:
                continue
            held = self._ledger.add(task)
            if self.stopping:
                lane.results.append(TaskResult(token=token, returned=TaskReturned()))
                continue
            self._running[token] = (lane, held)
            begun.append(held)
        return begun

    def finished(self, result: TaskResult) -> bool:
        """Take the result of a handler that ended; False if it is of no use because the task was lost."""
        token = result.token
        running = self._running.pop(token, None)
        if running is None:
            self._zombies.discard(token)
            return False
        running[0].results.append(result)
        return True

    def poll_answered(self, lane: Lane, tasks: int, now_s: float) -> None:
        """Note that a poll came back with so many tasks."""
        lane.polling = lane.leaving = False
        if tasks or now_s - lane.poll_since_s >= PARKED_MIN_S:
            lane.poll_backoff.reset()
        else:
            lane.poll_due_s = now_s + lane.poll_backoff.next_s()

    def poll_failed(self, lane: Lane, now_s: float, *, lost: bool) -> None:
        """Note that a poll failed; `lost` if the connection did."""
        left, lane.polling, lane.leaving = lane.leaving, False, False
        if not left:
            lane.poll_due_s = now_s + lane.poll_backoff.next_s()
        if lost and not self.stopping:
            self.link_lost()

    def completed(
        self, action: Complete, rejected: Iterable[RejectedResult], now_s: float
    ) -> list[tuple[Held | None, RejectedResult]]:
        """Settle the results of a completion and return those that were refused for good."""
        lane, results = action.lane, action.request.results
        _ended(action)
        lane.results_max = RESULTS_MAX
        refusals = {item.index: item for item in rejected}
        refused = []
        for index, result in enumerate(results):
            item = refusals.get(index)
            if item is not None and item.error.code == _AWAY:
                lane.results.append(result)  # not now, but later
                continue
            held = self._ledger.remove(result.token)
            if item is not None:
                refused.append((held, item))
        if len(refused) < len(refusals):
            lane.send_due_s = now_s + lane.backoff.next_s()
        else:
            lane.backoff.reset()
        return refused

    def completion_failed(self, action: Complete, now_s: float, *, lost: bool) -> None:
        """Keep the results of a completion that failed; `lost` if the connection did."""
        lane = action.lane
        _ended(action)
        lane.results.extendleft(reversed(action.request.results))
        lane.send_due_s = now_s + lane.backoff.next_s()
        if lost and not self.stopping:
            self.link_lost()

    def completion_refused(self, action: Complete) -> Held | None:
        """Find the result for which a whole completion is refused: try halves; return the task whose fails alone."""
        lane, results = action.lane, action.request.results
        _ended(action)
        if len(results) == 1:
            lane.results_max = RESULTS_MAX
            return self._ledger.remove(results[0].token)
        lane.results_max = len(results) // 2
        lane.results.extendleft(reversed(results))
        return None

    def link_lost(self) -> None:
        """Note that the server may have forgotten what this worker holds."""
        self._link = _Link.LOST

    def synced(self, server_id: str) -> None:
        """Note that a server knows everything this worker holds."""
        self._sync_backoff.reset()
        self._server_id = server_id
        self._link = _Link.READY

    def beat_answered(self, server_id: str) -> None:
        """Note which server answers heartbeats: another one must be told everything."""
        if server_id != self._server_id and self._link is _Link.READY:
            self.link_lost()

    def sync_failed(self, now_s: float) -> None:
        """Note that the list did not arrive."""
        self._link = _Link.LOST
        self._sync_due_s = now_s + self._sync_backoff.next_s()

    def stops_asked(self, stops: Iterable[Stop]) -> list[Stop]:
        """Take in which handlers shall stop and return those that run; a lost one frees its slot on the server."""
        told = []
        for stop in stops:
            if stop.held.token not in self._running:
                continue
            if stop.reason is CancelReason.LOST:
                del self._running[stop.held.token]
                self._zombies.add(stop.held.token)
                self._ledger.remove(stop.held.token)
            told.append(stop)
        return told

    def stop(self, now_s: float) -> None:
        """Begin to stop: no new tasks, running handlers have their grace, results are sent."""
        if self._grace_due_s is None:
            self._grace_due_s = now_s + self._settings.grace_s

    def cut_grace(self, now_s: float) -> None:
        """Let running handlers be told to stop now."""
        self._grace_due_s = now_s

    def drained(self, now_s: float, *, ok: bool) -> None:
        """Note whether the server answers parked polls by itself now; if not, they are left."""
        self._leave_due_s = now_s + (LEAVE_S if ok else 0.0)

    def due_s(self, now_s: float) -> float | None:
        """Return when `actions` has something new to say by the passing of time alone; None for never."""
        dues = [self._sync_due_s, self._grace_due_s, self._leave_due_s, self._cancel_due_s, self._send_due_s]
        for lane in self.lanes.values():
            dues += (lane.send_due_s, lane.poll_due_s)
        return min((due for due in dues if due is not None and due > now_s), default=None)

    def actions(self, now_s: float) -> list[Action]:
        """Return what to do now; every action is returned once."""
        if self.stopping:
            return [*self._stop_actions(now_s), *self._completions(now_s, taking=False)]
        actions: list[Action] = []
        if self._link is _Link.LOST:
            actions += self._sync_actions(now_s)
        ready = self._link is _Link.READY
        actions += self._completions(now_s, taking=ready)
        if ready and self.running < self._settings.slots:
            actions += self._polls(now_s)
        return actions

    def _sync_actions(self, now_s: float) -> list[Action]:
        lanes = self.lanes.values()
        actions = self._leave_polls()
        if now_s >= self._sync_due_s and not any(lane.polling or lane.taking for lane in lanes):
            self._link = _Link.SYNCING
            actions.append(Sync())
        return actions

    def _leave_polls(self) -> list[Action]:
        actions: list[Action] = []
        for lane in self.lanes.values():
            if lane.polling and not lane.leaving:
                lane.leaving = True
                actions.append(CancelPoll(lane))
        return actions

    def _polls(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        for lane in self.lanes.values():
            if lane.polling or now_s < lane.poll_due_s:
                continue
            lane.polling, lane.poll_since_s = True, now_s
            request = PollTasksRequest(
                namespace=self._settings.namespace,
                worker=self._settings.worker,
                queue=lane.queue,
                handlers=lane.handlers,
                slots_total=self._slots(),
            )
            actions.append(Poll(lane, request))
        return actions

    def _completions(self, now_s: float, *, taking: bool) -> list[Action]:
        actions: list[Action] = []
        for lane in self.lanes.values():
            if not lane.results or now_s < lane.send_due_s:
                continue
            if lane.completing and (lane.completing >= COMPLETIONS_MAX or len(lane.results) < OVERLAP_MIN):
                continue
            takes = taking and len(self._zombies) < self._settings.slots
            lane.completing += 1
            lane.taking += takes
            request = CompleteTasksRequest(
                namespace=self._settings.namespace,
                worker=self._settings.worker,
                queue=lane.queue,
                handlers=lane.handlers if takes else (),
                slots_total=self._slots(),
                results=_batch(lane.results, lane.results_max),
            )
            actions.append(Complete(lane, request))
        return actions

    def _slots(self) -> int:
        """Return the slots to tell: a lost task is none of the server's any more, but its handler still has a slot."""
        return max(self._settings.slots - len(self._zombies), 1)

    def _stop_actions(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        if not self._drain_asked:
            self._drain_asked = True
            actions.append(Drain())
        if self._leave_due_s is not None and now_s >= self._leave_due_s:
            actions += self._leave_polls()
        if not self.running:
            if self._send_due_s is None:
                self._send_due_s = now_s + self._settings.send_s
            elif now_s >= self._send_due_s:
                self._given_up = True
        elif self._cancel_due_s is not None:
            self._given_up = self._given_up or now_s >= self._cancel_due_s
        elif self._grace_due_s is not None and now_s >= self._grace_due_s:
            self._cancel_due_s = now_s + self._settings.cancel_s
            actions.append(CancelRunning([held for _, held in self._running.values()]))
        return actions


def _ended(action: Complete) -> None:
    action.lane.completing -= 1
    if action.request.handlers:
        action.lane.taking -= 1


def _batch(results: deque[TaskResult], results_max: int) -> list[TaskResult]:
    """Take as many results off the queue as one message carries; one that is too large travels alone."""
    batch: list[TaskResult] = []
    size_bytes = 0
    while results and len(batch) < results_max:
        size_bytes += results[0].ByteSize()
        if batch and size_bytes > RESULTS_MAX_BYTES:
            break
        batch.append(results.popleft())
    return batch
