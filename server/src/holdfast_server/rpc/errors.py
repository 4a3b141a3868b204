"""The one table from refusals to gRPC statuses, and how they are put on the wire."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from holdfast.v1.errors_pb2 import ErrorReason, FieldViolation, ItemError
from holdfast_server.engine.refusal import Refused
from holdfast_server.journal.group_commit import JournalFullError
from holdfast_server.rpc.guard import Malformed, TooLarge
from holdfast_server.store.port import StoreCorruptError, StoreError

__all__ = ["CODES", "abort", "as_refusal", "check_read", "item_error", "mapped", "streamed"]

log = structlog.get_logger("holdfast.rpc")

Context = aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Answer = TypeVar("Answer")

DOMAIN = "holdfast"
PREFIX = len("ERROR_REASON_")
MESSAGE_BYTES = 1_200
VIOLATIONS_BYTES = 3_000
METADATA_BYTES = 200
"""Statuses travel in headers, and clients refuse headers above 8 KiB: what is longer is cut, and says so."""

R = ErrorReason
CODES: dict[int, grpc.StatusCode] = {
    R.ERROR_REASON_WORKFLOW_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    R.ERROR_REASON_INVALID_DEFINITION: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_RUN_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    R.ERROR_REASON_RUN_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    R.ERROR_REASON_RUN_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_KEY_IN_USE: grpc.StatusCode.ALREADY_EXISTS,
    R.ERROR_REASON_REQUEST_ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_INPUT_SCHEMA: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_SIGNAL_UNDECLARED: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_SIGNAL_SCHEMA: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_QUERY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    R.ERROR_REASON_QUERY_FAILED: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_GATE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    R.ERROR_REASON_GATE_RESOLVED: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_GATE_REVISION: grpc.StatusCode.ABORTED,
    R.ERROR_REASON_GATE_HASH: grpc.StatusCode.ABORTED,
    R.ERROR_REASON_DECISION_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_DECISION_SCHEMA: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_NOT_AN_APPROVER: grpc.StatusCode.PERMISSION_DENIED,
    R.ERROR_REASON_DECIDED_ALREADY: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_TOKEN_STALE: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_ILLEGAL_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    R.ERROR_REASON_PAYLOAD_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_NAMESPACE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    R.ERROR_REASON_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    R.ERROR_REASON_NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
    R.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    R.ERROR_REASON_DRAINING: grpc.StatusCode.UNAVAILABLE,
    R.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    R.ERROR_REASON_INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_RUN_QUARANTINED: grpc.StatusCode.FAILED_PRECONDITION,
    R.ERROR_REASON_OUTPUT_SCHEMA: grpc.StatusCode.INVALID_ARGUMENT,
    R.ERROR_REASON_STEP_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
}
"""Status of each reason; a test checks that none is missing and that the contract says the same."""


FIELDS: dict[int, str] = {
    R.ERROR_REASON_WORKFLOW_NOT_FOUND: "workflow",
    R.ERROR_REASON_RUN_NOT_FOUND: "run_id",
    R.ERROR_REASON_RUN_CLOSED: "run_id",
    R.ERROR_REASON_GATE_NOT_FOUND: "step_path",
    R.ERROR_REASON_GATE_RESOLVED: "step_path",
    R.ERROR_REASON_STEP_NOT_FOUND: "step_path",
    R.ERROR_REASON_TOKEN_STALE: "token",
}
"""Field of the request that names what is not there, or is not in the state it would have to be in."""


def as_refusal(error: Exception) -> Refused | None:
    """What a caller is told of an error; None if it is not meant for callers."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, JournalFullError):
        facts = {"limit": "uncommitted_transitions", "value": str(error.limit)}
        return Refused(R.ERROR_REASON_STORE_UNAVAILABLE, f"{error}; try again", facts)
    if isinstance(error, StoreCorruptError):
        # Coming again does not help, so it is not UNAVAILABLE.
        return Refused(R.ERROR_REASON_INTERNAL, f"the database is damaged: {error}; `holdfast admin verify` tells more")
    if isinstance(error, StoreError):
        return Refused(R.ERROR_REASON_STORE_UNAVAILABLE, f"the database is not available: {error}")
    return None


def item_error(refused: Refused) -> ItemError:
    """A refusal as the result of one item of a batch."""
    return ItemError(
        code=CODES[refused.reason].value[0],
        reason=refused.reason,
        message=refused.message,
        metadata=refused.metadata,
        violations=[FieldViolation(field=field, description=text) for field, text in _faulty_fields(refused)],
    )


def status_of(refused: Refused) -> status_pb2.Status:
    """A refusal as `google.rpc.Status`, small enough for headers."""
    details = [any_pb2.Any()]
    facts = {name: _cut(value, METADATA_BYTES) for name, value in refused.metadata.items()}
    details[0].Pack(
        error_details_pb2.ErrorInfo(reason=ErrorReason.Name(refused.reason)[PREFIX:], domain=DOMAIN, metadata=facts)
    )
    fields = _faulty_fields(refused)
    if fields:
        details.append(any_pb2.Any())
        details[1].Pack(error_details_pb2.BadRequest(field_violations=_violations(fields)))
    return status_pb2.Status(
        code=CODES[refused.reason].value[0], message=_cut(refused.message, MESSAGE_BYTES), details=details
    )


def _faulty_fields(refused: Refused) -> tuple[tuple[str, str], ...]:
    field = FIELDS.get(refused.reason)
    return refused.violations or (((field, refused.message),) if field else ())


def _violations(fields: tuple[tuple[str, str], ...]) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    left = VIOLATIONS_BYTES
    for position, (field, text) in enumerate(fields):
        made = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(field, METADATA_BYTES), description=_cut(text, MESSAGE_BYTES)
        )
        left -= made.ByteSize()
        if left < 0:
            more = f"and {len(fields) - position} more"
            yield error_details_pb2.BadRequest.FieldViolation(description=more)
            return
        yield made


def _cut(text: str, limit: int) -> str:
    """A text that takes at most so many bytes in a header, where what is not plain ASCII takes three for one."""
    if len(text.encode()) * 3 <= limit:
        return text
    size = 0
    for position, letter in enumerate(text):
        size += 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode())
        if size > limit:
            return f"{text[: position - 1]}…"
    return text


async def abort(context: Context, refused: Refused) -> NoReturn:
    """Ends a call with a refusal."""
    status = status_of(refused)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(CODES[refused.reason], status.message, trailers)


def _told(error: Exception, method: str) -> Refused:
    """What a caller is told of any error; a fault of the server goes to its log and is a clean INTERNAL."""
    refused = as_refusal(error)
    if refused is None:
        log.error("a call failed by a fault of the server", method=method, exc_info=error)
        message = f"a fault of the server: {type(error).__name__}; see its log"
        refused = Refused(R.ERROR_REASON_INTERNAL, message)
    # The transport keeps what a call is aborted with, whose traceback leads back to the transport. So it must not lead
    # on to the frames of this call, which hold requests and decoded values: only the collector of cycles would free
    # them, and that runs seldom. See `Refused.kept`.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return refused


def check_read(request: object) -> None:
    """Refuses what stands in place of a request that could not be taken in.

    Raises:
        Refused: LIMIT_EXCEEDED or INVALID_REQUEST.
    """
    if isinstance(request, Malformed):
        message = f"the bytes are not the request of this method: {request.message}"
        raise Refused(R.ERROR_REASON_INVALID_REQUEST, message)
    if isinstance(request, TooLarge):
        size, limit = request.size_bytes, request.limit_bytes
        message = f"the request has {size} bytes; the limit message_bytes is {limit}"
        facts = {"limit": "message_bytes", "value": str(limit), "actual": str(size)}
        raise Refused(R.ERROR_REASON_LIMIT_EXCEEDED, message, facts)


def mapped(
    method: Callable[[Any, Request, Context], Awaitable[Answer]],
) -> Callable[[Any, Request, Context], Awaitable[Answer]]:
    """Wraps a method with one answer so that refusals become statuses."""

    @wraps(method)
    async def call(self: Any, request: Request, context: Context) -> Answer:
        try:
            check_read(request)
            return await method(self, request, context)
        except aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - faults go to the log, and the caller gets a clean status
            refused = _told(error, method.__qualname__)
        del request  # see `_told`
        return await abort(context, refused)

    return call


def streamed(
    method: Callable[[Any, Request, Context], AsyncGenerator[Answer, None]],
) -> Callable[[Any, Request, Context], AsyncIterator[Answer]]:
    """Wraps a method with a stream of answers so that refusals become statuses; it takes one of its service's seats."""

    @wraps(method)
    async def call(self: Any, request: Request, context: Context) -> AsyncIterator[Answer]:
        try:
            check_read(request)
            with self.seats.one():
                async with aclosing(method(self, request, context)) as answers:
                    async for answer in answers:
                        yield answer
        except aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - faults go to the log, and the caller gets a clean status
            refused = _told(error, method.__qualname__)
        else:
            return
        del request  # see `_told`
        await abort(context, refused)

    return call
