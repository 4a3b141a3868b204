"""Puts attempts of task steps into their queues: the one place that makes StepQueued."""

from holdfast.v1.history_pb2 import QueueCause, StepQueued
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine.plan import RetryPlan, StepPlan
from holdfast_server.engine.state import Scope, StepRecord
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["policy", "queue_fallback", "queue_first", "queue_now", "queue_retry", "queue_returned", "queue_reviewed"]


def policy(step: StepPlan, record: StepRecord) -> RetryPlan:
    """The retry policy in force: the step's, or its fallback's."""
    retry = step.on_error[record.fallback_rule - 1].retry if record.fallback_rule else step.retry
    if retry is None:
        message = f"step {step.name!r} has no retry policy"
        raise ValueError(message)
    return retry


def queue_first(turn: Turn, scope: Scope, step: StepPlan, payload: Payload | None) -> None:
    """The first attempt of an activation, or the first after a run was reopened.

    The input's revision is part of the idempotency key, so a reopened run that gives a step the same input keeps it.
    """
    record = scope.record(step.index)
    known = record.input_revision > 0 and payload == record.input
    body = StepQueued(
        path=scope.path(step),
        attempt=record.attempt + 1,
        handler=step.handler,
        queue=step.queue,
        input=None if known else payload,
        input_revision=record.input_revision + (not known),
        attempts_left=policy(step, record).max_attempts - 1,
    )
    _close_by(turn, step, body)
    _emit(turn, step, body)


def queue_retry(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """The next attempt by the retry policy."""
    record = scope.record(step.index)
    body = _again(scope, step, record)
    body.cause = QueueCause.QUEUE_CAUSE_RETRY
    body.attempts_left = record.attempts_left - 1
    _emit(turn, step, body)


def queue_now(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """An attempt an operator asked for, with the handler in force.

    It is the next one of the retry policy, and one more where the policy allows none.
    """
    record = scope.record(step.index)
    body = _again(scope, step, record)
    body.cause = QueueCause.QUEUE_CAUSE_OPERATOR
    body.attempts_left = max(record.attempts_left - 1, 0)
    _emit(turn, step, body)


def queue_fallback(turn: Turn, scope: Scope, step: StepPlan, position: int) -> None:
    """The first attempt of the fallback handler of the rule at `position` (from 1).

    `schedule_to_close` goes on, unless it has run out already: then the fallback would have no time at all.
    """
    record = scope.record(step.index)
    rule = step.on_error[position - 1]
    body = _again(scope, step, record)
    body.handler = rule.handler
    body.queue = rule.queue or step.queue
    body.cause = QueueCause.QUEUE_CAUSE_FALLBACK
    body.fallback_rule = position
    body.attempts_left = (rule.retry.max_attempts if rule.retry else 1) - 1
    if record.schedule_to_close_us and record.schedule_to_close_us <= turn.now_us:
        _close_by(turn, step, body)
    _emit(turn, step, body)


def queue_reviewed(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    edited: Payload | None = None,
    *,
    is_edit: bool = False,
    cause: QueueCause.ValueType = QueueCause.QUEUE_CAUSE_REVIEW,
) -> None:
    """An attempt a person asked for at a review, with the step's own handler and all its attempts."""
    record = scope.record(step.index)
    body = _again(scope, step, record)
    body.handler = step.handler
    body.queue = step.queue
    body.cause = cause
    body.fallback_rule = 0
    body.attempts_left = (step.retry.max_attempts if step.retry else 1) - 1
    if is_edit:
        body.input_revision = record.input_revision + 1
        if edited is not None:
            body.input.CopyFrom(edited)
    _close_by(turn, step, body)
    _emit(turn, step, body)


def queue_returned(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """The same attempt again, after it came back untouched."""
    record = scope.record(step.index)
    body = _again(scope, step, record)
    body.attempt = record.attempt
    body.cause = QueueCause.QUEUE_CAUSE_RETURNED
    _emit(turn, step, body)


def _again(scope: Scope, step: StepPlan, record: StepRecord) -> StepQueued:
    return StepQueued(
        path=scope.path(step),
        attempt=record.attempt + 1,
        handler=record.handler,
        queue=record.queue,
        input_revision=record.input_revision,
        fallback_rule=record.fallback_rule,
        attempts_left=record.attempts_left,
    )


def _close_by(turn: Turn, step: StepPlan, body: StepQueued) -> None:
    if step.schedule_to_close_us is not None:
        body.schedule_to_close_time.CopyFrom(timestamp(turn.now_us + step.schedule_to_close_us))


def _emit(turn: Turn, step: StepPlan, body: StepQueued) -> None:
    if step.schedule_to_start_us is not None:
        body.schedule_to_start_time.CopyFrom(timestamp(turn.now_us + step.schedule_to_start_us))
    turn.emit("step_queued", body)
