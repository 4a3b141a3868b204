"""gRPC statuses and batch items as typed errors, without needing grpcio-status."""

from functools import cache

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from holdfast.errors import LimitExceededError, ServerError, UnavailableError, Violation
from holdfast.v1.errors_pb2 import ErrorReason, ItemError

__all__ = ["MESSAGE_MAX_BYTES", "error_of_item", "error_of_rpc", "is_transient", "lost_the_server"]

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
"""Most bytes of a message, on both sides."""
DOMAIN = "holdfast"
DETAILS_KEY = "grpc-status-details-bin"
_TRANSIENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def is_transient(fault: aio.AioRpcError) -> bool:
    """Return whether the same request may succeed a moment later.

    CANCELLED counts when the server says it: bursts of calls on a new connection are answered so. INTERNAL counts when
    no server of ours says it: gRPC gives it to a call whose connection broke while something was being sent.
    """
    return fault.code() in _TRANSIENT or (fault.code() is grpc.StatusCode.INTERNAL and lost_the_server(fault))


def lost_the_server(fault: aio.AioRpcError | grpc.Call) -> bool:
    """Return whether no server of ours made this status, so that nobody knows whether the call arrived."""
    return not any(key == DETAILS_KEY for key, _ in fault.trailing_metadata() or ())


def error_of_rpc(fault: aio.AioRpcError | grpc.Call, target: str = "") -> ServerError:
    """Return the typed error of a failed call; a status without our details keeps code and message."""
    code, message = fault.code(), fault.details() or ""
    reason, metadata = "", {}
    violations: tuple[Violation, ...] = ()
    retry_delay_s: float | None = None
    for detail in _details(fault):
        name = detail.TypeName()
        if name == "google.rpc.ErrorInfo":
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            if info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
        elif name == "google.rpc.BadRequest":
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
        elif name == "google.rpc.RetryInfo":
            retry_delay_s = (
                error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToTimedelta().total_seconds()
            )
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        message = f"no server answers at {target or 'the target'} ({message}); start one with `holdfast server`"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
        message = f"no answer from {target or 'the target'} in time ({message})"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and not reason:
        # The transport itself refuses what is over the message limit, on either side.
        metadata = {"limit": "message_bytes", "value": str(MESSAGE_MAX_BYTES)}
    return _class_of(reason, code.name)(
        message,
        reason=reason,
        code=code.name,
        metadata=metadata,
        violations=violations,
        retry_delay_s=retry_delay_s,
    )


def error_of_item(item: ItemError) -> ServerError:
    """Return the typed error of one refused item of a batch."""
    reason = ErrorReason.Name(item.reason).removeprefix("ERROR_REASON_") if item.reason else ""
    code = _CODE_NAMES.get(item.code, "UNKNOWN")
    return _class_of(reason, code)(
        item.message,
        reason=reason,
        code=code,
        metadata=dict(item.metadata),
        violations=tuple(Violation(v.field, v.description) for v in item.violations),
    )


def _details(fault: aio.AioRpcError | grpc.Call) -> list[Any]:
    for key, value in fault.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []  # a proxy's, not ours: code and message still tell
    return []


def _class_of(reason: str, code: str) -> type[ServerError]:
    if not reason and code in _NO_ANSWER:
        return UnavailableError
    if not reason and code == grpc.StatusCode.RESOURCE_EXHAUSTED.name:
        return LimitExceededError
    return _classes().get(reason, ServerError)


@cache
def _classes() -> dict[str, type[ServerError]]:
    return {reason: class_ for class_ in ServerError.__subclasses__() for reason in class_.reasons}
