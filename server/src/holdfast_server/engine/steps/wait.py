"""Wait steps: one signal goes to one wait, the oldest open one whose condition fits; buffered signals count."""

from holdfast.v1.history_pb2 import WaitMatched, WaitOpened
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import failures, on_error as rules, outcomes, rendering, state as st
from holdfast_server.engine.expressions import ExpressionError
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag
from holdfast_server.engine.plan import StepPlan, WaitPlan
from holdfast_server.engine.run_names import RunNames
from holdfast_server.engine.state import BufferedSignal, RunState, Scope, StepRecord
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["fire", "is_awaited", "offer", "start"]


def start(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Opens the wait, and takes the oldest buffered signal that fits."""
    try:
        payload = rendering.render_input(turn, scope, step)
    except rendering.StepFault as fault:
        rules.give_up(turn, scope, step, fault.failure)
        return
    wait = _plan(step)
    body = WaitOpened(path=scope.path(step), signal=wait.signal, input=payload)
    if wait.timeout_us is not None:
        body.due_time.CopyFrom(timestamp(turn.now_us + wait.timeout_us))
    turn.emit("wait_opened", body)
    for seq, signal in list(turn.run.signals.items()):
        if signal.name == wait.signal and _take(turn, scope, step, seq, signal):
            return


def offer(turn: Turn, seq: int) -> None:
    """Offers a signal that just came in to the open waits, oldest first."""
    signal = turn.run.signals[seq]
    for path in list(turn.run.waits):
        found = turn.run.locate(path)
        if found is None:
            continue
        scope, step = found
        if _plan(step).signal == signal.name and _take(turn, scope, step, seq, signal):
            return


def is_awaited(run: RunState, bag: PayloadBag, name: str, payload: Payload | None) -> bool:
    """Whether an open wait would take a signal at once: then it needs no place among those nothing has taken."""
    for path in run.waits:
        found = run.locate(path)
        if found is None or _plan(found[1]).signal != name:
            continue
        condition = _plan(found[1]).when
        try:
            if condition is None or condition.holds(RunNames(run, found[0], bag, extra={"payload": payload})):
                return True
        except (ExpressionError, OpaquePayloadError):
            continue
    return False


def _plan(step: StepPlan) -> WaitPlan:
    if step.wait is None:
        message = f"step {step.name!r} is not a wait"
        raise ValueError(message)
    return step.wait


def _take(turn: Turn, scope: Scope, step: StepPlan, seq: int, signal: BufferedSignal) -> bool:
    """Whether the wait is over: it took the signal, or its condition could not be evaluated, which fails it."""
    wait = _plan(step)
    path = scope.path(step)
    if scope.record(step.index).state != st.WAITING:
        return False
    if wait.when is not None:
        names = RunNames(turn.run, scope, turn.bag, extra={"payload": signal.payload})
        try:
            if not wait.when.holds(names):
                return False
        except (ExpressionError, OpaquePayloadError) as error:
            # The signal stays for others: it was this wait's condition that was wrong.
            fault = rendering.expression_fault(error, f"`when` of step {step.name!r}")
            rules.give_up(turn, scope, step, fault.failure)
            return False
    turn.emit("wait_matched", WaitMatched(path=path, signal_seq=seq))
    failure = outcomes.check_output(turn, step, signal.payload)
    if failure is not None:
        rules.give_up(turn, scope, step, failure)
    else:
        outcomes.succeed(turn, scope, step, signal.payload)
    return True


def fire(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord) -> None:
    """Ends the wait if its time is over."""
    if record.state == st.WAITING and record.due_us and record.due_us <= turn.now_us:
        message = f"no signal {_plan(step).signal!r} came for step {step.name!r} in time"
        rules.give_up(turn, scope, step, failures.failure(failures.WAIT, message))
