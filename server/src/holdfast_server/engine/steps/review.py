"""Reviews: a failed step is shown to people, who let it try again, edit its input, give its output, or let it fail."""

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_history_pb2 import GateOpened, GateResolved
from holdfast.v1.gate_pb2 import GateContent, GateReason, Resolution, ResolutionRule
from holdfast.v1.history_pb2 import QueueCause
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import failures, outcomes, rendering
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope, StepRecord
from holdfast_server.engine.steps import gate as gates, queueing
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["carry_out", "decisions_of", "fire", "open_review", "start_again"]


def decisions_of(step: StepPlan) -> tuple[Decision.ValueType, ...]:
    """What can be said at a review; only a task has an input to edit."""
    edit = (Decision.DECISION_EDIT,) if step.kind == "task" else ()
    return (Decision.DECISION_RETRY, *edit, Decision.DECISION_SKIP, Decision.DECISION_FAIL)


def open_review(turn: Turn, scope: Scope, step: StepPlan, position: int, failure: Failure) -> None:
    """Opens the gate of the rule at `position` (from 1)."""
    rule = step.on_error[position - 1]
    record = scope.record(step.index)
    content = GateContent(title=f"Step {step.name} failed: {failure.type}")
    try:
        if rule.title is not None:
            content.title = rendering.render_text(turn, scope, rule.title, f"review title of step {step.name!r}")
        text = failure.message
        if rule.body is not None:
            text = rendering.render_text(turn, scope, rule.body, f"review body of step {step.name!r}")
        content.body.CopyFrom(gates.body_payload(turn, step, text))
    except rendering.StepFault as fault:
        fault.failure.cause.CopyFrom(failure)
        outcomes.fail(turn, scope, step, fault.failure, attempt=scope.record(step.index).last_attempt)
        return
    if record.input is not None:
        content.subject.CopyFrom(record.input)
    body = GateOpened(
        path=scope.path(step),
        reason=GateReason.GATE_REASON_ERROR_REVIEW,
        revision=record.revision + 1,
        content=content,
        content_hash=gates.content_hash(content),
        failure=failure,
        review_rule=position,
    )
    if rule.deadline_us is not None:
        body.deadline_time.CopyFrom(timestamp(turn.now_us + rule.deadline_us))
    turn.emit("gate_opened", body)


def carry_out(
    turn: Turn, scope: Scope, step: StepPlan, decision: Decision.ValueType, payload: Payload | None, actor_name: str
) -> None:
    """Does what a person decided. Payloads have been checked."""
    if decision == Decision.DECISION_SKIP:
        _resolved(turn, scope, step, Resolution.RESOLUTION_SKIPPED)
        attempt = scope.record(step.index).last_attempt
        outcomes.succeed(turn, scope, step, payload, attempt=attempt, answered_by=actor_name or "review")
    elif decision == Decision.DECISION_FAIL:
        _fail(turn, scope, step, ResolutionRule.RESOLUTION_RULE_DECISION)
    else:
        _resolved(turn, scope, step, Resolution.RESOLUTION_RETRIED)
        is_edit = decision == Decision.DECISION_EDIT
        edited = payload if is_edit else None
        if scope.record(step.index).tried:
            queueing.queue_reviewed(turn, scope, step, edited, is_edit=is_edit)
        elif is_edit:
            queueing.queue_first(turn, scope, step, edited)
        else:
            turn.restarts.append((scope, step.index))  # held back by a pause; `released` tells when it goes on


def start_again(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """What RETRY does, said by an operator. The gate is resolved."""
    if scope.record(step.index).tried:
        queueing.queue_reviewed(turn, scope, step, cause=QueueCause.QUEUE_CAUSE_OPERATOR)
    else:
        turn.restarts.append((scope, step.index))


def fire(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord) -> None:
    """The deadline of a review: the step fails with the failure under review."""
    gate = record.gate
    if gate is not None and not gate.resolution and gate.deadline_us and gate.deadline_us <= turn.now_us:
        _fail(turn, scope, step, ResolutionRule.RESOLUTION_RULE_DEADLINE)


def _fail(turn: Turn, scope: Scope, step: StepPlan, rule: ResolutionRule.ValueType) -> None:
    record = scope.record(step.index)
    failure = record.gate.failure if record.gate is not None else None
    _resolved(turn, scope, step, Resolution.RESOLUTION_FAILED, rule)
    if failure is None:
        failure = failures.failure(failures.GATE, f"nobody decided on the failure of step {step.name!r}")
    outcomes.fail(turn, scope, step, failure, attempt=scope.record(step.index).last_attempt)


def _resolved(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    resolution: Resolution.ValueType,
    rule: ResolutionRule.ValueType = ResolutionRule.RESOLUTION_RULE_DECISION,
) -> None:
    revision = scope.record(step.index).revision
    body = GateResolved(path=scope.path(step), revision=revision, resolution=resolution, rule=rule)
    turn.emit("gate_resolved", body)
