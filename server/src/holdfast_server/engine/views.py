"""What readers see of a run: summaries, activations, gates, and what the run is waiting for."""

from collections.abc import Callable, Iterator

from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.history_pb2 import SkipReason
from holdfast.v1.run_pb2 import Activation, Run, RunOutcome, RunSummary, StepKind, WaitingOn, WaitingReason
from holdfast.v1.signal_pb2 import Signal
from holdfast_server.engine import state as st
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import GateRecord, RunState, Scope, StepRecord
from holdfast_server.engine.steps import deciding, gate as gates
from holdfast_server.engine.times import timestamp

__all__ = ["Serves", "activation_view", "gate_view", "gates_of", "outcome", "run_view", "summary", "waiting_on"]

Serves = Callable[[str, str], bool]
"""Whether some connected worker serves (queue, handler)."""

KINDS = {
    "task": StepKind.STEP_KIND_TASK,
    "gate": StepKind.STEP_KIND_GATE,
    "wait": StepKind.STEP_KIND_WAIT,
    "sleep": StepKind.STEP_KIND_SLEEP,
    "compute": StepKind.STEP_KIND_COMPUTE,
}

TELLING = (
    WaitingReason.WAITING_REASON_QUARANTINED,
    WaitingReason.WAITING_REASON_PAUSED,
    WaitingReason.WAITING_REASON_NO_WORKER,
    WaitingReason.WAITING_REASON_ERROR_REVIEW,
    WaitingReason.WAITING_REASON_GATE,
    WaitingReason.WAITING_REASON_SIGNAL,
    WaitingReason.WAITING_REASON_BACKOFF,
    WaitingReason.WAITING_REASON_TASK_QUEUED,
    WaitingReason.WAITING_REASON_TASK_RUNNING,
    WaitingReason.WAITING_REASON_TIMER,
    WaitingReason.WAITING_REASON_START_TIME,
)
"""Reasons by how much they tell someone who can do something about it."""


def waiting_on(run: RunState, serves: Serves, quarantined: str = "") -> list[WaitingOn]:
    """Everything an open run waits for; never empty for an open run."""
    if not run.open:
        return []
    found: list[WaitingOn] = []
    if quarantined:
        found.append(_waiting(WaitingReason.WAITING_REASON_QUARANTINED, "", run.time_us, 0, quarantined))
    if run.paused:
        text = "the run is paused; resume it to let it go on"
        found.append(_waiting(WaitingReason.WAITING_REASON_PAUSED, "", run.pause_us, 0, text))
    if not run.begun:
        text = "the run starts at its start time"
        found.append(_waiting(WaitingReason.WAITING_REASON_START_TIME, "", run.start_us, run.start_after_us, text))
    for scope, step, record in run.activations():
        if record is not None:
            found.extend(_step_waits(run, scope, step, record, serves))
    return found


def _step_waits(run: RunState, scope: Scope, step: StepPlan, record: StepRecord, serves: Serves) -> Iterator[WaitingOn]:
    path = scope.path(step)
    if record.state == st.QUEUED:
        reason = WaitingReason.WAITING_REASON_TASK_QUEUED
        if run.paused:
            text = f"goes back to queue {record.queue!r} when the run goes on"
        elif serves(record.queue, record.handler):
            text = f"waits on queue {record.queue!r} for a free worker"
        else:
            reason = WaitingReason.WAITING_REASON_NO_WORKER
            text = f"no worker serves handler {record.handler!r} on queue {record.queue!r}"
        yield _waiting(reason, path, record.schedule_us, record.schedule_to_start_us, text)
    elif record.state == st.RUNNING:
        text = f"worker {record.worker_id!r} runs attempt {record.attempt} of handler {record.handler!r}"
        if record.fence_us:
            text += " and was asked to stop"
        reason = WaitingReason.WAITING_REASON_TASK_RUNNING
        yield _waiting(reason, path, record.start_us, record.fence_us, text)
    elif record.state == st.BACKING_OFF:
        kind = record.failure.type if record.failure is not None else "a failure"
        text = f"attempt {record.attempt} failed ({kind}); the next one is due"
        yield _waiting(WaitingReason.WAITING_REASON_BACKOFF, path, record.fail_us, record.due_us, text)
    elif record.state == st.IN_REVIEW:
        kind = record.failure.type if record.failure is not None else "a failure"
        text = f"people decide what to do about {kind}"
        yield _waiting(WaitingReason.WAITING_REASON_ERROR_REVIEW, path, _opened(record), record.due_us, text)
    elif record.state == st.WAITING:
        yield _open_wait(step, path, record)


def _open_wait(step: StepPlan, path: str, record: StepRecord) -> WaitingOn:
    if record.gate is not None and not record.gate.resolution:
        text = f"people decide: {record.gate.content.title}"
        return _waiting(WaitingReason.WAITING_REASON_GATE, path, record.gate.open_us, record.due_us, text)
    if step.wait is not None:
        text = f"waits for signal {step.wait.signal!r}"
        return _waiting(WaitingReason.WAITING_REASON_SIGNAL, path, record.schedule_us, record.due_us, text)
    return _waiting(WaitingReason.WAITING_REASON_TIMER, path, record.schedule_us, record.due_us, "sleeps")


def _opened(record: StepRecord) -> int:
    return record.gate.open_us if record.gate is not None else record.schedule_us


def _waiting(reason: WaitingReason.ValueType, path: str, since_us: int, until_us: int, text: str) -> WaitingOn:
    made = WaitingOn(reason=reason, step_path=path, message=text)
    if since_us:
        made.since_time.CopyFrom(timestamp(since_us))
    if until_us:
        made.until_time.CopyFrom(timestamp(until_us))
    return made


def summary(run: RunState, serves: Serves, quarantined: str = "") -> RunSummary:
    """What lists show of a run."""
    made = RunSummary(
        namespace=run.namespace,
        run_id=run.run_id,
        workflow=run.plan.workflow,
        version=run.plan.version,
        key=run.key,
        state=run.state,
        start_time=timestamp(run.start_us),
        run_epoch=run.run_epoch,
        last_seq=run.seq,
        attributes=run.attributes,
    )
    if run.close_us:
        made.close_time.CopyFrom(timestamp(run.close_us))
    if run.open:
        waits = waiting_on(run, serves, quarantined)
        if waits:
            telling = min(waits, key=lambda one: TELLING.index(one.reason))
            made.waiting_reason = telling.reason
            made.status_message = f"{telling.step_path}: {telling.message}" if telling.step_path else telling.message
    elif run.failure is not None:
        made.status_message = run.failure.message
    else:
        made.status_message = run.cancel_reason
    return made


def outcome(run: RunState) -> RunOutcome:
    """How a closed run ended."""
    return RunOutcome(
        run_id=run.run_id, state=run.state, output=run.output, failure=run.failure, run_epoch=run.run_epoch
    )


def run_view(run: RunState, serves: Serves, quarantined: str = "") -> Run:
    """Everything about a run but its history; large payloads as references."""
    made = Run(
        summary=summary(run, serves, quarantined),
        input=run.input,
        output=run.output,
        failure=run.failure,
        waiting_on=waiting_on(run, serves, quarantined),
        started_by=run.started_by,
        traceparent=run.traceparent,
    )
    if run.deadline_us:
        made.deadline_time.CopyFrom(timestamp(run.deadline_us))
    for scope, step, record in run.activations():
        made.activations.append(_activation(scope, step, record))
    for seq, signal in run.signals.items():
        receive_time = timestamp(signal.receive_us)
        made.unconsumed_signals.append(
            Signal(name=signal.name, payload=signal.payload, seq=seq, receive_time=receive_time)
        )
    return made


def activation_view(run: RunState, path: str) -> Activation:
    """One activation.

    Raises:
        KeyError: there is none of that path.
    """
    found = run.locate(path)
    if found is None:
        raise KeyError(path)
    scope, step = found
    return _activation(scope, step, scope.steps[step.index])


def _activation(scope: Scope, step: StepPlan, record: StepRecord | None) -> Activation:
    made = Activation(
        path=scope.path(step),
        step=step.name,
        kind=KINDS[step.kind],
        state=st.PENDING,
        summary=step.summary,
        after=dict.fromkeys(scope.block.steps[edge.source].name for edge in step.after),
    )
    if record is None:
        return made
    made.state = record.state
    made.attempt = record.attempt
    made.handler = record.handler
    made.queue = record.queue
    made.worker_id = record.worker_id
    made.note = _note(record)
    for name, value in (("input", record.input), ("output", record.output), ("failure", record.failure)):
        if value is not None:
            getattr(made, name).CopyFrom(value)
    for name, time_us in (
        ("schedule_time", record.schedule_us),
        ("start_time", record.start_us),
        ("finish_time", record.finish_us),
        ("due_time", record.due_us),
    ):
        if time_us:
            getattr(made, name).CopyFrom(timestamp(time_us))
    return made


def _note(record: StepRecord) -> str:
    if record.state == st.SKIPPED:
        return SkipReason.Name(SkipReason.ValueType(record.skip_reason)).removeprefix("SKIP_REASON_")
    return f"answered by {record.answered_by}" if record.answered_by else ""


def gates_of(run: RunState) -> Iterator[Gate]:
    """All gates of a run, in the order of the definition; an activation shows its latest."""
    for scope, step, record in run.activations():
        if record is not None and record.gate is not None:
            yield _gate(run, scope, step, record, record.gate)


def gate_view(run: RunState, path: str) -> Gate:
    """The gate of an activation.

    Raises:
        Refused: GATE_NOT_FOUND.
    """
    return _gate(run, *deciding.find_gate(run, path))


def _gate(run: RunState, scope: Scope, step: StepPlan, record: StepRecord, gate: GateRecord) -> Gate:
    made = Gate(
        namespace=run.namespace,
        run_id=run.run_id,
        step_path=scope.path(step),
        workflow=run.plan.workflow,
        reason=gate.reason,
        state=_gate_state(run, record, gate),
        revision=record.revision,
        content_hash=gate.content_hash,
        content=gate.content,
        decisions=deciding.decisions_of(step, gate),
        approvers=deciding.approvers_of(step, gate),
        quorum=1,
        open_time=timestamp(gate.open_us),
        decided=gate.decisions,
        resolution=gate.resolution,
        resolution_rule=gate.rule,
        failure=gate.failure,
    )
    if gate.deadline_us:
        made.deadline_time.CopyFrom(timestamp(gate.deadline_us))
    if not gate.review_rule:
        spec = gates.plan_of(step).spec
        made.quorum = gates.plan_of(step).quorum
        made.on_deadline = gates.plan_of(step).on_deadline
        if spec.HasField("response_schema"):
            made.response_schema.CopyFrom(spec.response_schema)
        if spec.HasField("action") and spec.action.HasField("args_schema"):
            made.subject_schema.CopyFrom(spec.action.args_schema)
    if gate.resolution:
        made.resolve_time.CopyFrom(timestamp(gate.resolve_us))
        resolver = deciding.resolver_of(gate)
        if resolver is not None:
            made.resolved_by.CopyFrom(resolver)
    return made


def _gate_state(run: RunState, record: StepRecord, gate: GateRecord) -> GateState.ValueType:
    if gate.resolution:
        return GateState.GATE_STATE_RESOLVED
    if run.open and record.state in gates.OPEN_STATES:
        return GateState.GATE_STATE_OPEN
    return GateState.GATE_STATE_CANCELED
