"""The life of a block: steps start when their joins are met, a failure closes it, the end of its last step ends it."""

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import (
    CancelCause,
    RunCanceled,
    RunFailed,
    RunSucceeded,
    RunTimedOut,
    SkipReason,
    StepCancelRequested,
)
from holdfast.v1.run_pb2 import RunState as RunStateEnum
from holdfast_server.engine import edges, failures, on_error as rules, outcomes, rendering, state as st
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope
from holdfast_server.engine.steps import compute, gate, sleep, task, wait
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["close", "settle", "start_ready"]

STARTERS = {
    "task": task.start,
    "gate": gate.start,
    "wait": wait.start,
    "sleep": sleep.start,
    "compute": compute.start,
}
"""How a step of each kind starts."""

CAUSES = {
    RunStateEnum.RUN_STATE_CANCELED: CancelCause.CANCEL_CAUSE_RUN_CANCELED,
    RunStateEnum.RUN_STATE_TIMED_OUT: CancelCause.CANCEL_CAUSE_RUN_TIMED_OUT,
    RunStateEnum.RUN_STATE_FAILED: CancelCause.CANCEL_CAUSE_BLOCK_FAILED,
}


def start_ready(turn: Turn) -> None:
    """Looks at every step that has not started: at the beginning, after a pause, when a run is reopened."""
    for scope in list(turn.run.scopes.values()):
        for index in scope.block.order:
            record = scope.steps[index]
            if record is None or record.state == st.PENDING:
                turn.work.append((scope, index))
            elif record.released:
                turn.restarts.append((scope, index))
    settle(turn)


def settle(turn: Turn) -> None:
    """Follows all consequences of what was emitted until nothing more follows, and ends the run if it is done."""
    root = turn.run.root
    while True:
        if root.closing and not turn.closed:
            close(turn, root)
        if turn.restarts:
            _restart(turn, *turn.restarts.popleft())
        elif turn.work:
            scope, index = turn.work.popleft()
            if scope.state_of(index) == st.PENDING:
                _consider(turn, scope, scope.block.steps[index])
        elif not _release_cleanup(turn, root):
            break
    if root.unfinished == 0 and turn.run.open:
        _finish(turn, root)


def _restart(turn: Turn, scope: Scope, index: int) -> None:
    """Starts a step a person let start again, whatever its edges say; a pause or a closing block has the last word."""
    record = scope.steps[index]
    if record is not None and record.released and not turn.run.paused:
        step = scope.block.steps[index]
        STARTERS[step.kind](turn, scope, step)


def _consider(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Starts, fails or skips a PENDING step if its edges say so. A pause holds back all of it."""
    run = turn.run
    if run.paused or not run.begun:
        return
    if scope.closing:
        # Only cleanup steps are still PENDING: `close` has ended the others.
        _consider_cleanup(turn, scope, step)
        return
    if not step.after:
        STARTERS[step.kind](turn, scope, step)
        return
    verdict = edges.join_verdict(step, scope.steps[step.index])
    if verdict is edges.Verdict.MET:
        STARTERS[step.kind](turn, scope, step)
        if step.cancel_others:
            _cancel_losers(turn, scope, step)
    elif verdict is edges.Verdict.NOT_MET:
        if not step.cleanup:
            outcomes.skip(turn, scope, step, SkipReason.SKIP_REASON_JOIN_NOT_MET)
    elif verdict is edges.Verdict.ERROR:
        rules.give_up(turn, scope, step, edges.condition_failure(turn, scope, step))


def _release_cleanup(turn: Turn, scope: Scope) -> bool:
    """Decides one cleanup step whose join cannot be met, once nothing else can move; False if none is left.

    Until then it stays PENDING: the block may still fail, and then its `finally` starts all the same.
    """
    if turn.run.paused or not turn.run.begun or scope.closing or scope.active or not scope.unfinished:
        return False
    for index in scope.block.cleanups:
        step = scope.block.steps[index]
        if (
            scope.state_of(index) == st.PENDING
            and edges.join_verdict(step, scope.steps[index]) is edges.Verdict.NOT_MET
        ):
            if scope.failure is not None:
                _consider_cleanup(turn, scope, step)
            else:
                outcomes.skip(turn, scope, step, SkipReason.SKIP_REASON_JOIN_NOT_MET)
            return True
    return False


def _consider_cleanup(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """In a closing block a cleanup step starts once its sources have finished, if one of them was activated."""
    sources = [scope.steps[edge.source] for edge in step.after]
    if any(record is None or record.state not in st.FINAL for record in sources):
        return
    if any(record is not None and record.schedule_us for record in sources):
        STARTERS[step.kind](turn, scope, step)
    else:
        outcomes.skip(turn, scope, step, SkipReason.SKIP_REASON_BLOCK_CLOSING)


def _cancel_losers(turn: Turn, scope: Scope, join: StepPlan) -> None:
    for index in scope.block.order:
        step = scope.block.steps[index]
        if index in join.exclusive_sources and not step.cleanup:
            _end_step(turn, scope, step, CancelCause.CANCEL_CAUSE_NOT_NEEDED, SkipReason.SKIP_REASON_NOT_NEEDED)


def close(turn: Turn, scope: Scope) -> None:
    """Ends what a closing block still has open; only its cleanup steps may start from here on."""
    turn.closed = True
    cause = CAUSES[RunStateEnum.ValueType(scope.closing)]
    for index in scope.block.order:
        step = scope.block.steps[index]
        if step.cleanup:
            turn.work.append((scope, index))
        else:
            _end_step(turn, scope, step, cause, SkipReason.SKIP_REASON_BLOCK_CLOSING)


def _end_step(
    turn: Turn, scope: Scope, step: StepPlan, cause: CancelCause.ValueType, reason: SkipReason.ValueType
) -> None:
    state = scope.state_of(step.index)
    if state == st.PENDING:
        outcomes.skip(turn, scope, step, reason)
    elif state == st.RUNNING:
        record = scope.record(step.index)
        if not record.fence_us:
            fence_us = turn.now_us + turn.settings.cancel_grace_us
            body = StepCancelRequested(
                path=scope.path(step), attempt=record.attempt, fence_time=timestamp(fence_us), cause=cause
            )
            turn.emit("step_cancel_requested", body)
    elif state not in st.FINAL:
        outcomes.cancel(turn, scope, step, cause, attempt=scope.record(step.index).attempt)


def _finish(turn: Turn, root: Scope) -> None:
    """Ends the run: every step of its block is finished."""
    unconsumed = list(turn.run.signals)
    if root.closing == RunStateEnum.RUN_STATE_CANCELED:
        body = RunCanceled(reason=turn.run.cancel_reason, unconsumed_signal_seqs=unconsumed)
        turn.emit("run_canceled", body)
    elif root.closing == RunStateEnum.RUN_STATE_TIMED_OUT:
        turn.emit("run_timed_out", RunTimedOut(unconsumed_signal_seqs=unconsumed))
    elif root.failure is not None:
        turn.emit("run_failed", RunFailed(failure=root.failure, unconsumed_signal_seqs=unconsumed))
    else:
        _succeed(turn, root, unconsumed)


def _succeed(turn: Turn, root: Scope, unconsumed: list[int]) -> None:
    plan = turn.run.plan
    output = None
    failure: Failure | None = None
    try:
        if plan.output is not None:
            output = rendering.render(turn, root, plan.output, "the output of the run")
        if plan.output_schema is not None:
            listed = rendering.misfit(turn, plan.output_schema, output)
            if listed:
                message = f"the output of the run does not fit its schema: {listed}"
                failure = failures.failure(failures.SCHEMA_VIOLATION, message)
    except rendering.StepFault as fault:
        failure = fault.failure
    if failure is not None:
        turn.emit("run_failed", RunFailed(failure=failure, unconsumed_signal_seqs=unconsumed))
    else:
        turn.emit("run_succeeded", RunSucceeded(output=output, unconsumed_signal_seqs=unconsumed))
