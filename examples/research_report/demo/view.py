"""What the demonstration knows of the run: a fold over the events it has watched."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Resolution
from holdfast.v1.history_pb2 import HistoryEvent, QueueCause

STATES = {
    "step_queued": "QUEUED",
    "step_started": "RUNNING",
    "step_attempt_failed": "BACKING_OFF",
    "gate_opened": "WAITING",
    "step_succeeded": "SUCCEEDED",
    "step_failed": "FAILED",
    "step_skipped": "SKIPPED",
    "step_canceled": "CANCELED",
}
RUN_STATES = {
    "run_succeeded": "SUCCEEDED",
    "run_failed": "FAILED",
    "run_canceled": "CANCELED",
    "run_terminated": "TERMINATED",
    "run_timed_out": "TIMED_OUT",
}
FINISHED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


@dataclass(slots=True)
class StepView:
    """One step.

    Attributes:
        name: Its name.
        summary: What it does, for people.
        state: Where it stands.
        begun: When it was first queued or opened.
        started: When a worker began with the last attempt, or a gate opened.
        finished: When it was finished.
        starts: How often it was handed to a worker.
        successes: How often it succeeded; never more than once, or the promise is broken.
        worker: Who works on it, or did.
        note: What else there is to say.
    """

    name: str
    summary: str
    state: str = "PENDING"
    begun: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    starts: int = 0
    successes: int = 0
    worker: str = ""
    note: str = ""


@dataclass(slots=True)
class RunView:
    """The run so far.

    Attributes:
        run_id: Its id.
        steps: Its steps, in the order of the definition.
        state: Where it stands.
        begun: When it began.
        last_seq: Number of the last event.
        events: All events, in order.
    """

    run_id: str
    steps: dict[str, StepView]
    state: str = "RUNNING"
    begun: datetime | None = None
    last_seq: int = 0
    events: list[HistoryEvent] = field(default_factory=list)

    @property
    def running(self) -> list[str]:
        """Return the steps that workers are at."""
        return [step.name for step in self.steps.values() if step.state == "RUNNING"]

    @property
    def closed(self) -> bool:
        """Tell whether the run is over."""
        return self.state != "RUNNING"

    def apply(self, event: HistoryEvent) -> StepView | None:
        """Take in an event; returns the step it is about, if any."""
        kind = event.WhichOneof("body") or ""
        body = getattr(event, kind)
        self.events.append(event)
        self.last_seq = event.seq
        when = event.time.ToDatetime(UTC)
        if self.begun is None:
            self.begun = when
        self.state = RUN_STATES.get(kind, self.state)
        step = self.steps.get(getattr(body, "path", ""))
        if step is None:
            return None
        step.state = STATES.get(kind, step.state)
        step.note = detail_of(event) or step.note
        step.begun = step.begun or when
        if kind in {"step_started", "gate_opened"}:
            step.started = when
            step.starts += kind == "step_started"
        if kind == "step_started":
            step.worker = body.worker_id
        if step.state in FINISHED:
            step.finished = when
            step.successes += kind == "step_succeeded"
        return step

    def after_s(self, event: HistoryEvent) -> float:
        """Return how long after the beginning of the run an event happened, in seconds."""
        return 0.0 if self.begun is None else (event.time.ToDatetime(UTC) - self.begun).total_seconds()


def new_view(run_id: str, steps: Iterable[tuple[str, str]]) -> RunView:
    """Return the view of a run of which nothing is known but its steps, as (name, summary)."""
    return RunView(run_id, {name: StepView(name, summary or name) for name, summary in steps})


def detail_of(event: HistoryEvent) -> str:
    """Return what there is to say about an event beside its kind and step; empty if nothing."""
    match event.WhichOneof("body"):
        case "step_queued":
            return _queued(event)
        case "step_started":
            return f"by {event.step_started.worker_id}"
        case "step_attempt_failed":
            return event.step_attempt_failed.failure.type
        case "step_failed":
            return f"{event.step_failed.failure.type}: {event.step_failed.failure.message}"
        case "step_succeeded":
            by = event.step_succeeded.answered_by
            return f"answered by {by}" if by else ""
        case "gate_decision_recorded":
            said = Decision.Name(event.gate_decision_recorded.decision).removeprefix("DECISION_")
            return f"{said} by {event.actor.name or 'somebody'}"
        case "gate_resolved":
            return Resolution.Name(event.gate_resolved.resolution).removeprefix("RESOLUTION_")
        case "run_failed":
            return f"{event.run_failed.failure.type}: {event.run_failed.failure.message}"
    return ""


def _queued(event: HistoryEvent) -> str:
    queued = event.step_queued
    if queued.cause == QueueCause.QUEUE_CAUSE_RETURNED:
        return "handed out again"
    if queued.cause == QueueCause.QUEUE_CAUSE_FALLBACK:
        return f"fallback {queued.handler}"
    return f"attempt {queued.attempt}" if queued.attempt > 1 else ""
