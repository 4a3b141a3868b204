"""RetryRun: which steps of a closed run are PENDING again."""

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.history_pb2 import CancelCause, RunReopened, SkipReason
from holdfast.v1.run_pb2 import RunState as RunStateEnum
from holdfast_server.engine import state as st
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import RunState, Scope, StepRecord
from holdfast_server.engine.times import timestamp
from holdfast_server.engine.turn import Turn

__all__ = ["reopen"]

RETRIABLE = frozenset(
    {RunStateEnum.RUN_STATE_FAILED, RunStateEnum.RUN_STATE_CANCELED, RunStateEnum.RUN_STATE_TIMED_OUT}
)


def reopen(turn: Turn, note: str) -> None:
    """Begins a new run epoch.

    Raises:
        Refused: ILLEGAL_STATE if the run is open, SUCCEEDED or TERMINATED, or if one of its cleanup steps has started.
    """
    run = turn.run
    if run.state not in RETRIABLE:
        state = RunStateEnum.Name(run.state).removeprefix("RUN_STATE_")
        message = f"run {run.run_id!r} is {state}; only FAILED, CANCELED and TIMED_OUT runs can be retried"
        raise Refused(ErrorReason.ERROR_REASON_ILLEGAL_STATE, message, {"run_id": run.run_id, "state": state})
    for scope, step, record in run.activations():
        if step.cleanup and record is not None and record.schedule_us:
            message = f"cleanup step {scope.path(step)!r} has started, so what it cleaned up cannot be gone back to"
            raise Refused(ErrorReason.ERROR_REASON_ILLEGAL_STATE, message, {"step_path": scope.path(step)})
    body = RunReopened(run_epoch=run.run_epoch + 1, reset_paths=_reset_paths(run), note=note)
    if run.timeout_us:
        body.deadline_time.CopyFrom(timestamp(turn.now_us + run.timeout_us))
    turn.emit("run_reopened", body)


def _reset_paths(run: RunState) -> list[str]:
    return [
        scope.path(scope.block.steps[index]) for scope in run.scopes.values() for index in sorted(_reset_steps(scope))
    ]


def _reset_steps(scope: Scope) -> set[int]:
    """FAILED and CANCELED steps, and those that were skipped because of them.

    What a join was met without is let be, unless that join starts over and needs it.
    """
    reset: set[int] = set()
    grown = True
    while grown:
        before = len(reset)
        for index in scope.block.order:
            record = scope.steps[index]
            if (
                record is not None
                and index not in reset
                and _starts_over(scope, scope.block.steps[index], record, reset)
            ):
                reset.add(index)
        grown = len(reset) > before
    return reset


def _starts_over(scope: Scope, step: StepPlan, record: StepRecord, reset: set[int]) -> bool:
    if record.skip_reason == SkipReason.SKIP_REASON_NOT_NEEDED or (
        record.state == st.CANCELED and record.cancel_cause == CancelCause.CANCEL_CAUSE_NOT_NEEDED
    ):
        joins = (scope.block.steps[join] for join in step.covering_joins if join in reset)
        return any(join.cancel_others and not _still_met(scope, join, reset) for join in joins)
    if record.state == st.SKIPPED:
        closing = record.skip_reason == SkipReason.SKIP_REASON_BLOCK_CLOSING
        return closing or any(edge.source in reset for edge in step.after)
    return record.state in (st.FAILED, st.CANCELED)


def _still_met(scope: Scope, join: StepPlan, reset: set[int]) -> bool:
    """Whether the edges that stay taken are enough for a join."""
    record = scope.steps[join.index]
    edges = record.edges if record is not None and record.edges is not None else b""
    kept = sum(
        resolution == st.TAKEN and edge.source not in reset for edge, resolution in zip(join.after, edges, strict=False)
    )
    return kept >= join.join_count
