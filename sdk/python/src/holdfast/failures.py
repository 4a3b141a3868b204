"""Exceptions of handlers as failures: what a handler may raise to say more, and how the server is told."""

import traceback
from datetime import timedelta

from holdfast.converter import Converter
from holdfast.errors import ConverterError
from holdfast.v1 import failure_pb2

__all__ = ["Failure", "NonRetryable", "failure_of"]

CAUSES_MAX = 8
MESSAGE_MAX_BYTES = 16 * 1024
STACK_MAX_BYTES = 16 * 1024
TYPE_MAX_CHARS = 128


class Failure(Exception):
    """A failure with more to say than an exception's name: type, details, when to try again.

    Raise it, or a subclass whose name becomes the type. Any other exception is a retryable failure whose type is the
    exception's name.

    Attributes:
        message: One sentence for people.
        type: What retry policies and `on_error` match, for example `RateLimited`.
        details: Anything machine-readable that belongs to it; None for nothing.
        retryable: False ends the attempts at once.
        retry_after: How long to wait before the next attempt in place of the backoff; None lets the backoff decide.
    """

    retryable_by_default = True

    def __init__(
        self,
        message: str = "",
        *,
        type: str | None = None,
        details: object = None,
        retryable: bool | None = None,
        retry_after: timedelta | float | None = None,
    ) -> None:
        """Build a failure; a plain number for `retry_after` is in seconds."""
        super().__init__(message)
        self.message = message
        self.type = type or self.__class__.__name__
        self.details = details
        self.retryable = self.retryable_by_default if retryable is None else retryable
        if isinstance(retry_after, (int, float)):
            retry_after = timedelta(seconds=retry_after)
        self.retry_after = retry_after


class NonRetryable(Failure):
    """A failure that another attempt would only repeat."""

    retryable_by_default = False


def failure_of(fault: BaseException, converter: Converter) -> failure_pb2.Failure:
    """Return an exception as the contract's failure, with its causes and the end of its stack trace."""
    failure = _one(fault, converter)
    failure.stack_trace = _tail("".join(traceback.format_exception(fault, chain=False)), STACK_MAX_BYTES)
    current, told = failure, {id(fault)}
    for _ in range(CAUSES_MAX - 1):
        following = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
        if following is None or id(following) in told:
            break
        told.add(id(following))
        fault = following
        current.cause.CopyFrom(_one(fault, converter))
        current = current.cause
    return failure


def _one(fault: BaseException, converter: Converter) -> failure_pb2.Failure:
    if not isinstance(fault, Failure):
        return failure_pb2.Failure(type=_type_name(type(fault).__name__), message=_head(_text(fault)))
    failure = failure_pb2.Failure(type=_type_name(fault.type), message=_head(fault.message), retryable=fault.retryable)
    if fault.retry_after is not None:
        failure.retry_after.FromTimedelta(max(fault.retry_after, timedelta()))
    if fault.details is not None:
        try:
            failure.details.CopyFrom(converter.encode(fault.details))
        except ConverterError as unreadable:
            # The failure itself must arrive, whatever its details are.
            failure.details.CopyFrom(converter.encode({"details_lost": str(unreadable)}))
    return failure


def _text(fault: BaseException) -> str:
    try:
        return str(fault)
    except Exception as second:  # noqa: BLE001 - a broken __str__ must not hide the failure
        return f"(its text could not be made: {type(second).__name__})"


def _type_name(name: str) -> str:
    return name[:TYPE_MAX_CHARS]


def _head(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= MESSAGE_MAX_BYTES:
        return data.decode()
    note = f" … ({len(data)} bytes in all)"
    return data[: MESSAGE_MAX_BYTES - len(note.encode())].decode(errors="ignore") + note


def _tail(text: str, bytes_max: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= bytes_max:
        return data.decode()
    note = f"({len(data)} bytes in all) … "
    return note + data[len(note.encode()) - bytes_max :].decode(errors="ignore")
