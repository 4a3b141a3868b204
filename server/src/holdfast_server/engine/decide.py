"""Decides what a command does to a run: the one entry of the engine.

`decide` makes events, applies them and derives their effects. A refusal is raised before the first event, so a refused
command leaves the run as it was. Any other exception is a fault of the engine: the state is then undefined and has to
be folded again from what is on disk.
"""

from collections import deque
from dataclasses import dataclass
from typing import assert_never

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.history_pb2 import (
    HistoryBatch,
    RunCancelRequested,
    RunPaused,
    RunResumed,
    RunStarted,
    RunTerminated,
    SignalReceived,
    TimerFired,
    TimerKind,
)
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast_server.engine import acting, blocks, commands as c, growth, large, reopening, state as st
from holdfast_server.engine.effects import Effect, Timer, TimerSet, standing
from holdfast_server.engine.expressions import ExpressionError
from holdfast_server.engine.fitting import check_schema
from holdfast_server.engine.json_values import encode
from holdfast_server.engine.kept import packed
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.state import RunState, new_scope
from holdfast_server.engine.steps import deciding, gate, review, sleep, task, wait
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Entropy, Turn

__all__ = ["Decision", "decide", "needs", "start_run"]


@dataclass(slots=True)
class Decision:
    """What a command did.

    Attributes:
        batch: the new events, appended to the batch that was given.
        effects: what must happen once they are on disk, in order.
        rejection: set if the command took effect but its caller is to be told no.
        first_seq: sequence number of the first new event; 0 if there is none.
    """

    batch: HistoryBatch
    effects: list[Effect]
    rejection: Refused | None
    first_seq: int


def needs(run: RunState) -> list[bytes]:
    """Hashes of the stored payloads that expressions of the run may look into while a command is decided.

    More than a command needs, but never less: which steps a command starts is known only by deciding it.
    """
    if not run.large and not run.open_gates:
        return []
    hashes = large.needed(run)
    for path in run.open_gates:
        gate = deciding.find_gate(run, path)[3]
        if gate.content.HasField("subject") and gate.content.subject.HasField("ref"):
            hashes.append(gate.content.subject.ref.sha256)
        hashes.extend(one.payload.ref.sha256 for one in gate.decisions if one.payload.HasField("ref"))
    return hashes


def start_run(
    plan: Plan,
    command: c.Start,
    now_us: int,
    entropy: Entropy,
    bag: PayloadBag,
    settings: EngineSettings,
    actor: Actor | None = None,
    request: RequestMark | None = None,
) -> tuple[RunState, Decision]:
    """Begins a run.

    Raises:
        Refused: INPUT_SCHEMA, SIGNAL_UNDECLARED, SIGNAL_SCHEMA, LIMIT_EXCEEDED, INVALID_REQUEST.
    """
    _check_input(plan, command.input, bag)
    payload = bag.intern(command.input) if command.input is not None else None
    run = RunState(plan, command.namespace, command.run_id, command.key)
    run.scopes[""] = new_scope("", plan.block)
    signals: list[tuple[str, Payload | None]] = []
    for name, value in command.signals:
        _check_signal(run, name, value, bag, settings, len(signals))
        signals.append((name, bag.intern(value) if value is not None else None))
    turn = _turn(run, now_us, entropy, bag, settings, HistoryBatch(), actor, request)
    body = RunStarted(
        namespace=command.namespace,
        run_id=command.run_id,
        workflow=plan.workflow,
        version=plan.version,
        definition_hash=plan.definition_hash,
        input=payload,
        key=command.key,
        traceparent=command.traceparent,
    )
    if command.start_after_us > now_us:
        body.start_after_time.CopyFrom(timestamp(command.start_after_us))
    timeout_us = command.timeout_us if command.timeout_us is not None else plan.timeout_us
    if timeout_us is not None:
        body.deadline_time.CopyFrom(timestamp(max(now_us, command.start_after_us) + timeout_us))
    for name, attribute in command.attributes.items():
        body.attributes[name].CopyFrom(attribute)
    _default_attributes(turn, plan, payload, body)
    turn.emit("run_started", body)
    for name, value in signals:
        turn.emit("signal_received", SignalReceived(name=name, payload=value))
    blocks.start_ready(turn)
    return run, Decision(turn.batch, turn.effects, None, 1)


def decide(  # noqa: PLR0913, PLR0917 - clock, chance and payloads are injected, and the command has a caller
    run: RunState,
    command: c.Command,
    now_us: int,
    entropy: Entropy,
    bag: PayloadBag,
    settings: EngineSettings,
    batch: HistoryBatch,
    actor: Actor | None = None,
    request: RequestMark | None = None,
) -> Decision:
    """Carries out a command on a run that exists.

    Args:
        run: its state, which is changed.
        command: what to do.
        now_us: the time, microseconds since the Unix epoch.
        entropy: draws numbers for jitter.
        bag: the payloads `needs` asked for.
        settings: the server's rules.
        batch: the events are appended to it.
        actor: who asked; absent for workers and the server itself.
        request: the caller's request id, remembered with the first event.

    Raises:
        Refused: the command is not carried out.
    """
    growth.check_command(run, command, settings)
    turn = _turn(run, now_us, entropy, bag, settings, batch, actor, request)
    before = run.seq
    _dispatch(turn, command)
    return Decision(batch, turn.effects, turn.rejection, before + 1 if run.seq > before else 0)


def _turn(
    run: RunState,
    now_us: int,
    entropy: Entropy,
    bag: PayloadBag,
    settings: EngineSettings,
    batch: HistoryBatch,
    actor: Actor | None,
    request: RequestMark | None,
) -> Turn:
    now_us = max(now_us, run.time_us)
    time = timestamp(now_us)
    return Turn(run, now_us, time, entropy, bag, settings, batch, [], deque(), deque(), actor, request)


def _dispatch(turn: Turn, command: c.Command) -> None:
    match command:
        case c.StartTask():
            task.started(turn, command)
            return
        case c.CompleteTask():
            task.complete(turn, command)
        case c.FailTask():
            task.fail(turn, command)
        case c.StopTask():
            task.stop(turn, command)
        case c.ReturnTask():
            task.give_back(turn, command)
        case c.FireTimer():
            _fire(turn, command)
        case c.SendSignal():
            _signal(turn, command)
        case c.DecideGate():
            deciding.decide_gate(turn, command)
        case c.RetryStep() | c.SkipStep() | c.FailStep():
            acting.act(turn, command)
        case c.Pause() | c.Resume() | c.Cancel() | c.Terminate() | c.Retry():
            _operate(turn, command)
            return
        case c.Start():
            message = "a run begins with start_run"
            raise TypeError(message)
        case _:
            assert_never(command)
    blocks.settle(turn)


def _operate(turn: Turn, command: c.Pause | c.Resume | c.Cancel | c.Terminate | c.Retry) -> None:
    run = turn.run
    if isinstance(command, c.Retry):
        reopening.reopen(turn, command.note)
        blocks.start_ready(turn)
        return
    if not run.open:
        message = f"run {run.run_id!r} is closed"
        raise Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, {"run_id": run.run_id})
    match command:
        case c.Pause():
            if not run.paused:
                turn.emit("run_paused", RunPaused(note=command.note))
        case c.Resume():
            if run.paused:
                turn.emit("run_resumed", RunResumed(note=command.note))
                _fire_due(turn)
                blocks.start_ready(turn)
        case c.Cancel():
            paused = run.paused
            if paused or not run.root.closing:
                turn.emit("run_cancel_requested", RunCancelRequested(reason=command.reason))
                blocks.start_ready(turn)
            if paused:
                _fire_due(turn)
        case c.Terminate():
            body = RunTerminated(reason=command.reason, unconsumed_signal_seqs=list(run.signals))
            turn.emit("run_terminated", body)
        case _:
            assert_never(command)


def _fire(turn: Turn, command: c.FireTimer) -> None:
    run = turn.run
    if not run.open or run.paused:
        return  # what is due while the run is paused happens when it goes on
    now_us = turn.now_us
    if command.timer is Timer.START:
        if not run.begun and run.start_after_us <= now_us:
            turn.emit("timer_fired", TimerFired(kind=TimerKind.TIMER_KIND_START))
            blocks.start_ready(turn)
        return
    if command.timer is Timer.RUN_TIMEOUT:
        if run.deadline_us and run.deadline_us <= now_us:
            turn.emit("timer_fired", TimerFired(kind=TimerKind.TIMER_KIND_RUN_TIMEOUT))
        return
    found = run.locate(command.path)
    if found is None:
        return
    scope, step = found
    record = scope.steps[step.index]
    if record is None or record.state in st.FINAL:
        return
    if record.state == st.IN_REVIEW:
        if command.timer is Timer.GATE:
            review.fire(turn, scope, step, record)
    elif step.kind == "task":
        task.fire(turn, scope, step, record, command.timer)
    elif (step.kind, command.timer) == ("gate", Timer.GATE):
        gate.fire(turn, scope, step, record)
    elif (step.kind, command.timer) == ("wait", Timer.WAIT):
        wait.fire(turn, scope, step, record)
    elif (step.kind, command.timer) == ("sleep", Timer.SLEEP):
        sleep.fire(turn, scope, step, record)


def _fire_due(turn: Turn) -> None:
    """Lets everything happen whose time came while the run was paused, in the order of those times."""
    due = [one for one in standing(turn.run) if isinstance(one, TimerSet) and one.due_us <= turn.now_us]
    for one in sorted(due, key=lambda timer: timer.due_us):
        _fire(turn, c.FireTimer(one.path, one.timer))
        blocks.settle(turn)


def _signal(turn: Turn, command: c.SendSignal) -> None:
    run = turn.run
    if not run.open:
        message = f"run {run.run_id!r} is closed and takes no signals"
        raise Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, {"run_id": run.run_id})
    _check_signal(run, command.name, command.payload, turn.bag, turn.settings, 0)
    payload = turn.bag.intern(command.payload) if command.payload is not None else None
    turn.emit("signal_received", SignalReceived(name=command.name, payload=payload))
    wait.offer(turn, run.seq)


def _check_signal(
    run: RunState, name: str, payload: Payload | None, bag: PayloadBag, settings: EngineSettings, more: int
) -> None:
    declared = run.plan.signals
    if declared and name not in declared:
        message = f"workflow {run.plan.workflow!r} declares the signals {', '.join(declared)}; {name!r} is none of them"
        raise Refused(
            ErrorReason.ERROR_REASON_SIGNAL_UNDECLARED,
            message,
            {"signal": name, "workflow": run.plan.workflow},
            (("signal.name", message),),
        )
    schema = declared.get(name)
    if schema is not None:
        facts = {"signal": name, "workflow": run.plan.workflow}
        check_schema(schema, payload, bag, ErrorReason.ERROR_REASON_SIGNAL_SCHEMA, "signal.payload", facts)
    held = len(run.signals) + more
    if held >= settings.unconsumed_signals and not wait.is_awaited(run, bag, name, payload):
        limit = settings.unconsumed_signals
        message = f"run {run.run_id!r} holds {held} signals nothing has taken; the limit unconsumed_signals is {limit}"
        facts = {"limit": "unconsumed_signals", "value": str(limit), "actual": str(held + 1), "field": "signal"}
        raise Refused(ErrorReason.ERROR_REASON_LIMIT_EXCEEDED, message, facts, (("signal", message),))


def _check_input(plan: Plan, payload: Payload | None, bag: PayloadBag) -> None:
    if plan.input_schema is not None:
        facts = {"workflow": plan.workflow}
        check_schema(plan.input_schema, payload, bag, ErrorReason.ERROR_REASON_INPUT_SCHEMA, "input", facts)


def _default_attributes(turn: Turn, plan: Plan, payload: Payload | None, body: RunStarted) -> None:
    """The definition's attributes, where the caller gave none of the name."""
    if not plan.attributes:
        return
    run = turn.run
    run.packed_input, run.start_us = None if payload is None else packed(payload), turn.now_us
    for name, template in plan.attributes.items():
        if name in body.attributes:
            continue
        try:
            value = template.value(turn.names(run.root))
        except (ExpressionError, OpaquePayloadError) as error:
            field = f"attributes.{name}"
            raise Refused(
                ErrorReason.ERROR_REASON_INVALID_REQUEST, f"{field}: {error}", violations=((field, str(error)),)
            ) from error
        body.attributes[name].CopyFrom(JsonValue(json=encode(value).decode()))
