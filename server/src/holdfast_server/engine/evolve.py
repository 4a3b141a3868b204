"""Folds events into state. Nothing is evaluated here: what was decided is in the events.

One function per event; the table at the end is the whole dispatch. `fold` over a history gives the state of its run.
"""

from collections.abc import Callable, Iterable
from sys import intern  # names that many steps share are kept once
from typing import Any

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_history_pb2 import GateDecisionRecorded, GateOpened, GateResolved, GateRevised, ReviseCause
from holdfast.v1.gate_pb2 import GateDecision
from holdfast.v1.history_pb2 import (
    HistoryEvent,
    RunCanceled,
    RunCancelRequested,
    RunFailed,
    RunPaused,
    RunReopened,
    RunResumed,
    RunStarted,
    RunSucceeded,
    RunTerminated,
    RunTimedOut,
    SignalReceived,
    StepAttemptFailed,
    StepCanceled,
    StepCancelRequested,
    StepFailed,
    StepQueued,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    TimerFired,
    TimerKind,
    TimerStarted,
    WaitMatched,
    WaitOpened,
)
from holdfast.v1.run_pb2 import RunState as RunStateEnum, StepState
from holdfast.v1.step_action_pb2 import StepActionTaken
from holdfast_server.engine import failures, large, state as st
from holdfast_server.engine.kept import kept, packed
from holdfast_server.engine.plan import Plan, StepPlan
from holdfast_server.engine.state import (
    BufferedSignal,
    GateRecord,
    RunState,
    Scope,
    StepRecord,
    new_scope,
)
from holdfast_server.engine.times import timestamp_us

__all__ = ["apply", "evolve", "fold", "start_state"]

STOPPED = Failure(type=failures.CANCELED)
"""What ends an attempt whose worker stopped as it was asked to."""


def start_state(plan: Plan, event: HistoryEvent) -> RunState:
    """The state after the first event of a history, which must be RunStarted."""
    body = event.run_started
    run = RunState(plan, intern(body.namespace), body.run_id, body.key)
    run.scopes[""] = new_scope("", plan.block)
    apply(run, event, "run_started", body, event.seq, timestamp_us(event.time))
    return run


def evolve(run: RunState, event: HistoryEvent) -> None:
    """Applies one event that is next in order.

    Raises:
        ValueError: it is not the next one.
    """
    if event.seq != run.seq + 1:
        message = f"event {event.seq} of run {run.run_id} does not follow event {run.seq}"
        raise ValueError(message)
    name = event.WhichOneof("body")
    if name is None:
        message = f"event {event.seq} of run {run.run_id} has no body this version knows"
        raise ValueError(message)
    apply(run, event, name, getattr(event, name), event.seq, timestamp_us(event.time))


def fold(plan: Plan, events: Iterable[HistoryEvent]) -> RunState:
    """The state of a run from its whole history."""
    source = iter(events)
    run = start_state(plan, next(source))
    for event in source:
        evolve(run, event)
    return run


def apply(run: RunState, event: HistoryEvent, name: str, body: Any, seq: int, time_us: int) -> None:
    """Applies the named body of an event whose place in the order is known to be right."""
    run.seq = seq
    run.time_us = time_us
    run.history_bytes += event.ByteSize()
    if event.HasField("request"):
        run.remember(event.request, seq)
    HANDLERS[name](run, event, body)


def _started(run: RunState, event: HistoryEvent, body: RunStarted) -> None:
    if body.HasField("input"):
        run.packed_input = packed(body.input)
        large.note(run, ("input",), body.input)
    run.attributes = {name: kept(value) for name, value in body.attributes.items()}
    if event.HasField("actor"):
        run.packed_starter = packed(event.actor)
    run.traceparent = body.traceparent
    run.start_us = run.time_us
    if body.HasField("start_after_time"):
        run.start_after_us = timestamp_us(body.start_after_time)
    run.begun = run.start_after_us == 0
    if body.HasField("deadline_time"):
        run.deadline_us = timestamp_us(body.deadline_time)
        run.timeout_us = run.deadline_us - max(run.start_us, run.start_after_us)


def _paused(run: RunState, _event: HistoryEvent, _body: RunPaused) -> None:
    run.state = RunStateEnum.RUN_STATE_PAUSED
    run.pause_us = run.time_us


def _resumed(run: RunState, _event: HistoryEvent, _body: RunResumed) -> None:
    run.state = RunStateEnum.RUN_STATE_RUNNING
    run.pause_us = 0


def _cancel_requested(run: RunState, _event: HistoryEvent, body: RunCancelRequested) -> None:
    run.state = RunStateEnum.RUN_STATE_RUNNING
    run.pause_us = 0
    run.begun = True
    run.cancel_reason = body.reason
    run.root.closing = run.root.closing or RunStateEnum.RUN_STATE_CANCELED


def _reopened(run: RunState, _event: HistoryEvent, body: RunReopened) -> None:
    run.state = RunStateEnum.RUN_STATE_RUNNING
    run.run_epoch = body.run_epoch
    run.close_us = 0
    run.pause_us = 0
    run.failure = None
    run.output = None
    run.cancel_reason = ""
    run.deadline_us = timestamp_us(body.deadline_time) if body.HasField("deadline_time") else 0
    reset = set(body.reset_paths)
    for scope in run.scopes.values():
        scope.closing = RunStateEnum.RUN_STATE_UNSPECIFIED
        scope.failure = None
        scope.start_over({step.index for step in scope.block.steps if scope.path(step) in reset})
    large.run_reopened(run)


def _close(run: RunState, state: RunStateEnum.ValueType) -> None:
    run.state = state
    run.close_us = run.time_us
    run.pause_us = 0


def _succeeded(run: RunState, _event: HistoryEvent, body: RunSucceeded) -> None:
    _close(run, RunStateEnum.RUN_STATE_SUCCEEDED)
    run.output = kept(body.output) if body.HasField("output") else None


def _failed(run: RunState, _event: HistoryEvent, body: RunFailed) -> None:
    _close(run, RunStateEnum.RUN_STATE_FAILED)
    run.failure = kept(body.failure)


def _canceled(run: RunState, _event: HistoryEvent, _body: RunCanceled) -> None:
    _close(run, RunStateEnum.RUN_STATE_CANCELED)


def _timed_out(run: RunState, _event: HistoryEvent, _body: RunTimedOut) -> None:
    _close(run, RunStateEnum.RUN_STATE_TIMED_OUT)


def _terminated(run: RunState, _event: HistoryEvent, body: RunTerminated) -> None:
    _close(run, RunStateEnum.RUN_STATE_TERMINATED)
    run.cancel_reason = body.reason
    run.waits.clear()
    run.open_gates.clear()
    for scope in run.scopes.values():
        scope.unfinished = scope.active = 0
        for index in range(len(scope.steps)):
            record = scope.record(index)
            if record.state not in st.FINAL:
                record.state = st.CANCELED
                record.finish_us = run.time_us
                record.due_us = record.fence_us = 0


def _step(run: RunState, path: str) -> tuple[Scope, StepPlan, StepRecord]:
    found = run.locate(path)
    if found is None:
        raise ValueError(f"run {run.run_id} has no step {path!r}")
    scope, step = found
    return scope, step, scope.record(step.index)


def _activate(scope: Scope, record: StepRecord, state: StepState.ValueType) -> None:
    if record.state == st.PENDING:
        scope.active += 1
    record.state = state


def _queued(run: RunState, _event: HistoryEvent, body: StepQueued) -> None:
    scope, _step_plan, record = _step(run, body.path)
    _activate(scope, record, st.QUEUED)
    record.attempt = body.attempt
    record.handler = intern(body.handler)
    record.queue = intern(body.queue)
    revision = body.input_revision
    if revision != record.input_revision:
        record.input_revision = revision
        record.packed_input = packed(body.input) if body.HasField("input") else None
    record.attempts_left = body.attempts_left
    record.fallback_rule = body.fallback_rule
    record.due_us = 0
    record.worker_id = ""
    if not record.schedule_us:
        record.schedule_us = run.time_us
    record.schedule_to_start_us = (
        timestamp_us(body.schedule_to_start_time) if body.HasField("schedule_to_start_time") else 0
    )
    if body.HasField("schedule_to_close_time"):
        record.schedule_to_close_us = timestamp_us(body.schedule_to_close_time)


def _step_started(run: RunState, _event: HistoryEvent, body: StepStarted) -> None:
    _scope, _step_plan, record = _step(run, body.path)
    record.state = st.RUNNING
    record.worker_id = intern(body.worker_id)
    record.lease = body.lease
    record.start_us = run.time_us


def _attempt_failed(run: RunState, _event: HistoryEvent, body: StepAttemptFailed) -> None:
    scope, _step_plan, record = _step(run, body.path)
    _settle(record, body.failure)
    _activate(scope, record, st.BACKING_OFF)
    record.failure = kept(body.failure)
    record.fail_us = run.time_us
    record.due_us = timestamp_us(body.retry_time) if body.HasField("retry_time") else 0


def _settle(record: StepRecord, failure: Failure | None = None) -> None:
    """Remembers whose result ends the attempt; failures the server found (timeouts, lost workers) are nobody's."""
    if record.state in st.HELD and (failure is None or not failures.found_by_server(failure)):
        record.settled = (record.attempt, record.lease)
        record.settled_failure = failure.type if failure is not None else ""


def _finish(run: RunState, scope: Scope, step: StepPlan, record: StepRecord, state: StepState.ValueType) -> None:
    if record.state != st.PENDING:
        scope.active -= 1
    record.state = state
    record.finish_us = run.time_us
    record.due_us = record.fence_us = 0
    scope.unfinished -= 1
    if step.kind == "wait":
        run.waits.pop(scope.path(step), None)
    if record.gate is not None:
        run.open_gates.pop(scope.path(step), None)
    if step.looks_into:
        large.step_finished(run, step)


def _resolve(scope: Scope, edges: Iterable[Any]) -> None:
    for edge in edges:
        index = scope.block.by_name[edge.target]
        target = scope.record(index)
        if target.edges is None:
            target.edges = bytearray(len(scope.block.steps[index].after))  # all UNRESOLVED, which is 0
        target.edges[edge.index] = edge.resolution


def _step_succeeded(run: RunState, _event: HistoryEvent, body: StepSucceeded) -> None:
    path = body.path
    scope, step, record = _step(run, path)
    _settle(record)
    _finish(run, scope, step, record, st.SUCCEEDED)
    if body.HasField("output"):
        record.packed_output = packed(body.output)
        large.note(run, ("steps", path, "output"), body.output)
    record.answered_by = body.answered_by
    record.failure = None
    if not record.schedule_us:
        record.schedule_us = run.time_us
    _resolve(scope, body.edges)


def _step_failed(run: RunState, _event: HistoryEvent, body: StepFailed) -> None:
    scope, step, record = _step(run, body.path)
    _settle(record, body.failure)
    _finish(run, scope, step, record, st.FAILED)
    record.failure = kept(body.failure)
    record.handled = body.handled
    _resolve(scope, body.edges)
    if not body.handled:
        _unhandled(scope, body.path, body.failure)


def _unhandled(scope: Scope, path: str, failure: Failure) -> None:
    if scope.failure is None:
        scope.failure = kept(failure)
        scope.failure.step_path = path
    if scope.block.fail_fast and not scope.closing:
        scope.closing = RunStateEnum.RUN_STATE_FAILED


def _step_skipped(run: RunState, _event: HistoryEvent, body: StepSkipped) -> None:
    scope, step, record = _step(run, body.path)
    _finish(run, scope, step, record, st.SKIPPED)
    record.skip_reason = body.reason
    _resolve(scope, body.edges)
    for path in body.unhandled_paths:
        failed_scope, _failed_step, failed = _step(run, path)
        failed.handled = False
        if failed.failure is not None:
            _unhandled(failed_scope, path, failed.failure)


def _step_cancel_requested(run: RunState, _event: HistoryEvent, body: StepCancelRequested) -> None:
    _scope, _step_plan, record = _step(run, body.path)
    record.fence_us = timestamp_us(body.fence_time)
    record.cancel_cause = body.cause


def _step_canceled(run: RunState, _event: HistoryEvent, body: StepCanceled) -> None:
    scope, step, record = _step(run, body.path)
    if body.reported:
        _settle(record, STOPPED)
    _finish(run, scope, step, record, st.CANCELED)
    record.cancel_cause = body.cause
    _resolve(scope, body.edges)


def _step_action_taken(run: RunState, event: HistoryEvent, body: StepActionTaken) -> None:
    _scope, _step_plan, record = _step(run, body.path)
    if record.state in st.HELD:
        # Between attempts, with nobody's result to come: what follows is in the next event of the same transition.
        record.state = st.BACKING_OFF
    if record.gate is not None and not record.gate.resolution:
        record.gate.operator = kept(event.actor)


def _timer_started(run: RunState, _event: HistoryEvent, body: TimerStarted) -> None:
    scope, _step_plan, record = _step(run, body.path)
    _activate(scope, record, st.WAITING)
    record.schedule_us = run.time_us
    record.due_us = timestamp_us(body.due_time)


def _timer_fired(run: RunState, _event: HistoryEvent, body: TimerFired) -> None:
    if body.kind == TimerKind.TIMER_KIND_START:
        run.begun = True
    elif body.kind == TimerKind.TIMER_KIND_RUN_TIMEOUT:
        run.begun = True
        run.deadline_us = 0
        run.root.closing = run.root.closing or RunStateEnum.RUN_STATE_TIMED_OUT


def _gate_opened(run: RunState, _event: HistoryEvent, body: GateOpened) -> None:
    scope, _step_plan, record = _step(run, body.path)
    _activate(scope, record, st.IN_REVIEW if body.review_rule else st.WAITING)
    run.waits.pop(body.path, None)
    if not record.schedule_us:
        record.schedule_us = run.time_us
    record.revision = body.revision
    record.schedule_to_close_us = 0  # a review takes the time it takes; the clock starts anew with the next attempt
    record.due_us = timestamp_us(body.deadline_time) if body.HasField("deadline_time") else 0
    run.open_gates[body.path] = None
    record.gate = GateRecord(
        body.reason,
        kept(body.content),
        body.content_hash,
        run.time_us,
        record.due_us,
        failure=kept(body.failure) if body.HasField("failure") else None,
        review_rule=body.review_rule,
    )


def _gate(run: RunState, path: str) -> tuple[StepRecord, GateRecord]:
    _scope, _step_plan, record = _step(run, path)
    if record.gate is None:
        raise ValueError(f"run {run.run_id} has no gate at {path!r}")
    return record, record.gate


def _gate_decided(run: RunState, event: HistoryEvent, body: GateDecisionRecorded) -> None:
    _record, gate = _gate(run, body.path)
    gate.decisions.append(
        GateDecision(
            decision=body.decision,
            actor=event.actor,
            time=event.time,
            payload=body.payload if body.HasField("payload") else None,
            comment=body.comment,
            revision=body.revision,
        )
    )


def _gate_revised(run: RunState, _event: HistoryEvent, body: GateRevised) -> None:
    record, gate = _gate(run, body.path)
    record.revision = body.revision
    gate.content_hash = body.content_hash
    if body.HasField("content"):
        gate.content = kept(body.content)
    if body.HasField("approvers"):
        gate.approvers = kept(body.approvers)
    if body.HasField("deadline_time"):
        gate.deadline_us = record.due_us = timestamp_us(body.deadline_time)
    if body.cause == ReviseCause.REVISE_CAUSE_ESCALATE:
        gate.escalated = True


def _gate_resolved(run: RunState, _event: HistoryEvent, body: GateResolved) -> None:
    record, gate = _gate(run, body.path)
    run.open_gates.pop(body.path, None)
    gate.resolution = body.resolution
    gate.rule = body.rule
    gate.resolve_us = run.time_us
    record.due_us = 0


def _wait_opened(run: RunState, _event: HistoryEvent, body: WaitOpened) -> None:
    scope, _step_plan, record = _step(run, body.path)
    _activate(scope, record, st.WAITING)
    record.schedule_us = run.time_us
    record.packed_input = packed(body.input) if body.HasField("input") else None
    record.due_us = timestamp_us(body.due_time) if body.HasField("due_time") else 0
    run.waits[body.path] = None


def _signal_received(run: RunState, event: HistoryEvent, body: SignalReceived) -> None:
    payload = kept(body.payload) if body.HasField("payload") else None
    run.signals[event.seq] = BufferedSignal(body.name, payload, run.time_us)
    if payload is not None:
        large.note(run, ("signals", str(event.seq)), payload)


def _wait_matched(run: RunState, _event: HistoryEvent, body: WaitMatched) -> None:
    run.signals.pop(body.signal_seq, None)
    large.forget(run, ("signals", str(body.signal_seq)))


HANDLERS: dict[str, Callable[[RunState, HistoryEvent, Any], None]] = {
    "run_started": _started,
    "run_paused": _paused,
    "run_resumed": _resumed,
    "run_cancel_requested": _cancel_requested,
    "run_reopened": _reopened,
    "run_succeeded": _succeeded,
    "run_failed": _failed,
    "run_canceled": _canceled,
    "run_terminated": _terminated,
    "run_timed_out": _timed_out,
    "step_queued": _queued,
    "step_started": _step_started,
    "step_attempt_failed": _attempt_failed,
    "step_succeeded": _step_succeeded,
    "step_failed": _step_failed,
    "step_skipped": _step_skipped,
    "step_canceled": _step_canceled,
    "step_cancel_requested": _step_cancel_requested,
    "step_action_taken": _step_action_taken,
    "timer_started": _timer_started,
    "timer_fired": _timer_fired,
    "gate_opened": _gate_opened,
    "gate_decision_recorded": _gate_decided,
    "gate_revised": _gate_revised,
    "gate_resolved": _gate_resolved,
    "wait_opened": _wait_opened,
    "signal_received": _signal_received,
    "wait_matched": _wait_matched,
}
"""How each event changes the state; an architecture test checks that no event of the contract is missing."""
