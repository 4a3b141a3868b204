"""Messages of the contract as JSON for programs: payloads decoded, 64-bit integers as numbers, names without prefix."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.cli.render.times import rfc3339
from holdfast.scrub import scrub_json
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import JsonValue, Payload

__all__ = ["dumps", "enum_name", "payload_value", "plain"]


def dumps(value: object, *, indent: int | None = 2) -> str:
    """Return JSON text that a terminal can be shown: control characters in strings are escapes."""
    return scrub_json(json.dumps(value, indent=indent, ensure_ascii=False, default=_plain_default))


def _plain_default(value: object) -> object:
    if isinstance(value, Message):
        return plain(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def plain(message: Message) -> Any:
    """Return a message as JSON values.

    Scalars are always there; absent messages and unset enums are null; of a `oneof` only what is set is there. The
    events of a history have `type` and `body` in place of their `oneof`.
    """
    match message:
        case Payload():
            return payload_value(message)
        case JsonValue():
            return json.loads(message.json) if message.json else None
        case Timestamp():
            return rfc3339(message)
        case Duration():
            return f"{message.ToNanoseconds() / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
        case HistoryEvent():
            return _event(message)
        case _:
            return {field.name: _field(message, field) for field in _fields(message)}


def _event(event: HistoryEvent) -> dict[str, Any]:
    head = {field.name: _field(event, field) for field in _fields(event) if field.containing_oneof is None}
    kind = event.WhichOneof("body")
    body: Message | None = getattr(event, kind) if kind else None
    return {
        **head,
        "type": None if body is None else body.DESCRIPTOR.name,
        "body": None if body is None else plain(body),
    }


def _fields(message: Message) -> list[Any]:
    return [f for f in message.DESCRIPTOR.fields if not _is_choice(f) or message.HasField(f.name)]


def _is_choice(field: Any) -> bool:
    """Return whether a field is one of several that exclude each other; `optional` is a choice of one."""
    oneof = field.containing_oneof
    return oneof is not None and len(oneof.fields) > 1


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if isinstance(value, Mapping):
        item = field.message_type.fields_by_name["value"]
        return {str(key): _value(each, item) for key, each in sorted(value.items())}
    if field.is_repeated:
        return [_value(each, field) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return enum_name(field.enum_type, value) or None
    return value


def payload_value(payload: Payload) -> Any:
    """Return what a payload carries: its JSON value, its text, or, for other bytes, what it says about them."""
    if payload.HasField("ref"):
        return {"ref": {"sha256": payload.ref.sha256.hex(), "size_bytes": payload.ref.size_bytes}}
    encoding = payload.metadata["encoding"].decode(errors="replace") if "encoding" in payload.metadata else "json/utf-8"
    try:
        if encoding == "json/utf-8":
            return json.loads(payload.data) if payload.data else None
        if encoding.startswith("text/"):
            return payload.data.decode()
    except (ValueError, RecursionError):
        pass  # not what it says it is: shown as the bytes it is
    return {"encoding": encoding, "base64": b64encode(payload.data).decode()}


def enum_name(enum: EnumDescriptor, number: int) -> str:
    """Return the name of an enum's value as people write it; empty for the unset one, digits for an unknown one."""
    if number == 0:
        return ""
    known = enum.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix(_prefix(enum.name))


@cache
def _prefix(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_"
