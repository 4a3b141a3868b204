"""What an operator does to a step that is not finished: try again now, give its output, let it fail.

The step is taken out of the hands of whoever has it (a worker, a gate, a wait, a timer), then goes the ordinary way.
"""

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_history_pb2 import GateResolved
from holdfast.v1.gate_pb2 import Resolution, ResolutionRule
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import StepState
from holdfast.v1.step_action_pb2 import StepActionKind, StepActionTaken
from holdfast_server.engine import commands as c, failures, outcomes, state as st
from holdfast_server.engine.fitting import check_schema
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, nesting
from holdfast_server.engine.payloads import OpaquePayloadError, nests_too_deep, payload_size
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.refusal import Refused, limit_exceeded
from holdfast_server.engine.state import RunState, Scope, StepRecord
from holdfast_server.engine.steps import gate, queueing, review
from holdfast_server.engine.turn import Turn

__all__ = ["act"]

RESOLUTIONS = {
    StepActionKind.STEP_ACTION_KIND_RETRY: Resolution.RESOLUTION_RETRIED,
    StepActionKind.STEP_ACTION_KIND_SKIP: Resolution.RESOLUTION_SKIPPED,
    StepActionKind.STEP_ACTION_KIND_FAIL: Resolution.RESOLUTION_FAILED,
}
"""How an open gate of the step ends. Never by what only those may say who decide at it."""

NOTHING_TO_RETRY = {
    st.PENDING: "has not started; it starts by itself when what it comes after is done",
    st.QUEUED: "waits for a worker already",
    st.WAITING: "waits, and has no attempt to begin again; skip it with an output, or let it fail",
}
OUTPUT_FIELD = "skip.output"
TYPE_FIELD = "fail.type"


def act(turn: Turn, command: c.RetryStep | c.SkipStep | c.FailStep) -> None:
    """Carries out an action.

    Raises:
        Refused: RUN_CLOSED, STEP_NOT_FOUND, ILLEGAL_STATE if the step is finished or has nothing to try again,
            OUTPUT_SCHEMA, PAYLOAD_TOO_LARGE or LIMIT_EXCEEDED for an output, INVALID_REQUEST for a type of failure
            that is reserved.
    """
    scope, step = _open_step(turn.run, command.path)
    match command:
        case c.RetryStep():
            _retry(turn, scope, step, command)
        case c.SkipStep():
            _skip(turn, scope, step, command)
        case c.FailStep():
            _fail(turn, scope, step, command)


def _open_step(run: RunState, path: str) -> tuple[Scope, StepPlan]:
    if not run.open:
        message = f"run {run.run_id!r} is closed, and its steps with it"
        raise Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, {"run_id": run.run_id})
    found = run.locate(path)
    if found is None:
        message = f"run {run.run_id!r} has no step {path!r}"
        raise Refused(ErrorReason.ERROR_REASON_STEP_NOT_FOUND, message, {"run_id": run.run_id, "step_path": path})
    scope, step = found
    if scope.state_of(step.index) in st.FINAL:
        raise _illegal(run, scope, step, "is finished")
    return scope, step


def _illegal(run: RunState, scope: Scope, step: StepPlan, why: str) -> Refused:
    path = scope.path(step)
    state = StepState.Name(scope.state_of(step.index)).removeprefix("STEP_STATE_")
    message = f"step {path!r} is {state}: it {why}"
    facts = {"run_id": run.run_id, "step_path": path, "state": state}
    return Refused(ErrorReason.ERROR_REASON_ILLEGAL_STATE, message, facts, (("step_path", message),))


def _retry(turn: Turn, scope: Scope, step: StepPlan, command: c.RetryStep) -> None:
    record = scope.steps[step.index]
    state = scope.state_of(step.index)
    why = NOTHING_TO_RETRY.get(state)
    if why is None and record is not None and record.fence_us:
        why = "was asked to stop, and is not tried again"
    elif why is None and record is not None and record.released:
        why = "starts again by itself when the run goes on"
    if why is not None:
        raise _illegal(turn.run, scope, step, why)
    _take(turn, scope, step, StepActionKind.STEP_ACTION_KIND_RETRY, command.note)
    if state == st.IN_REVIEW:
        review.start_again(turn, scope, step)
    else:
        queueing.queue_now(turn, scope, step)


def _skip(turn: Turn, scope: Scope, step: StepPlan, command: c.SkipStep) -> None:
    output = _checked_output(turn, scope, step, command)
    answered_by = (turn.actor.name if turn.actor is not None else "") or "operator"
    record = _take(turn, scope, step, StepActionKind.STEP_ACTION_KIND_SKIP, command.note)
    outcomes.succeed(turn, scope, step, output, attempt=record.last_attempt, answered_by=answered_by)


def _checked_output(turn: Turn, scope: Scope, step: StepPlan, command: c.SkipStep) -> Payload | None:
    output = command.output
    if step.output_schema is not None:
        facts = {"step_path": command.path}
        reason = ErrorReason.ERROR_REASON_OUTPUT_SCHEMA
        check_schema(step.output_schema, output, turn.bag, reason, OUTPUT_FIELD, facts)
    if step.kind == "gate":
        # A gate keeps the form of its output, so that what an operator gives is never taken for a decision.
        try:
            output = gate.skipped_output(turn, scope, step, output, command.note)
        except OpaquePayloadError as error:
            reason = ErrorReason.ERROR_REASON_OUTPUT_SCHEMA
            violations = ((OUTPUT_FIELD, str(error)),)
            raise Refused(reason, f"{OUTPUT_FIELD}: {error}", {"step_path": command.path}, violations) from error
    if output is not None and nests_too_deep(output):
        raise limit_exceeded(OUTPUT_FIELD, "json_depth", JSON_DEPTH_MAX, nesting(output.data), OUTPUT_FIELD)
    limit = turn.settings.payload_bytes
    if output is not None and payload_size(output) > limit:
        size = payload_size(output)
        text = f"the output of step {command.path!r} has {size} bytes; the limit payload_bytes is {limit}"
        facts = {"limit": "payload_bytes", "value": str(limit), "actual": str(size), "field": OUTPUT_FIELD}
        raise Refused(ErrorReason.ERROR_REASON_PAYLOAD_TOO_LARGE, text, facts, ((OUTPUT_FIELD, text),))
    return output


def _fail(turn: Turn, scope: Scope, step: StepPlan, command: c.FailStep) -> None:
    kind = command.type or failures.FAILED_BY_OPERATOR
    if kind != failures.FAILED_BY_OPERATOR and failures.is_reserved(kind):
        text = f"{kind!r} is a type of the server's own; name another, or none"
        reason = ErrorReason.ERROR_REASON_INVALID_REQUEST
        raise Refused(reason, f"{TYPE_FIELD}: {text}", {"field": TYPE_FIELD}, ((TYPE_FIELD, text),))
    record = scope.steps[step.index]
    failed_before = record is not None and record.state in (st.BACKING_OFF, st.IN_REVIEW)
    cause = record.failure if record is not None and failed_before else None
    text = command.message or f"an operator let step {step.name!r} fail"
    failure = failures.failure(kind, text, retryable=False, cause=cause)
    taken = _take(turn, scope, step, StepActionKind.STEP_ACTION_KIND_FAIL, command.note)
    outcomes.fail(turn, scope, step, failure, attempt=taken.last_attempt)


def _take(turn: Turn, scope: Scope, step: StepPlan, action: StepActionKind.ValueType, note: str) -> StepRecord:
    """Takes the step from whoever has it; its gate, if one is open, ends."""
    path = scope.path(step)
    held = scope.steps[step.index]
    attempt = held.attempt if held is not None and held.state in st.HELD else 0
    turn.emit("step_action_taken", StepActionTaken(path=path, action=action, attempt=attempt, note=note))
    record = scope.record(step.index)
    if record.gate is not None and not record.gate.resolution:
        rule = ResolutionRule.RESOLUTION_RULE_OPERATOR
        body = GateResolved(path=path, revision=record.revision, resolution=RESOLUTIONS[action], rule=rule)
        turn.emit("gate_resolved", body)
    return record
