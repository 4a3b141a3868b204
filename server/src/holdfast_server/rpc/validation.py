"""Checks on requests before anything is done: forms, sizes, ranges. Refusals name field, limit and value."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from urllib.parse import unquote

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.actor_pb2 import Actor, ActorKind
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast_server.engine.durations import LONGEST_US
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, nesting
from holdfast_server.engine.payloads import nests_too_deep
from holdfast_server.engine.refusal import Refused, limit_exceeded
from holdfast_server.rpc.errors import Context
from holdfast_server.runtime.results import RESULT_LIMITS

__all__ = ["Limits", "Validator", "actor_of"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SNAKE = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_FORM = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
SNAKE_FORM = "[a-z][a-z0-9_]{0,62}"
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
ACTOR_HEADER = "holdfast-actor"
ACTOR_CHARS = 256
LATEST_S = 253_402_300_799
"""The last second of the year 9999, the last that a timestamp can say."""
NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of requests and answers."""

    payload_bytes: int = 4 * 1024 * 1024
    message_bytes: int = 16 * 1024 * 1024
    batch_items: int = 1_000
    note_bytes: int = 16 * 1024
    request_id_chars: int = 128
    source_bytes: int = 1024 * 1024
    expression_bytes: int = 4 * 1024
    attributes: int = 100
    attribute_bytes: int = 1_024
    start_signals: int = 100
    handlers: int = 1_000
    slots: int = 10_000
    page_size: int = 1_000
    history_page_size: int = 10_000
    worker_info_chars: int = 256
    actor_chars: int = ACTOR_CHARS
    open_calls: int = 10_000


class EnumOfContract(Protocol):
    """An enum of the contract, as the generated code offers it."""

    def keys(self) -> list[str]:
        """Names of its values."""

    def Value(self, name: str) -> int:
        """Number of a name."""

    def __hash__(self) -> int: ...


def actor_of(context: Context) -> Actor:
    """Who calls: without access control, the name that is claimed, recorded as such."""
    name = "anonymous"
    for key, value in context.invocation_metadata() or ():
        if key == ACTOR_HEADER and value:
            # Headers are ASCII: what is not travels percent-encoded.
            name = unquote(value if isinstance(value, str) else value.decode(errors="replace"))
    if len(name) > ACTOR_CHARS:
        raise over("holdfast-actor", "actor_chars", ACTOR_CHARS, len(name))
    return Actor(kind=ActorKind.ACTOR_KIND_CLIENT, name=name, verified=False)


def invalid(field: str, message: str) -> Refused:
    """A field that is missing, malformed or out of range."""
    return Refused(
        ErrorReason.ERROR_REASON_INVALID_REQUEST, f"{field}: {message}", {"field": field}, ((field, message),)
    )


def over(field: str, limit: str, value: int, actual: int) -> Refused:
    """A field over a limit."""
    return limit_exceeded(field, limit, value, actual, field)


class Validator:
    """Checks with the limits in force.

    Args:
        limits: sizes.
        is_namespace: whether a namespace exists.
    """

    def __init__(self, limits: Limits, is_namespace: Callable[[str], bool]) -> None:
        self.limits = limits
        self._is_namespace = is_namespace

    def namespace(self, value: str) -> str:
        """The namespace a request means.

        Raises:
            Refused: NAMESPACE_NOT_FOUND.
        """
        name = value or "default"
        if not self._is_namespace(name):
            message = f"there is no namespace {name[:128]!r}"
            raise Refused(
                ErrorReason.ERROR_REASON_NAMESPACE_NOT_FOUND,
                message,
                {"namespace": name[:128]},
                (("namespace", message),),
            )
        return name

    def name(self, field: str, value: str, *, optional: bool = False) -> str:
        """A name of a workflow, queue, handler, run or key."""
        if (value or not optional) and not NAME.fullmatch(value):
            raise invalid(field, f"{value[:140]!r} is not a name; the form is {NAME_FORM}")
        return value

    def snake(self, field: str, value: str) -> str:
        """A name of a signal, query or attribute."""
        if not SNAKE.fullmatch(value):
            raise invalid(field, f"{value[:80]!r} is not a name; the form is {SNAKE_FORM}")
        return value

    def path(self, field: str, value: str) -> str:
        """The path of a step."""
        if not value or len(value) > 1_024:  # noqa: PLR2004 - nesting 8 with the longest names
            raise invalid(field, "is missing or longer than any path of a step")
        return value

    def request_id(self, value: str) -> str:
        """A request id, or none."""
        limit = self.limits.request_id_chars
        if len(value) > limit:
            raise over("request_id", "request_id_chars", limit, len(value))
        return value

    def payload(self, field: str, value: Payload) -> Payload:
        """A payload that carries its data and is not too large."""
        if value.HasField("ref"):
            raise invalid(field, "carries a reference; requests carry the data")
        size = len(value.data) + sum(len(name) + len(part) for name, part in value.metadata.items())
        limit = self.limits.payload_bytes
        if size > limit:
            message = f"has {size} bytes; the limit payload_bytes is {limit}"
            facts = {"limit": "payload_bytes", "value": str(limit), "actual": str(size), "field": field}
            raise Refused(ErrorReason.ERROR_REASON_PAYLOAD_TOO_LARGE, f"{field} {message}", facts, ((field, message),))
        if nests_too_deep(value):
            raise over(field, "json_depth", JSON_DEPTH_MAX, nesting(value.data))
        return value

    def note(self, field: str, value: str) -> str:
        """A text of a person."""
        size = len(value.encode())
        if size > self.limits.note_bytes:
            raise over(field, "note_bytes", self.limits.note_bytes, size)
        return value

    def failure_type(self, field: str, value: str) -> str:
        """A type of a failure, or none."""
        limit = RESULT_LIMITS["failure_type_chars"]
        if len(value) > limit:
            raise over(field, "failure_type_chars", limit, len(value))
        return value

    def batch(self, field: str, count: int) -> None:
        """A batch that is neither empty nor too large."""
        if not count:
            raise invalid(field, "is empty")
        if count > self.limits.batch_items:
            raise over(field, "batch_items", self.limits.batch_items, count)

    def page_size(self, value: int, most: int | None = None, default: int = 100) -> int:
        """Entries per page."""
        return self.range("page_size", value, most or self.limits.page_size) or default

    def range(self, field: str, value: int, most: int) -> int:
        """A number from 0 to `most`."""
        if value < 0 or value > most:
            raise invalid(field, f"{value} is not from 0 to {most}")
        return value

    def member(self, field: str, value: int, enum: EnumOfContract, *, required: bool = False) -> None:
        """A value of an enum that this server knows."""
        known = _names(enum)
        if value not in known or (required and not value):
            listed = ", ".join(name for number, name in known.items() if number or not required)
            raise invalid(field, f"{value} is none of {listed}")

    def duration_us(self, field: str, value: Duration, *, least_us: int = 0) -> int:
        """A duration in microseconds."""
        amount = value.seconds * 1_000_000 + value.nanos // 1_000
        if amount < least_us or amount > LONGEST_US:
            raise invalid(field, f"{amount / 1e6:g} s is not from {least_us / 1e6:g} s to {LONGEST_US // 1_000_000} s")
        return amount

    def time(self, field: str, value: Timestamp) -> None:
        """A time from the year 1970 to the year 9999."""
        if not (0 <= value.seconds <= LATEST_S and 0 <= value.nanos < NANOS):
            raise invalid(field, "is not a time from 1970-01-01 to 9999-12-31")

    def attributes(self, field: str, values: dict[str, JsonValue]) -> None:
        """Attributes for search."""
        if len(values) > self.limits.attributes:
            raise over(field, "attributes", self.limits.attributes, len(values))
        for name, value in values.items():
            self.snake(f"{field}.{name[:80]}", name)
            size = len(value.json.encode())
            if size > self.limits.attribute_bytes:
                raise over(f"{field}.{name}", "attribute_bytes", self.limits.attribute_bytes, size)
            check_json(f"{field}.{name}", value.json)

    def traceparent(self, value: str) -> str:
        """A W3C trace context, or none."""
        if value and not TRACEPARENT.fullmatch(value):
            raise invalid("traceparent", f"{value[:80]!r} is not a W3C traceparent of version 00")
        return value


@cache
def _names(enum: EnumOfContract) -> dict[int, str]:
    names = enum.keys()
    return {enum.Value(name): name for name in names}


def check_json(field: str, text: str) -> None:
    """A text that is JSON."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(field, f"is not valid JSON: {error}") from error
