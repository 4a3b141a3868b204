"""The four ways an activation ends. Each resolves the edges out of the step and marks what has to be looked at next."""

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import (
    CancelCause,
    SkipReason,
    StepCanceled,
    StepFailed,
    StepSkipped,
    StepSucceeded,
)
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import edges, failures, rendering, state as st
from holdfast_server.engine.json_values import JSON_DEPTH_MAX
from holdfast_server.engine.payloads import nests_too_deep
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope
from holdfast_server.engine.turn import Turn

__all__ = ["cancel", "check_output", "fail", "skip", "succeed"]


def check_output(turn: Turn, step: StepPlan, output: Payload | None) -> Failure | None:
    """The failure an output is, because it is too large or does not fit the step's schema; None if it is neither."""
    what = f"the output of step {step.name!r}"
    unfit = _check_size(turn, output, what) or _check_depth(output, what)
    if unfit is not None or step.output_schema is None:
        return unfit
    listed = rendering.misfit(turn, step.output_schema, output)
    if not listed:
        return None
    return failures.failure(failures.SCHEMA_VIOLATION, f"{what} does not fit its schema: {listed}", retryable=True)


def _check_size(turn: Turn, payload: Payload | None, what: str) -> Failure | None:
    limit = turn.settings.payload_bytes
    if payload is None or payload.HasField("ref") or len(payload.data) <= limit:
        return None
    message = f"{what} has {len(payload.data)} bytes; the limit payload_bytes is {limit}"
    return failures.failure(failures.PAYLOAD_TOO_LARGE, message)


def _check_depth(payload: Payload | None, what: str) -> Failure | None:
    if payload is None or not nests_too_deep(payload):
        return None
    message = f"{what} is nested deeper than {JSON_DEPTH_MAX} levels; the limit json_depth is {JSON_DEPTH_MAX}"
    return failures.failure(failures.LIMIT_EXCEEDED, message)


def succeed(
    turn: Turn, scope: Scope, step: StepPlan, output: Payload | None, *, attempt: int = 0, answered_by: str = ""
) -> None:
    """Ends an activation well. The output has been checked."""
    if output is not None:
        output = turn.bag.intern(output)
    outcomes = edges.resolve(turn, scope, step, st.SUCCEEDED, output, None)
    body = StepSucceeded(path=scope.path(step), attempt=attempt, output=output, edges=outcomes, answered_by=answered_by)
    turn.emit("step_succeeded", body)
    _look_at(turn, scope, step)


def fail(turn: Turn, scope: Scope, step: StepPlan, failure: Failure, *, attempt: int = 0) -> None:
    """Ends an activation by a failure; `on_error` has had its say."""
    outcomes = edges.resolve(turn, scope, step, st.FAILED, None, failure)
    handled = (
        step.cleanup
        or edges.takes_failure(scope, step, outcomes)
        or any(edges.can_still_be_met(scope, scope.block.steps[join]) for join in step.covering_joins)
    )
    body = StepFailed(path=scope.path(step), attempt=attempt, failure=failure, edges=outcomes, handled=handled)
    turn.emit("step_failed", body)
    _look_at(turn, scope, step)


def skip(turn: Turn, scope: Scope, step: StepPlan, reason: SkipReason.ValueType) -> None:
    """Ends an activation that never ran."""
    outcomes = edges.resolve(turn, scope, step, st.SKIPPED, None, None)
    body = StepSkipped(path=scope.path(step), reason=reason, edges=outcomes)
    if reason == SkipReason.SKIP_REASON_JOIN_NOT_MET and step.exclusive_sources:
        body.unhandled_paths.extend(_unhandled(scope, step))
    turn.emit("step_skipped", body)
    _look_at(turn, scope, step)


def _unhandled(scope: Scope, join: StepPlan) -> list[str]:
    """Failed steps whose failure was this join's business and is nobody's now that it cannot be met."""
    paths = []
    for index in sorted(join.exclusive_sources):
        source = scope.block.steps[index]
        record = scope.steps[index]
        if record is None or record.state != st.FAILED or source.cleanup:
            continue
        others = (other for other in source.covering_joins if other != join.index)
        if any(edges.can_still_be_met(scope, scope.block.steps[other]) for other in others):
            continue
        if not edges.failure_was_taken(scope, source):
            paths.append(scope.path(source))
    return paths


def cancel(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    cause: CancelCause.ValueType,
    *,
    attempt: int = 0,
    reported: bool = False,
) -> None:
    """Ends an activation that was asked to stop; `reported` if its worker says that it has."""
    outcomes = edges.resolve(turn, scope, step, st.CANCELED, None, None)
    body = StepCanceled(path=scope.path(step), attempt=attempt, cause=cause, edges=outcomes, reported=reported)
    turn.emit("step_canceled", body)
    _look_at(turn, scope, step)


def _look_at(turn: Turn, scope: Scope, step: StepPlan) -> None:
    for target, _position in step.out:
        if scope.state_of(target) == st.PENDING:
            turn.work.append((scope, target))
