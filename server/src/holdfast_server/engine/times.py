"""Between the engine's microseconds and protobuf's timestamps and durations."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["duration_us", "iso", "timestamp", "timestamp_us"]

SECOND_US = 1_000_000


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since the Unix epoch as a timestamp."""
    seconds, micros = divmod(time_us, SECOND_US)
    return Timestamp(seconds=seconds, nanos=micros * 1_000)


def timestamp_us(value: Timestamp) -> int:
    """A timestamp as microseconds since the Unix epoch; an unset one is 0."""
    return value.seconds * SECOND_US + value.nanos // 1_000


def duration_us(value: Duration) -> int:
    """A duration in microseconds; an unset one is 0."""
    return value.seconds * SECOND_US + value.nanos // 1_000


def iso(time_us: int) -> str:
    """RFC 3339 in UTC, as expressions and people see times."""
    return datetime.fromtimestamp(time_us / SECOND_US, UTC).isoformat().replace("+00:00", "Z")
