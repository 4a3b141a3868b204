"""Sleep steps: time passes."""

from datetime import datetime

from holdfast.v1.history_pb2 import TimerFired, TimerKind, TimerStarted
from holdfast_server.engine import failures, outcomes, rendering, state as st
from holdfast_server.engine.durations import DurationError, parse_duration_us
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope, StepRecord
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["fire", "start"]


def start(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Sets the timer; a time that has passed already ends the sleep at once."""
    try:
        due_us = _due_us(turn, scope, step)
    except rendering.StepFault as fault:
        outcomes.fail(turn, scope, step, fault.failure)
        return
    body = TimerStarted(path=scope.path(step), kind=TimerKind.TIMER_KIND_SLEEP, due_time=timestamp(due_us))
    turn.emit("timer_started", body)


def _due_us(turn: Turn, scope: Scope, step: StepPlan) -> int:
    sleep = step.sleep
    now_us = turn.now_us
    if sleep is None or sleep.until is None:
        return now_us + (0 if sleep is None or sleep.duration_us is None else sleep.duration_us)
    text = rendering.render_text(turn, scope, sleep.until, f"`until` of step {step.name!r}")
    try:
        return now_us + parse_duration_us(text)
    except DurationError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        # Without an offset it would mean another time on every machine.
        forms = "no RFC 3339 time with its offset (`Z`, `+02:00`), and no duration such as 90s"
        message = f"`until` of step {step.name!r} is {text[:100]!r}: {forms}"
        raise rendering.StepFault(failures.failure(failures.EXPRESSION_ERROR, message))
    return max(now_us, int(moment.timestamp() * 1_000_000))


def fire(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord) -> None:
    """Ends the sleep if its time has come."""
    if record.state == st.WAITING and record.due_us <= turn.now_us:
        turn.emit("timer_fired", TimerFired(path=scope.path(step), kind=TimerKind.TIMER_KIND_SLEEP))
        outcomes.succeed(turn, scope, step, None)
