"""What can be asked of the engine.

Not frozen: making a frozen dataclass costs a call per field, and two of these are made for every step.
"""

from dataclasses import dataclass, field

from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast_server.engine.effects import Timer

__all__ = [
    "Cancel",
    "Command",
    "CompleteTask",
    "DecideGate",
    "FailStep",
    "FailTask",
    "FireTimer",
    "Pause",
    "Resume",
    "Retry",
    "RetryStep",
    "ReturnTask",
    "SendSignal",
    "SkipStep",
    "Start",
    "StartTask",
    "StopTask",
    "Terminate",
]


@dataclass(slots=True)
class Start:
    """Begin a run; the first command of its life."""

    namespace: str
    run_id: str
    key: str
    input: Payload | None
    attributes: dict[str, JsonValue] = field(default_factory=dict)
    start_after_us: int = 0
    timeout_us: int | None = None
    """None means the definition's."""
    signals: tuple[tuple[str, Payload | None], ...] = ()
    traceparent: str = ""


@dataclass(slots=True)
class StartTask:
    """A worker was handed an attempt."""

    path: str
    attempt: int
    worker_id: str
    lease: int


@dataclass(slots=True)
class CompleteTask:
    """A worker succeeded."""

    path: str
    attempt: int
    output: Payload | None


@dataclass(slots=True)
class FailTask:
    """An attempt failed: a worker said so, or the server found it (`reported` False)."""

    path: str
    attempt: int
    failure: Failure
    reported: bool


@dataclass(slots=True)
class StopTask:
    """A worker stopped as it was asked to."""

    path: str
    attempt: int


@dataclass(slots=True)
class ReturnTask:
    """An attempt goes back to its queue untouched: its worker said so, or no worker has it (`reported` False)."""

    path: str
    attempt: int
    reported: bool


@dataclass(slots=True)
class FireTimer:
    """The time of a timer has come; ignored if it is void by now."""

    path: str
    timer: Timer


@dataclass(slots=True)
class SendSignal:
    """A signal for the run."""

    name: str
    payload: Payload | None


@dataclass(slots=True)
class DecideGate:
    """One person's decision."""

    path: str
    revision: int
    content_hash: bytes
    decision: Decision.ValueType
    payload: Payload | None = None
    comment: str = ""
    delegate_to: Approvers | None = None


@dataclass(slots=True)
class RetryStep:
    """An operator begins the next attempt of a step now."""

    path: str
    note: str = ""


@dataclass(slots=True)
class SkipStep:
    """An operator gives the output of a step."""

    path: str
    output: Payload | None = None
    note: str = ""


@dataclass(slots=True)
class FailStep:
    """An operator lets a step fail."""

    path: str
    type: str = ""
    message: str = ""
    note: str = ""


@dataclass(slots=True)
class Pause:
    """Let nothing new start."""

    note: str = ""


@dataclass(slots=True)
class Resume:
    """End a pause."""

    note: str = ""


@dataclass(slots=True)
class Cancel:
    """Ask the run to stop."""

    reason: str = ""


@dataclass(slots=True)
class Terminate:
    """End the run at once."""

    reason: str = ""


@dataclass(slots=True)
class Retry:
    """Let a closed run go on from what failed."""

    note: str = ""


Command = (
    Start
    | StartTask
    | CompleteTask
    | FailTask
    | StopTask
    | ReturnTask
    | FireTimer
    | SendSignal
    | DecideGate
    | RetryStep
    | SkipStep
    | FailStep
    | Pause
    | Resume
    | Cancel
    | Terminate
    | Retry
)
