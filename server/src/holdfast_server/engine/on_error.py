"""What becomes of a step whose attempts are used up: the first rule of `on_error` that matches, else it fails.

A rule is used once per activation: when the fallback of one rule fails too, only the rules after it are looked at.
"""

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import StepAttemptFailed
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import failures, outcomes, rendering
from holdfast_server.engine.expressions import Template
from holdfast_server.engine.plan import ErrorRulePlan, StepPlan
from holdfast_server.engine.state import Scope, StepRecord
from holdfast_server.engine.steps import queueing, review
from holdfast_server.engine.turn import Turn

__all__ = ["give_up"]


def give_up(turn: Turn, scope: Scope, step: StepPlan, failure: Failure) -> None:
    """Applies `on_error` to a step that failed and will not be tried again by its retry policy."""
    record = scope.record(step.index)
    attempt = record.last_attempt
    found = None if scope.closing and not step.cleanup else _rule(step, record, failure)
    if found is None:
        outcomes.fail(turn, scope, step, failure, attempt=attempt)
        return
    position, rule = found
    if rule.action == "value" and rule.value is not None:
        _give_value(turn, scope, step, rule.value, failure, attempt)
        return
    if record.tried:
        _note(turn, scope, step, failure, attempt)
    if rule.action == "fallback":
        queueing.queue_fallback(turn, scope, step, position)
    else:
        review.open_review(turn, scope, step, position, failure)


def _rule(step: StepPlan, record: StepRecord, failure: Failure) -> tuple[int, ErrorRulePlan] | None:
    """The rule that applies, with its position from 1; None if the step fails."""
    for position, rule in enumerate(step.on_error, start=1):
        if position <= record.fallback_rule or not failures.matches(rule.match, failure.type):
            continue
        if rule.action == "fallback" and not record.tried:
            # What could not be rendered or started has no input to hand to another handler.
            continue
        return None if rule.action == "fail" else (position, rule)
    return None


def _give_value(turn: Turn, scope: Scope, step: StepPlan, value: Template, failure: Failure, attempt: int) -> None:
    """Ends the step with the rule's value, or by the failure that the value itself is."""
    output: Payload | None = None
    try:
        output = rendering.render(turn, scope, value, f"the `value` of `on_error` of step {step.name!r}")
        fault = outcomes.check_output(turn, step, output)
    except rendering.StepFault as error:
        fault = error.failure
    if fault is not None:
        fault.cause.CopyFrom(failure)
        outcomes.fail(turn, scope, step, fault, attempt=attempt)
        return
    _note(turn, scope, step, failure, attempt)
    outcomes.succeed(turn, scope, step, output, attempt=attempt, answered_by="value")


def _note(turn: Turn, scope: Scope, step: StepPlan, failure: Failure, attempt: int) -> None:
    """Keeps in the history what went wrong, where the event that follows does not say it."""
    body = StepAttemptFailed(path=scope.path(step), attempt=attempt, failure=failure)
    turn.emit("step_attempt_failed", body)
