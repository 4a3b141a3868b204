"""What becomes of a step whose attempts are used up: the first rule of `on_error` that matches, else it fails.

A rule is used once per activation: when the fallback of one rule fails too, only the rules after it are looked at.
"""

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import StepAttemptFailed
from holdfast_server.engine import failures, outcomes, rendering
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope
from holdfast_server.engine.steps import queueing, review
from holdfast_server.engine.turn import Turn

__all__ = ["give_up"]


def give_up(turn: Turn, scope: Scope, step: StepPlan, failure: Failure) -> None:
    """Applies `on_error` to a step that failed and will not be tried again by its retry policy."""
    record = scope.record(step.index)
    if not scope.closing or step.cleanup:
        for position, rule in enumerate(step.on_error, start=1):
            if position <= record.fallback_rule or not failures.matches(rule.match, failure.type):
                continue
            if rule.action == "fail":
                break
            if rule.action == "fallback" and not record.attempt:
                # What could not be rendered or started has no input to hand to another handler.
                continue
            if rule.action == "value" and rule.value is not None:
                try:
                    output = rendering.render(turn, scope, rule.value, f"on_error of step {step.name!r}")
                except rendering.StepFault as fault:
                    failure = fault.failure
                    break
                outcomes.succeed(turn, scope, step, output, attempt=record.attempt, answered_by="value")
                return
            if record.attempt:
                turn.emit(
                    "step_attempt_failed",
                    StepAttemptFailed(path=scope.path(step), attempt=record.attempt, failure=failure),
                )
            if rule.action == "fallback":
                queueing.queue_fallback(turn, scope, step, position)
            else:
                review.open_review(turn, scope, step, position, failure)
            return
    outcomes.fail(turn, scope, step, failure, attempt=record.attempt)
