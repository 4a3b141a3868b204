"""The words of states, decisions and reasons, each with the colour it is shown in; the word alone is enough."""

from google.protobuf.descriptor import EnumDescriptor
from rich.text import Text

from holdfast.cli.render.json import enum_name
from holdfast.scrub import scrub
from holdfast.v1 import actor_pb2, definition_pb2, gate_pb2, run_pb2
from holdfast.v1.actor_pb2 import Actor, ActorKind

__all__ = [
    "actor_name",
    "decision_word",
    "gate_state",
    "resolution_word",
    "risk_word",
    "run_state",
    "safe",
    "step_mark",
    "step_state",
    "waiting_word",
]

_RUNS = run_pb2.DESCRIPTOR.enum_types_by_name
_GATES = gate_pb2.DESCRIPTOR.enum_types_by_name
_DEFINITIONS = definition_pb2.DESCRIPTOR.enum_types_by_name

STYLES = {
    "APPROVED": "green",
    "BACKING_OFF": "yellow",
    "CANCELED": "magenta",
    "FAILED": "bold red",
    "HIGH": "bold red",
    "IN_REVIEW": "bold yellow",
    "MEDIUM": "yellow",
    "OPEN": "bold yellow",
    "PAUSED": "yellow",
    "PENDING": "dim",
    "QUEUED": "cyan",
    "REJECTED": "red",
    "RUNNING": "bold cyan",
    "SKIPPED": "dim",
    "SUCCEEDED": "green",
    "TERMINATED": "red",
    "TIMED_OUT": "bold red",
    "WAITING": "yellow",
}
MARKS = {
    "BACKING_OFF": "↻",
    "CANCELED": "○",
    "FAILED": "✘",
    "IN_REVIEW": "?",
    "PENDING": "·",
    "QUEUED": "…",
    "RUNNING": "▶",
    "SKIPPED": "–",
    "SUCCEEDED": "✔",
    "WAITING": "‖",
}


def safe(text: str, style: str = "", *, multiline: bool = False) -> Text:
    """Return text of others as something that can be printed: no control characters, no markup."""
    return Text(scrub(text, multiline=multiline), style=style)


def _word(enum: EnumDescriptor, number: int) -> Text:
    name = enum_name(enum, number)
    return Text(name, style=STYLES.get(name, ""))


def run_state(state: int) -> Text:
    """Return the state of a run."""
    return _word(_RUNS["RunState"], state)


def step_state(state: int) -> Text:
    """Return the state of a step."""
    return _word(_RUNS["StepState"], state)


def step_mark(state: int) -> Text:
    """Return one character for the state of a step."""
    name = enum_name(_RUNS["StepState"], state)
    return Text(MARKS.get(name, " "), style=STYLES.get(name, ""))


def waiting_word(reason: int) -> Text:
    """Return the reason an open run waits for."""
    return _word(_RUNS["WaitingReason"], reason)


def gate_state(state: int) -> Text:
    """Return the state of a gate."""
    return _word(_GATES["GateState"], state)


def resolution_word(resolution: int) -> Text:
    """Return the outcome of a gate."""
    return _word(_GATES["Resolution"], resolution)


def decision_word(decision: int) -> Text:
    """Return a decision."""
    return _word(_DEFINITIONS["Decision"], decision)


def risk_word(risk: int) -> Text:
    """Return how dangerous an action is; unset is LOW."""
    return _word(_DEFINITIONS["Risk"], risk or definition_pb2.Risk.RISK_LOW)


def actor_name(actor: Actor) -> str:
    """Return who did something, and whether that is only a claim."""
    if not actor.name:
        kinds = actor_pb2.DESCRIPTOR.enum_types_by_name["ActorKind"]
        return enum_name(kinds, actor.kind).lower() or "the server"
    name = scrub(actor.name)
    if actor.kind == ActorKind.ACTOR_KIND_WORKER:
        return f"worker {name}"
    return name if actor.verified else f"{name} (unverified)"
