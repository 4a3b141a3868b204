"""The words of states, reasons and decisions, each with a tone that becomes its colour; the word alone is enough."""

from enum import StrEnum
from typing import NamedTuple

from google.protobuf.descriptor import EnumDescriptor

from holdfast.scrub import scrub
from holdfast.v1.actor_pb2 import Actor, ActorKind
from holdfast.v1.definition_pb2 import Decision, OnDeadline, Risk
from holdfast.v1.gate_pb2 import Gate, GateState, Resolution, ResolutionRule
from holdfast.v1.run_pb2 import RunState, StepState, WaitingReason

__all__ = [
    "OPEN_RUN_STATES",
    "Line",
    "Span",
    "Tone",
    "actor_name",
    "decision_name",
    "gate_outcome",
    "line",
    "on_deadline_name",
    "resolved_by",
    "risk_span",
    "run_state_mark",
    "run_state_span",
    "safe",
    "step_mark",
    "step_state_span",
    "waiting_span",
]


class Tone(StrEnum):
    """What a colour says."""

    PLAIN = "plain"
    MUTED = "muted"
    STRONG = "strong"
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    BUSY = "busy"
    LABEL = "label"


class Span(NamedTuple):
    """A piece of a line: text that is safe to show, and its tone."""

    text: str
    tone: Tone = Tone.PLAIN


class Line(NamedTuple):
    """A line of text; where it has to be wrapped, it goes on `hang` cells from the left."""

    spans: tuple[Span, ...] = ()
    hang: int = 0

    @property
    def plain(self) -> str:
        """The text without tones."""
        return "".join(span.text for span in self.spans)


OPEN_RUN_STATES = frozenset({RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED})

_TONES = {
    "APPROVED": Tone.GOOD,
    "BACKING_OFF": Tone.WARN,
    "CANCELED": Tone.MUTED,
    "FAILED": Tone.BAD,
    "HIGH": Tone.BAD,
    "IN_REVIEW": Tone.WARN,
    "MEDIUM": Tone.WARN,
    "NO_WORKER": Tone.BAD,
    "OPEN": Tone.WARN,
    "PAUSED": Tone.WARN,
    "PENDING": Tone.MUTED,
    "QUARANTINED": Tone.BAD,
    "QUEUED": Tone.BUSY,
    "REJECTED": Tone.BAD,
    "RESPONDED": Tone.GOOD,
    "RETRIED": Tone.BUSY,
    "RUNNING": Tone.BUSY,
    "SKIPPED": Tone.MUTED,
    "SUCCEEDED": Tone.GOOD,
    "TERMINATED": Tone.BAD,
    "TIMED_OUT": Tone.BAD,
    "WAITING": Tone.WARN,
}
_MARKS = {
    "BACKING_OFF": "↻",
    "CANCELED": "○",
    "FAILED": "✘",
    "IN_REVIEW": "?",
    "PAUSED": "‖",
    "PENDING": "·",
    "QUEUED": "…",
    "RUNNING": "▶",
    "SKIPPED": "–",
    "SUCCEEDED": "✔",
    "TERMINATED": "■",
    "TIMED_OUT": "✘",
    "WAITING": "‖",
}


def safe(text: str, tone: Tone = Tone.PLAIN) -> Span:
    """Return text of others as a span: one line, every control character written out."""
    return Span(scrub(text), tone)


def line(*parts: Span | str, hang: int = 0) -> Line:
    """Return a line of spans; plain strings are our own words."""
    return Line(tuple(Span(part) if isinstance(part, str) else part for part in parts), hang)


def _name(enum: EnumDescriptor, prefix: str, number: int) -> str:
    """Return the name of an enum's value as people write it; digits for one that this client does not know."""
    known = enum.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix(prefix)


def _word(name: str) -> Span:
    return Span(name, _TONES.get(name, Tone.PLAIN))


def run_state_span(state: int) -> Span:
    """Return the state of a run."""
    return _word(_name(RunState.DESCRIPTOR, "RUN_STATE_", state))


def run_state_mark(state: int) -> Span:
    """Return one character for the state of a run."""
    name = _name(RunState.DESCRIPTOR, "RUN_STATE_", state)
    return Span(_MARKS.get(name, " "), _TONES.get(name, Tone.PLAIN))


def step_state_span(state: int) -> Span:
    """Return the state of a step."""
    return _word(_name(StepState.DESCRIPTOR, "STEP_STATE_", state))


def step_mark(state: int) -> Span:
    """Return one character for the state of a step."""
    name = _name(StepState.DESCRIPTOR, "STEP_STATE_", state)
    return Span(_MARKS.get(name, " "), _TONES.get(name, Tone.PLAIN))


def waiting_span(reason: int) -> Span:
    """Return the reason an open run waits for; only what somebody has to mend stands out."""
    name = _name(WaitingReason.DESCRIPTOR, "WAITING_REASON_", reason)
    return Span(name, _TONES.get(name, Tone.LABEL))


def risk_span(risk: int) -> Span:
    """Return how dangerous an action is; unset is LOW."""
    return _word(_name(Risk.DESCRIPTOR, "RISK_", risk or Risk.RISK_LOW))


def decision_name(decision: int) -> str:
    """Return a decision, for example `APPROVE`."""
    return _name(Decision.DESCRIPTOR, "DECISION_", decision)


def on_deadline_name(rule: int) -> str:
    """Return what a deadline does; unset is FAIL."""
    return _name(OnDeadline.DESCRIPTOR, "ON_DEADLINE_", rule or OnDeadline.ON_DEADLINE_FAIL)


def gate_outcome(gate: Gate) -> Span:
    """Return the outcome of a gate, or its state while there is none."""
    if gate.resolution:
        return _word(_name(Resolution.DESCRIPTOR, "RESOLUTION_", gate.resolution))
    return _word(_name(GateState.DESCRIPTOR, "GATE_STATE_", gate.state))


def resolved_by(gate: Gate) -> str:
    """Return who or what resolved a gate."""
    if gate.resolution_rule == ResolutionRule.RESOLUTION_RULE_DEADLINE:
        return "its deadline"
    return actor_name(gate.resolved_by)


def actor_name(actor: Actor) -> str:
    """Return who did something, and whether that is only a claim."""
    name = scrub(actor.name)
    if actor.kind == ActorKind.ACTOR_KIND_WORKER:
        return f"worker {name}" if name else "a worker"
    if not name:
        return "the server" if actor.kind == ActorKind.ACTOR_KIND_UNSPECIFIED else "somebody"
    return name if actor.verified else f"{name} (unverified)"
