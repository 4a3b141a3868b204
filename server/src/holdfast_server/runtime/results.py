"""What the result of a worker asks of the engine, once its limits are checked."""

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import TaskResult
from holdfast_server.engine import failures
from holdfast_server.engine.commands import Command, CompleteTask, FailTask, ReturnTask, StopTask
from holdfast_server.engine.durations import LONGEST_US
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import duration_us

__all__ = ["RESULT_LIMITS", "command_of"]

RESULT_LIMITS = {
    "failure_type_chars": 128,
    "failure_message_bytes": 16 * 1024,
    "failure_stack_bytes": 16 * 1024,
    "failure_causes": 8,
}


def command_of(result: TaskResult, path: str, attempt: int, payload_bytes: int) -> Command:
    """The command for a result.

    Args:
        result: what the worker sent.
        path: the activation its token stands for.
        attempt: the attempt its token stands for.
        payload_bytes: size of the largest payload.

    Raises:
        Refused: INVALID_REQUEST or LIMIT_EXCEEDED; the attempt goes on.
    """
    outcome = result.WhichOneof("outcome")
    if outcome == "output":
        _check_data("output", result.output)
        return CompleteTask(path, attempt, result.output)
    if outcome == "canceled":
        return StopTask(path, attempt)
    if outcome == "returned":
        return ReturnTask(path, attempt, reported=True)
    if outcome == "failure":
        _check_failure(result.failure)
        size = result.failure.ByteSize()
        if size > payload_bytes:
            kind = result.failure.type
            message = (
                f"the failure {kind!r} with its details has {size} bytes; the limit payload_bytes is {payload_bytes}"
            )
            return FailTask(path, attempt, failures.failure(failures.PAYLOAD_TOO_LARGE, message), reported=False)
        return FailTask(path, attempt, result.failure, reported=True)
    raise _invalid("outcome", "is missing: a result is an output, a failure, canceled or returned")


def _check_failure(failure: Failure) -> None:
    field = "failure"
    causes = RESULT_LIMITS["failure_causes"]
    for _ in range(causes):
        _check_size(f"{field}.type", "failure_type_chars", len(failure.type))
        _check_size(f"{field}.message", "failure_message_bytes", len(failure.message.encode()))
        _check_size(f"{field}.stack_trace", "failure_stack_bytes", len(failure.stack_trace.encode()))
        if failure.HasField("details"):
            _check_data(f"{field}.details", failure.details)
        if failure.HasField("retry_after") and not 0 <= duration_us(failure.retry_after) <= LONGEST_US:
            raise _invalid(f"{field}.retry_after", "is negative or longer than 36500d")
        if not failure.HasField("cause"):
            return
        failure, field = failure.cause, f"{field}.cause"
    _check_size(field, "failure_causes", causes + 1)


def _check_data(field: str, payload: Payload) -> None:
    if payload.HasField("ref"):
        raise _invalid(field, "carries a reference; results carry the data")


def _invalid(field: str, message: str) -> Refused:
    field = f"results.{field}"
    reason = ErrorReason.ERROR_REASON_INVALID_REQUEST
    return Refused(reason, f"{field} {message}", {"field": field}, ((field, message),))


def _check_size(field: str, name: str, actual: int) -> None:
    limit = RESULT_LIMITS[name]
    if actual > limit:
        field = f"results.{field}"
        message = f"has {actual}; the limit {name} is {limit}"
        facts = {"limit": name, "value": str(limit), "actual": str(actual), "field": field}
        raise Refused(ErrorReason.ERROR_REASON_LIMIT_EXCEEDED, f"{field} {message}", facts, ((field, message),))
