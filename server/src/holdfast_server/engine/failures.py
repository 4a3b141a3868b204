"""Failure types of the server, how they are made, and how rules match them."""

from google.protobuf.duration_pb2 import Duration

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload

__all__ = ["RESERVED", "failure", "found_by_server", "is_reserved", "matches", "of_server", "of_user", "retry_after_us"]

SCHEDULE_TO_START = "Timeout.ScheduleToStart"
START_TO_CLOSE = "Timeout.StartToClose"
SCHEDULE_TO_CLOSE = "Timeout.ScheduleToClose"
HEARTBEAT = "Timeout.Heartbeat"
WAIT = "Timeout.Wait"
GATE = "Timeout.Gate"
LOST = "Lost"
CANCELED = "Canceled"
SCHEMA_VIOLATION = "SchemaViolation"
EXPRESSION_ERROR = "ExpressionError"
PAYLOAD_TOO_LARGE = "PayloadTooLarge"
REJECTED = "Rejected"
LIMIT_EXCEEDED = "LimitExceeded"
FAILED_BY_OPERATOR = "FailedByOperator"

RESERVED = frozenset(
    {
        SCHEDULE_TO_START,
        START_TO_CLOSE,
        SCHEDULE_TO_CLOSE,
        HEARTBEAT,
        WAIT,
        GATE,
        LOST,
        CANCELED,
        SCHEMA_VIOLATION,
        EXPRESSION_ERROR,
        PAYLOAD_TOO_LARGE,
        "LoopLimit",
        REJECTED,
        FAILED_BY_OPERATOR,
        "NoSuchSignal",
        "ChildFailed",
        "ChildCanceled",
        "MapFailed",
        "BudgetExceeded",
        LIMIT_EXCEEDED,
    }
)
"""Names user code may not raise; `11-contract`."""


RETRIED = frozenset({START_TO_CLOSE, HEARTBEAT, LOST})
"""Failures of the server's own making that are tried again; an output's SchemaViolation is too, an input's is not."""


def failure(
    kind: str,
    message: str,
    *,
    retryable: bool | None = None,
    details: Payload | None = None,
    cause: Failure | None = None,
) -> Failure:
    """A failure of the server's own making; its type says whether it is tried again, unless `retryable` does."""
    again = kind in RETRIED if retryable is None else retryable
    return Failure(type=kind, message=message, retryable=again, details=details, cause=cause)


def of_server(kind: str) -> bool:
    """Whether a failure of an attempt was found by the server and not reported by a worker."""
    return kind == LOST or kind.startswith("Timeout.")


def is_reserved(kind: str) -> bool:
    """Whether a failure type is one of the server's own."""
    return kind in RESERVED or kind.startswith("Timeout.")


def found_by_server(value: Failure) -> bool:
    """Whether no result of a worker is behind a failure.

    The cause counts too: a rule of `on_error` that cannot be carried out fails by itself, for want of what it was for.
    """
    if of_server(value.type):
        return True
    return is_reserved(value.type) and value.HasField("cause") and of_server(value.cause.type)


def of_user(reported: Failure) -> Failure:
    """What is recorded of a failure a worker reports: reserved types are marked as the user's, empty ones named."""
    if reported.type and not is_reserved(reported.type):
        return reported
    recorded = Failure()
    recorded.CopyFrom(reported)
    recorded.type = f"User.{reported.type}" if reported.type else "Error"
    return recorded


def matches(patterns: tuple[str, ...], kind: str) -> bool:
    """Whether a failure type fits one of the patterns: `*`, exact, or `Prefix.*`."""
    return any(
        pattern in ("*", kind) or (pattern.endswith(".*") and kind.startswith(pattern[:-1])) for pattern in patterns
    )


def retry_after_us(value: Failure) -> int | None:
    """The wait a failure demands before the next attempt, in microseconds; None if it demands none."""
    if not value.HasField("retry_after"):
        return None
    wait: Duration = value.retry_after
    return max(0, wait.seconds * 1_000_000 + wait.nanos // 1_000)
