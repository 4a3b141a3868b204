"""What must happen outside once events are on disk: tasks offered or withdrawn, timers set, gates shown.

Effects follow from events and the state after them; after a restart `standing` gives those that hold still.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.v1.history_pb2 import QUEUE_CAUSE_RETURNED
from holdfast_server.engine import state as st
from holdfast_server.engine.state import RunState, StepRecord
from holdfast_server.engine.times import timestamp_us

__all__ = [
    "SOURCES",
    "Effect",
    "GateChanged",
    "RunClosed",
    "TaskCancelRequested",
    "TaskClosed",
    "TaskHeld",
    "TaskReady",
    "Timer",
    "TimerSet",
    "TimersCleared",
    "standing",
]


class Timer(StrEnum):
    """What a timer is for; with the path it names the timer within its run."""

    RETRY = "retry"
    SLEEP = "sleep"
    WAIT = "wait"
    GATE = "gate"
    SCHEDULE_TO_START = "schedule_to_start"
    SCHEDULE_TO_CLOSE = "schedule_to_close"
    FENCE = "fence"
    START = "start"
    RUN_TIMEOUT = "run_timeout"


@dataclass(slots=True, unsafe_hash=True)
class TaskReady:
    """An attempt may be handed to a worker."""

    path: str
    attempt: int
    queue: str
    handler: str
    since_us: int
    """When it was queued."""


@dataclass(frozen=True, slots=True)
class TaskHeld:
    """After a restart: an attempt a worker had; it may still claim it."""

    path: str
    attempt: int
    queue: str
    handler: str
    worker_id: str
    lease: int
    start_us: int


@dataclass(frozen=True, slots=True)
class TaskClosed:
    """An attempt, queued or handed out, is over or withdrawn."""

    path: str
    queued: bool = False
    """Only if it is in its queue still: a run that was paused and went on since may have handed it out meanwhile."""


@dataclass(frozen=True, slots=True)
class TaskCancelRequested:
    """The worker of an attempt shall be told to stop."""

    path: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TimerSet:
    """At `due_us` the command FireTimer is due. Replaces the timer of the same path and kind."""

    path: str
    timer: Timer
    due_us: int


@dataclass(frozen=True, slots=True)
class TimersCleared:
    """The timers of an activation are void."""

    path: str


@dataclass(frozen=True, slots=True)
class GateChanged:
    """Watchers of gates shall see the gate of this path."""

    path: str


@dataclass(frozen=True, slots=True)
class RunClosed:
    """Tasks and timers of the run are void; whoever waits for its end is told."""


Effect = TaskReady | TaskHeld | TaskClosed | TaskCancelRequested | TimerSet | TimersCleared | GateChanged | RunClosed


def standing(run: RunState) -> Iterator[Effect]:
    """The effects that hold for an open run regardless of how it got there."""
    if not run.begun:
        yield TimerSet("", Timer.START, run.start_after_us)
    if run.deadline_us:
        yield TimerSet("", Timer.RUN_TIMEOUT, run.deadline_us)
    for scope, step, record in run.activations():
        if record is None or record.state in st.FINAL or record.state == st.PENDING:
            continue
        yield from _standing_step(run, step.kind, scope.path(step), record)


def _standing_step(run: RunState, kind: str, path: str, record: StepRecord) -> Iterator[Effect]:
    if record.state == st.QUEUED:
        if not run.paused:
            yield _ready(path, record)
        if record.schedule_to_start_us:
            yield TimerSet(path, Timer.SCHEDULE_TO_START, record.schedule_to_start_us)
    elif record.state == st.RUNNING:
        yield TaskHeld(
            path, record.attempt, record.queue, record.handler, record.worker_id, record.lease, record.start_us
        )
        if record.fence_us:
            yield TaskCancelRequested(path, record.attempt)
            yield TimerSet(path, Timer.FENCE, record.fence_us)
    elif record.due_us:
        yield TimerSet(path, _due_timer(kind, record), record.due_us)
    if record.schedule_to_close_us and not record.fence_us:
        yield TimerSet(path, Timer.SCHEDULE_TO_CLOSE, record.schedule_to_close_us)
    if record.gate is not None and not record.gate.resolution:
        yield GateChanged(path)


def _due_timer(kind: str, record: StepRecord) -> Timer:
    if record.state == st.BACKING_OFF:
        return Timer.RETRY
    if record.gate is not None and not record.gate.resolution:
        return Timer.GATE
    return Timer.WAIT if kind == "wait" else Timer.SLEEP


def _ready(path: str, record: StepRecord) -> TaskReady:
    return TaskReady(path, record.attempt, record.queue, record.handler, record.schedule_us)


def _record(run: RunState, path: str) -> StepRecord:
    found = run.locate(path)
    if found is None:
        raise KeyError(path)
    scope, step = found
    return scope.record(step.index)


def _run_started(run: RunState, _body: Any) -> Iterator[Effect]:
    if not run.begun:
        yield TimerSet("", Timer.START, run.start_after_us)
    if run.deadline_us:
        yield TimerSet("", Timer.RUN_TIMEOUT, run.deadline_us)


def _run_reopened(run: RunState, _body: Any) -> Iterator[Effect]:
    if run.deadline_us:
        yield TimerSet("", Timer.RUN_TIMEOUT, run.deadline_us)


def _run_paused(run: RunState, _body: Any) -> Iterator[Effect]:
    for scope, step, record in run.activations():
        if record is not None and record.state == st.QUEUED:
            yield TaskClosed(scope.path(step), queued=True)


def _run_resumed(run: RunState, _body: Any) -> Iterator[Effect]:
    for scope, step, record in run.activations():
        if record is not None and record.state == st.QUEUED:
            yield _ready(scope.path(step), record)


def _run_closed(_run: RunState, _body: Any) -> Iterator[Effect]:
    yield RunClosed()


def _queued(run: RunState, body: Any) -> Iterator[Effect]:
    path = body.path
    record = _record(run, path)
    if body.cause == QUEUE_CAUSE_RETURNED:
        yield TaskClosed(path)
    if not run.paused:
        yield TaskReady(path, record.attempt, record.queue, record.handler, run.time_us)
    if record.schedule_to_start_us:
        yield TimerSet(path, Timer.SCHEDULE_TO_START, record.schedule_to_start_us)
    if record.schedule_to_close_us:
        yield TimerSet(path, Timer.SCHEDULE_TO_CLOSE, record.schedule_to_close_us)


def _attempt_failed(_run: RunState, body: Any) -> Iterator[Effect]:
    yield TaskClosed(body.path)
    if body.HasField("retry_time"):
        yield TimerSet(body.path, Timer.RETRY, timestamp_us(body.retry_time))


def _run_terminated(run: RunState, _body: Any) -> Iterator[Effect]:
    for scope, step, record in run.activations():
        if record is not None and record.gate is not None and not record.gate.resolution:
            yield GateChanged(scope.path(step))
    yield RunClosed()


def _succeeded(run: RunState, body: Any) -> Iterator[Effect]:
    record = _record(run, body.path)
    if not body.attempt or record.schedule_to_start_us or record.schedule_to_close_us or record.cancel_cause:
        yield TimersCleared(body.path)


def _ended(run: RunState, body: Any) -> Iterator[Effect]:
    path = body.path
    record = _record(run, path)
    if record.tried:
        yield TaskClosed(path)
    yield TimersCleared(path)
    if record.gate is not None and not record.gate.resolution:
        yield GateChanged(path)


def _cancel_requested(_run: RunState, body: Any) -> Iterator[Effect]:
    yield TaskCancelRequested(body.path, body.attempt)
    yield TimerSet(body.path, Timer.FENCE, timestamp_us(body.fence_time))


def _action_taken(_run: RunState, body: Any) -> Iterator[Effect]:
    if body.attempt:
        yield TaskClosed(body.path)
    yield TimersCleared(body.path)


def _timer_started(_run: RunState, body: Any) -> Iterator[Effect]:
    yield TimerSet(body.path, Timer.SLEEP, timestamp_us(body.due_time))


def _wait_opened(_run: RunState, body: Any) -> Iterator[Effect]:
    if body.HasField("due_time"):
        yield TimerSet(body.path, Timer.WAIT, timestamp_us(body.due_time))


def _gate_opened(_run: RunState, body: Any) -> Iterator[Effect]:
    yield TimersCleared(body.path)
    yield GateChanged(body.path)
    if body.HasField("deadline_time"):
        yield TimerSet(body.path, Timer.GATE, timestamp_us(body.deadline_time))


def _gate_revised(_run: RunState, body: Any) -> Iterator[Effect]:
    yield GateChanged(body.path)
    if body.HasField("deadline_time"):
        yield TimerSet(body.path, Timer.GATE, timestamp_us(body.deadline_time))


def _gate_changed(_run: RunState, body: Any) -> Iterator[Effect]:
    yield GateChanged(body.path)


def _gate_resolved(_run: RunState, body: Any) -> Iterator[Effect]:
    yield GateChanged(body.path)
    yield TimersCleared(body.path)


SOURCES: dict[str, Callable[[RunState, Any], Iterator[Effect]]] = {
    "run_started": _run_started,
    "run_reopened": _run_reopened,
    "run_paused": _run_paused,
    "run_resumed": _run_resumed,
    "run_cancel_requested": _run_resumed,
    "run_succeeded": _run_closed,
    "run_failed": _run_closed,
    "run_canceled": _run_closed,
    "run_terminated": _run_terminated,
    "run_timed_out": _run_closed,
    "step_queued": _queued,
    "step_attempt_failed": _attempt_failed,
    "step_succeeded": _succeeded,
    "step_failed": _ended,
    "step_canceled": _ended,
    "step_cancel_requested": _cancel_requested,
    "step_action_taken": _action_taken,
    "timer_started": _timer_started,
    "wait_opened": _wait_opened,
    "gate_opened": _gate_opened,
    "gate_revised": _gate_revised,
    "gate_decision_recorded": _gate_changed,
    "gate_resolved": _gate_resolved,
}
"""The effects of each event, given the run it has made and its body."""
