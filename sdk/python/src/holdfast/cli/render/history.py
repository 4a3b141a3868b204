"""A run's history as a table: when, what, where, and how long it took."""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.json import enum_name
from holdfast.cli.render.payloads import payload_line
from holdfast.cli.render.times import Moments, seconds_between, span
from holdfast.cli.render.words import STYLES, actor_name, safe
from holdfast.v1.history_pb2 import HistoryEvent

__all__ = ["HistoryLines", "history_list"]

WIDE_COLUMNS = 100
# The word that gives an event its colour.
_WORDS = {
    "RunSucceeded": "SUCCEEDED",
    "RunFailed": "FAILED",
    "RunCanceled": "CANCELED",
    "RunTerminated": "TERMINATED",
    "RunTimedOut": "TIMED_OUT",
    "RunPaused": "PAUSED",
    "StepStarted": "RUNNING",
    "StepAttemptFailed": "BACKING_OFF",
    "StepSucceeded": "SUCCEEDED",
    "StepFailed": "FAILED",
    "StepSkipped": "SKIPPED",
    "StepCanceled": "CANCELED",
    "GateOpened": "WAITING",
    "WaitOpened": "WAITING",
}


def history_list(width_columns: int) -> Listing:
    """Return an empty table for a terminal of that width; `HistoryLines` fills it."""
    columns = [Column("SEQ"), Column("ELAPSED", right=True), Column("EVENT"), Column("WHAT", wraps=True)]
    if width_columns >= WIDE_COLUMNS:
        columns.insert(1, Column("TIME"))
    return Listing(columns)


class HistoryLines:
    """Turns events, one by one and in order, into rows; remembers what timings need."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._first: HistoryEvent | None = None
        self._queued: dict[str, HistoryEvent] = {}
        self._begun: dict[str, HistoryEvent] = {}

    def add(self, listing: Listing, event: HistoryEvent) -> None:
        """Add the row of an event to the table."""
        name, path, detail = self.read(event)
        cells: list[Text | str] = [
            str(event.seq),
            self.since_start(event),
            Text(name, style=STYLES.get(_WORDS.get(name, ""), "")),
        ]
        if len(listing.columns) > 4:  # noqa: PLR2004 - the wide form
            cells.insert(1, self.time(event))
        listing.add(*cells, _joined(path, detail))

    def line(self, event: HistoryEvent) -> Text:
        """Return an event as one line, for a log."""
        name, path, detail = self.read(event)
        style = STYLES.get(_WORDS.get(name, ""), "")
        line = Text.assemble(self.time(event), f" {self.since_start(event):>9}  ", (f"{name:<20}", style), "  ")
        return line.append_text(_joined(path, detail))

    def time(self, event: HistoryEvent) -> str:
        """Return the local time of an event with its milliseconds."""
        local = self._moments.local(event.time)
        return "" if local is None else f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"

    def since_start(self, event: HistoryEvent) -> str:
        """Return how long after the first event it happened."""
        self._first = self._first or event
        return f"+{span(seconds_between(self._first.time, event.time))}"

    def read(self, event: HistoryEvent) -> tuple[str, str, Text]:
        """Return what happened, where, and in a few words what more there is to it."""
        kind = event.WhichOneof("body")
        if kind is None:
            return "(unknown)", "", Text("an event that this version does not know", style="dim")
        body = getattr(event, kind)
        path = getattr(body, "path", "")
        words = [word for word in (self._timing(event, kind, path), *_words(kind, body)) if word]
        if event.HasField("actor") and kind != "step_started":
            words.append(f"by {actor_name(event.actor)}")
        return body.DESCRIPTOR.name, path, safe(" · ".join(words), "dim")

    def _timing(self, event: HistoryEvent, kind: str, path: str) -> str:
        if kind == "step_queued":
            self._queued[path] = event
            self._begun.setdefault(path, event)
            return ""
        if kind == "step_started":
            queued = self._queued.get(path)
            waited = "" if queued is None else f"waited {span(seconds_between(queued.time, event.time))}"
            self._queued[path] = event
            return waited
        if kind in {"gate_opened", "wait_opened", "timer_started"}:
            self._begun[path] = event
            return ""
        if kind == "step_attempt_failed":
            begun = self._queued.get(path)
        elif kind in {"step_succeeded", "step_failed", "step_canceled", "gate_resolved", "wait_matched", "timer_fired"}:
            begun = self._begun.get(path)
        elif kind.startswith("run_") and self._first is not None and kind in _RUN_ENDS:
            begun = self._first
        else:
            return ""
        return "" if begun is None else f"took {span(seconds_between(begun.time, event.time))}"


def _joined(path: str, detail: Text) -> Text:
    return Text.assemble(safe(path), "  " if path and detail else "", detail)


_RUN_ENDS = frozenset({"run_succeeded", "run_failed", "run_canceled", "run_terminated", "run_timed_out"})


def _words(kind: str, body: Any) -> list[str]:
    describe = _DETAILS.get(kind)
    return [] if describe is None else describe(body)


def _enum(body: Any, field: str) -> str:
    return enum_name(body.DESCRIPTOR.fields_by_name[field].enum_type, getattr(body, field))


def _failure(body: Any) -> list[str]:
    failure = body.failure
    return [f"attempt {body.attempt}" if body.attempt else "", f"{failure.type}: {failure.message}"]


def _queued(body: Any) -> list[str]:
    return [f"attempt {body.attempt}", f"{body.handler} on {body.queue}", _enum(body, "cause").lower()]


def _action(body: Any) -> list[str]:
    given_up = f"gives up attempt {body.attempt}" if body.attempt else ""
    return [_enum(body, "action"), given_up, f"“{body.note}”" if body.note else ""]


def _decision(body: Any) -> list[str]:
    return [_enum(body, "decision"), f"revision {body.revision}", f"“{body.comment}”" if body.comment else ""]


_DETAILS: dict[str, Callable[[Any], list[str]]] = {
    "run_started": lambda b: [f"{b.workflow} v{b.version}", f"key {b.key}" if b.key else ""],
    "run_paused": lambda b: [b.note],
    "run_resumed": lambda b: [b.note],
    "run_cancel_requested": lambda b: [b.reason],
    "run_reopened": lambda b: [f"epoch {b.run_epoch}", f"again: {', '.join(b.reset_paths)}", b.note],
    "run_succeeded": lambda b: [f"output {payload_line(b.output, 60)}"],
    "run_failed": lambda b: [f"{b.failure.step_path} {b.failure.type}: {b.failure.message}".strip()],
    "run_canceled": lambda b: [b.reason],
    "run_terminated": lambda b: [b.reason],
    "step_queued": _queued,
    "step_started": lambda b: [f"attempt {b.attempt}", f"worker {b.worker_id}"],
    "step_attempt_failed": _failure,
    "step_failed": lambda b: [*_failure(b), "handled" if b.handled else ""],
    "step_succeeded": lambda b: [f"answered by {b.answered_by}" if b.answered_by else ""],
    "step_skipped": lambda b: [_enum(b, "reason")],
    "step_canceled": lambda b: [_enum(b, "cause")],
    "step_cancel_requested": lambda b: [_enum(b, "cause")],
    "step_action_taken": _action,
    "timer_started": lambda b: [_enum(b, "kind")],
    "timer_fired": lambda b: [_enum(b, "kind")],
    "gate_opened": lambda b: [b.content.title, f"revision {b.revision}"],
    "gate_decision_recorded": _decision,
    "gate_revised": lambda b: [_enum(b, "cause"), f"revision {b.revision}"],
    "gate_resolved": lambda b: [_enum(b, "resolution"), f"by {_enum(b, 'rule')}"],
    "wait_opened": lambda b: [f"signal {b.signal}"],
    "signal_received": lambda b: [b.name, payload_line(b.payload, 60)],
    "wait_matched": lambda b: [f"signal of event {b.signal_seq}"],
}
