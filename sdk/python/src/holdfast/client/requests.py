"""What users write, as the contract's messages: names of states, filters, times, attributes."""

import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypedDict, TypeVar, Unpack

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.converter import Converter, json_value
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import OnConflict, RunFilter, StartRunRequest
from holdfast.v1.signal_pb2 import Signal

__all__ = [
    "OnConflictName",
    "StartOptions",
    "current_traceparent",
    "enum_member",
    "new_request_id",
    "run_filter",
    "start_request",
    "timestamp",
    "utc_now",
]

OnConflictName = Literal["FAIL", "USE_EXISTING", "TERMINATE_EXISTING"]
ValueT = TypeVar("ValueT", bound=int)
NumberT_co = TypeVar("NumberT_co", bound=int, covariant=True)


class StartOptions(TypedDict, total=False):
    """What may be said when a run is started; told at `Client.start`."""

    run_id: str
    key: str
    on_conflict: OnConflictName
    version: int
    attributes: Mapping[str, object] | None
    start_after: datetime | timedelta | None
    timeout: timedelta | None
    signals: Sequence[tuple[str, object]]
    request_id: str | None


class _Enum(Protocol[NumberT_co]):
    """An enum of the contract, as the generated code offers it."""

    def Value(self, name: str) -> NumberT_co: ...  # noqa: N802 - protobuf's own

    def keys(self) -> list[str]: ...


def new_request_id() -> str:
    """Return a request id that nobody else makes."""
    return secrets.token_hex(16)


def run_filter(
    *,
    states: Iterable[RunState.ValueType | str] = (),
    workflow: str = "",
    key: str = "",
    started_from: datetime | None = None,
    started_before: datetime | None = None,
    waiting: Iterable[WaitingReason.ValueType | str] = (),
) -> RunFilter:
    """Return a filter for runs; all conditions must hold.

    Args:
        states: States, as enum values or names such as `RUNNING`; none means all.
        workflow: Only runs of this workflow; empty means all.
        key: Only runs with this business id; empty means any.
        started_from: Only runs that started at or after this time.
        started_before: Only runs that started before this time.
        waiting: Most telling reasons they wait for, as enum values or names such as `GATE`; none means all.

    Raises:
        ValueError: A name is not one of the contract, or a time has no time zone.
    """
    return RunFilter(
        states=[enum_member(RunState, "RUN_STATE_", state) for state in states],
        workflow=workflow,
        key=key,
        start_after_time=None if started_from is None else timestamp(started_from),
        start_before_time=None if started_before is None else timestamp(started_before),
        waiting_reasons=[enum_member(WaitingReason, "WAITING_REASON_", reason) for reason in waiting],
    )


def start_request(
    converter: Converter,
    namespace: str,
    workflow: str,
    input: object,
    *,
    clock: Callable[[], datetime],
    **options: Unpack[StartOptions],
) -> StartRunRequest:
    """Return the message that starts a run; what each argument means is told at `Client` and `Client.start`."""
    request = StartRunRequest(
        namespace=namespace,
        workflow=workflow,
        version=options.get("version", 0),
        run_id=options.get("run_id", ""),
        key=options.get("key", ""),
        on_conflict=enum_member(OnConflict, "ON_CONFLICT_", options.get("on_conflict", "FAIL")),
        input=converter.encode_optional(input),
        request_id=options.get("request_id") or new_request_id(),
        traceparent=current_traceparent(),
    )
    for name, value in (options.get("attributes") or {}).items():
        request.attributes[name].CopyFrom(json_value(value))
    if (start_after := options.get("start_after")) is not None:
        time = clock() + start_after if isinstance(start_after, timedelta) else start_after
        request.start_after_time.CopyFrom(timestamp(time))
    if (timeout := options.get("timeout")) is not None:
        request.timeout.FromTimedelta(timeout)
    for name, value in options.get("signals", ()):
        request.signals.append(Signal(name=name, payload=converter.encode_optional(value)))
    return request


def utc_now() -> datetime:
    """Return the time by this machine's clock."""
    return datetime.now(UTC)


def timestamp(time: datetime) -> Timestamp:
    """Return a time as the contract's timestamp.

    Raises:
        ValueError: The time has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time.isoformat()} has no time zone; write for example datetime(..., tzinfo=UTC)")
    message = Timestamp()
    message.FromDatetime(time)
    return message


def current_traceparent() -> str:
    """Return the W3C trace context of the caller; empty if nothing traces.

    A program that never loaded OpenTelemetry has no span, and does not load it for this.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def enum_member(enum: _Enum[ValueT], prefix: str, value: ValueT | str) -> ValueT:
    """Return a value of an enum of the contract from itself or its name without the prefix.

    Raises:
        ValueError: The enum has no such name.
    """
    if not isinstance(value, str):
        return value
    try:
        return enum.Value(prefix + value.upper())
    except ValueError:
        names = ", ".join(name.removeprefix(prefix) for name in enum.keys()[1:])
        raise ValueError(f"{value!r} is none of {names}") from None
