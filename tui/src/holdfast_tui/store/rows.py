"""Gates and runs as rows of the two lists; every text in them is safe to show."""

from dataclasses import dataclass

from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import Risk
from holdfast.v1.gate_pb2 import Gate, GateReason
from holdfast.v1.run_pb2 import RunState, RunSummary, WaitingReason
from holdfast_tui.store.times import seconds_of
from holdfast_tui.store.words import (
    OPEN_RUN_STATES,
    Span,
    Tone,
    risk_span,
    run_state_mark,
    run_state_span,
    safe,
    waiting_span,
)

__all__ = ["GateKey", "GateRow", "RunRow", "gate_key", "gate_row", "is_high_risk", "run_row"]

GateKey = tuple[str, str]
"""Run id and step path, as the server sent them."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """An open gate.

    Attributes:
        key: What it is addressed by; not for the screen.
        title: What it asks.
        run: Id of its run.
        step: Path of its step.
        risk: How dangerous its action is, or that a failure is reviewed.
        open_s: When it opened, in seconds since 1970.
        deadline_s: When its deadline rule applies; None for never.
        haystack: What the filter looks in, in lower case.
    """

    key: GateKey
    title: Span
    run: Span
    step: Span
    risk: Span
    open_s: float
    deadline_s: float | None
    haystack: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run.

    Attributes:
        key: Its id, as the server sent it; not for the screen.
        mark: One character for its state.
        state: Its state.
        workflow: What it runs, with the version.
        run: Its id.
        status: What it waits for, or why it did not succeed.
        start_s: When it was accepted, in seconds since 1970.
        is_open: Whether it goes on.
        haystack: What the filter looks in, in lower case.
    """

    key: str
    mark: Span
    state: Span
    workflow: Span
    run: Span
    status: tuple[Span, ...]
    start_s: float
    is_open: bool
    haystack: str


def gate_key(gate: Gate) -> GateKey:
    """Return what a gate is addressed by."""
    return gate.run_id, gate.step_path


def gate_row(gate: Gate) -> GateRow:
    """Return a gate as a row."""
    title = safe(gate.content.title or gate.step_path)
    run, step = safe(gate.run_id), safe(gate.step_path, Tone.MUTED)
    risk = _risk(gate)
    return GateRow(
        key=gate_key(gate),
        title=title,
        run=run,
        step=step,
        risk=risk,
        open_s=seconds_of(gate.open_time),
        deadline_s=seconds_of(gate.deadline_time) if gate.HasField("deadline_time") else None,
        haystack=" ".join((title.text, run.text, step.text, risk.text, scrub(gate.workflow))).lower(),
    )


def _risk(gate: Gate) -> Span:
    if gate.reason == GateReason.GATE_REASON_ERROR_REVIEW:
        return Span("FAILURE", Tone.WARN)
    if not gate.content.HasField("action"):
        return Span("–", Tone.MUTED)
    return risk_span(gate.content.action.risk)


def is_high_risk(gate: Gate) -> bool:
    """Return whether the action of a gate cannot be undone."""
    return gate.content.action.risk == Risk.RISK_HIGH


def run_row(run: RunSummary) -> RunRow:
    """Return a run as a row."""
    state = run_state_span(run.state)
    workflow = safe(f"{run.workflow} v{run.version}")
    status = tuple(_status(run))
    words = (run.run_id, run.key, workflow.text, state.text, *(span.text for span in status))
    return RunRow(
        key=run.run_id,
        mark=run_state_mark(run.state),
        state=state,
        workflow=workflow,
        run=safe(run.run_id),
        status=status,
        start_s=seconds_of(run.start_time),
        is_open=run.state in OPEN_RUN_STATES,
        haystack=scrub(" ".join(words)).lower(),
    )


def _status(run: RunSummary) -> list[Span]:
    spans = []
    if run.waiting_reason:
        spans += [waiting_span(run.waiting_reason), Span("  ")]
    if run.status_message:
        message = run.status_message
        if run.waiting_reason == WaitingReason.WAITING_REASON_GATE:
            message = message.replace("people decide: ", "", 1)  # the word before it says that, and rows are short
        tone = Tone.PLAIN if run.state in OPEN_RUN_STATES else Tone.MUTED
        spans.append(safe(message, Tone.BAD if run.state == RunState.RUN_STATE_FAILED else tone))
    return spans
