"""Events and states as one readable line each, for golden files."""

import re
from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.actor_pb2 import Actor
from holdfast.v1.definition_pb2 import Approvers
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import GateContent
from holdfast.v1.history_pb2 import EdgeOutcome, EdgeResolution, HistoryEvent
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import RunState as RunStateEnum, StepState
from holdfast_server.engine.times import duration_us, timestamp_us
from tests.unit.engine.driver import START_US, Play

__all__ = ["event_line", "offset", "state_lines"]

HIDDEN = frozenset({"content_hash", "definition_hash", "namespace", "workflow", "version", "run_id"})
"""Fields that are the same everywhere or mean nothing to a reader."""
SHOWN_BYTES = 160


def offset(time_us: int) -> str:
    """A time as what has passed since the start of the run, such as `+1.5s`."""
    seconds = (time_us - START_US) / 1_000_000
    return f"+{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def event_line(event: HistoryEvent) -> str:
    """An event: number, time, name, path, the rest."""
    name = event.WhichOneof("body") or ""
    body = getattr(event, name)
    words = [f"{event.seq:>3}", offset(timestamp_us(event.time)), type(body).__name__]
    path = getattr(body, "path", "")
    if path:
        words.append(path)
    words += [_field(field, value) for field, value in body.ListFields() if field.name not in {"path", *HIDDEN}]
    if event.HasField("actor"):
        words.append(f"by={event.actor.name}")
    if event.HasField("request"):
        words.append(f"request={event.request.id}")
    return " ".join(words)


def _field(field: FieldDescriptor, value: Any) -> str:
    if field.name == "input" and isinstance(value, Payload):
        return f"input={_payload(value)}"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = ",".join(f"{key}:{_value(field, value[key])}" for key in sorted(value))
        return f"{field.name}={{{inner}}}"
    if _repeated(value):
        return f"{field.name}=[{' '.join(_value(field, one) for one in value)}]"
    return f"{field.name}={_value(field, value)}"


def _repeated(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Message)


def _value(field: FieldDescriptor, value: Any) -> str:
    if isinstance(value, Message):
        return _message(value)
    if field.enum_type is not None:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", field.enum_type.name).upper()
        return field.enum_type.values_by_number[value].name.removeprefix(f"{prefix}_")
    if isinstance(value, str):
        return _quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w.-]+", text) else orjson.dumps(text).decode()


def _message(value: Message) -> str:
    match value:
        case Payload():
            return _payload(value)
        case JsonValue():
            return value.json
        case Timestamp():
            return offset(timestamp_us(value))
        case Duration():
            return f"{duration_us(value) / 1_000_000:g}s"
        case EdgeOutcome():
            return f"{value.target}:{EdgeResolution.Name(value.resolution).removeprefix('EDGE_RESOLUTION_')}"
        case Failure():
            return _failure(value)
        case Actor():
            return value.name
        case Approvers():
            names = [*value.principals, *(f"role:{role}" for role in value.roles)]
            return f"[{' '.join(names)}]" + ("-starter" if value.exclude_starter else "")
        case GateContent():
            return _content(value)
    return str(value).replace("\n", " ").strip()


def _failure(value: Failure) -> str:
    words = [value.type, orjson.dumps(value.message).decode()]
    if value.HasField("retryable") and not value.retryable:
        words.append("final")
    if value.HasField("retry_after"):
        words.append(f"retry_after={_message(value.retry_after)}")
    if value.step_path:
        words.append(f"at {value.step_path}")
    if value.HasField("details"):
        words.append(f"details={_payload(value.details)}")
    if value.HasField("cause"):
        words.append(f"because {_failure(value.cause)}")
    return f"({' '.join(words)})"


def _content(value: GateContent) -> str:
    words = [orjson.dumps(value.title).decode()]
    if value.HasField("body"):
        words.append(f"body={_payload(value.body)}")
    if value.HasField("action"):
        words.append(f"action={value.action.name}")
    if value.HasField("subject"):
        words.append(f"subject={_payload(value.subject)}")
    return f"({' '.join(words)})"


def _payload(value: Payload) -> str:
    if value.HasField("ref"):
        return f"<{value.ref.size_bytes} bytes by reference>"
    text = value.data.decode()
    if value.metadata.get("encoding") == b"text/markdown":
        text = orjson.dumps(text).decode()
    if len(text) > SHOWN_BYTES:
        return f"<{len(value.data)} bytes>"
    return re.sub(r'"20\d\d-[0-9T:.-]+Z"', '"<time>"', text)


def state_lines(play: Play) -> list[str]:
    """The state of the run and of its steps, and what it waits for."""
    run = play.run
    prefix = len("STEP_STATE_")
    steps = [f"{step.name}:{StepState.Name(play.state(step.name))[prefix:]}" for step in run.plan.block.steps]
    lines = [f"{RunStateEnum.Name(run.state)[len('RUN_STATE_') :]} {' '.join(steps)}"]
    if run.open:
        lines.append("waits " + ", ".join(f"{reason} {path}".strip() for reason, path in play.reasons()))
    return lines
