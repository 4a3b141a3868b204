"""Tasks: attempts handed to workers, their results, timeouts and retries."""

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import StepAttemptFailed, StepStarted
from holdfast_server.engine import failures, growth, on_error as rules, outcomes, rendering, state as st
from holdfast_server.engine.commands import CompleteTask, FailTask, ReturnTask, StartTask, StopTask
from holdfast_server.engine.effects import Timer
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, nesting
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import RunState, Scope, StepRecord
from holdfast_server.engine.steps import queueing
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["complete", "fail", "fire", "give_back", "settled", "start", "started", "stop"]


def start(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Queues the first attempt."""
    try:
        payload = rendering.render_input(turn, scope, step)
    except rendering.StepFault as fault:
        rules.give_up(turn, scope, step, fault.failure)
        return
    queueing.queue_first(turn, scope, step, payload)


def settled(run: RunState, path: str, attempt: int, lease: int) -> StepRecord | None:
    """The activation, if a result of that attempt and lease ended the attempt: its repetition is answered alike."""
    found = run.locate(path)
    if found is None:
        return None
    record = found[0].steps[found[1].index]
    return record if attempt > 0 and record is not None and record.settled == (attempt, lease) else None


def started(turn: Turn, command: StartTask) -> None:
    """Notes who works on an attempt."""
    scope, step, _record = held(turn.run, command.path, command.attempt)
    turn.emit(
        "step_started",
        StepStarted(path=scope.path(step), attempt=command.attempt, worker_id=command.worker_id, lease=command.lease),
    )


def complete(turn: Turn, command: CompleteTask) -> None:
    """Takes an output; one that does not fit is a failure of the attempt, and the worker is told."""
    scope, step, record = held(turn.run, command.path, command.attempt)
    failure = outcomes.check_output(turn, step, command.output)
    if failure is not None:
        turn.rejection = _rejection(turn, command, failure)
        attempt_failed(turn, scope, step, record, failure)
        return
    answered_by = record.handler if record.fallback_rule else ""
    outcomes.succeed(turn, scope, step, command.output, attempt=command.attempt, answered_by=answered_by)


def _rejection(turn: Turn, command: CompleteTask, failure: Failure) -> Refused:
    """What a worker is told of an output that does not fit."""
    facts = {"step_path": command.path}
    output = command.output
    reason = ErrorReason.ERROR_REASON_OUTPUT_SCHEMA
    if failure.type == failures.PAYLOAD_TOO_LARGE and output is not None:
        reason = ErrorReason.ERROR_REASON_PAYLOAD_TOO_LARGE
        most, actual = turn.settings.payload_bytes, len(output.data)
        facts |= {"limit": "payload_bytes", "value": str(most), "actual": str(actual), "field": "results.output"}
    elif failure.type == failures.LIMIT_EXCEEDED and output is not None:
        reason = ErrorReason.ERROR_REASON_LIMIT_EXCEEDED
        most, actual = JSON_DEPTH_MAX, nesting(output.data)
        facts |= {"limit": "json_depth", "value": str(most), "actual": str(actual), "field": "results.output"}
    return Refused(reason, failure.message, facts)


def fail(turn: Turn, command: FailTask) -> None:
    """Takes a failure, the worker's or one the server found."""
    scope, step, record = held(turn.run, command.path, command.attempt)
    failure = failures.of_user(command.failure) if command.reported else command.failure
    attempt_failed(turn, scope, step, record, failure)


def stop(turn: Turn, command: StopTask) -> None:
    """A worker stopped: as asked, or by itself, which is a failure."""
    scope, step, record = held(turn.run, command.path, command.attempt)
    if record.fence_us:
        outcomes.cancel(turn, scope, step, record.cancel_cause, attempt=record.attempt, reported=True)
        return
    failure = failures.failure(
        failures.CANCELED, "the handler stopped as if cancelled, but nobody asked it to", retryable=True
    )
    attempt_failed(turn, scope, step, record, failure)


def give_back(turn: Turn, command: ReturnTask) -> None:
    """Puts an attempt back into its queue without using it up."""
    scope, step, record = held(turn.run, command.path, command.attempt)
    if record.fence_us:
        cause = record.cancel_cause
        outcomes.cancel(turn, scope, step, cause, attempt=record.attempt, reported=command.reported)
    elif record.state == st.RUNNING:
        queueing.queue_returned(turn, scope, step)


def held(run: RunState, path: str, attempt: int) -> tuple[Scope, StepPlan, StepRecord]:
    """The activation of an attempt that is not settled.

    Raises:
        Refused: TOKEN_STALE if the attempt is settled or superseded, RUN_CLOSED if the run is.
    """
    if not run.open:
        message = f"run {run.run_id!r} is closed; results are no longer taken"
        raise Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, {"run_id": run.run_id}, (("token", message),))
    found = run.locate(path)
    record = found[0].steps[found[1].index] if found is not None else None
    if found is None or record is None or record.attempt != attempt or record.state not in st.HELD:
        message = f"attempt {attempt} of step {path!r} is no longer open"
        raise Refused(ErrorReason.ERROR_REASON_TOKEN_STALE, message, {"run_id": run.run_id, "step_path": path})
    return found[0], found[1], record


def attempt_failed(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord, failure: Failure) -> None:
    """Retries if the policy allows, else gives up. A cancelled attempt is not retried, but what it said is kept."""
    if record.fence_us:
        body = StepAttemptFailed(path=scope.path(step), attempt=record.attempt, failure=failure)
        turn.emit("step_attempt_failed", body)
        outcomes.cancel(turn, scope, step, record.cancel_cause, attempt=record.attempt)
        return
    delay_us = _retry_delay_us(turn, step, record, failure)
    due_us = turn.now_us + (delay_us or 0)
    too_late = bool(record.schedule_to_close_us) and due_us >= record.schedule_to_close_us
    if delay_us is None or too_late:
        rules.give_up(turn, scope, step, failure)
        return
    full = growth.no_more_attempts(turn.run, turn.settings, failure)
    if full is not None:
        rules.give_up(turn, scope, step, full)
        return
    turn.emit(
        "step_attempt_failed",
        StepAttemptFailed(path=scope.path(step), attempt=record.attempt, failure=failure, retry_time=timestamp(due_us)),
    )


def _retry_delay_us(turn: Turn, step: StepPlan, record: StepRecord, failure: Failure) -> int | None:
    """Wait before the next attempt in microseconds; None if there is none."""
    retry = queueing.policy(step, record)
    final = failure.HasField("retryable") and not failure.retryable
    if final or record.attempts_left <= 0 or failures.matches(retry.non_retryable, failure.type):
        return None
    demanded = failures.retry_after_us(failure)
    if demanded is not None:
        return demanded
    made = retry.max_attempts - record.attempts_left
    try:
        delay = min(retry.initial_us * retry.backoff ** (made - 1), retry.max_interval_us)
    except OverflowError:
        delay = retry.max_interval_us
    # Jitter only shortens: `max_interval` is the longest wait, and `jitter` the share of it that is random.
    return int(delay * (1 - retry.jitter * turn.entropy()))


def fire(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord, timer: Timer) -> None:
    """A timer of a task whose time has come."""
    now_us = turn.now_us
    if timer is Timer.RETRY and record.state == st.BACKING_OFF and record.due_us <= now_us:
        queueing.queue_retry(turn, scope, step)
    elif timer is Timer.FENCE and record.fence_us and record.fence_us <= now_us:
        outcomes.cancel(turn, scope, step, record.cancel_cause, attempt=record.attempt)
    elif (
        timer is Timer.SCHEDULE_TO_START
        and record.state == st.QUEUED
        and record.schedule_to_start_us
        and record.schedule_to_start_us <= now_us
    ):
        message = f"no worker took step {step.name!r} from queue {record.queue!r} in time"
        rules.give_up(turn, scope, step, failures.failure(failures.SCHEDULE_TO_START, message))
    elif (
        timer is Timer.SCHEDULE_TO_CLOSE
        and record.state in (st.QUEUED, st.RUNNING, st.BACKING_OFF)
        and record.schedule_to_close_us
        and record.schedule_to_close_us <= now_us
        and not record.fence_us  # a cancel is under way, and ends it soon
    ):
        cause = record.failure if record.state == st.BACKING_OFF else None
        message = f"step {step.name!r} took longer than its schedule_to_close with all its attempts"
        rules.give_up(turn, scope, step, failures.failure(failures.SCHEDULE_TO_CLOSE, message, cause=cause))
