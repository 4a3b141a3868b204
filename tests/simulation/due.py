"""What a run waits for, read from its state: apart from the engine's own list, which may have forgotten something."""

from collections.abc import Iterator

from holdfast_server.engine import state as st
from holdfast_server.engine.state import RunState, StepRecord

__all__ = ["deadlines", "queued"]


def deadlines(run: RunState) -> Iterator[tuple[str, str, int]]:
    """(path, what, time) of everything that must happen by time in an open run that is not paused."""
    if not run.begun:
        yield "", "start", run.start_after_us
    if run.deadline_us:
        yield "", "timeout", run.deadline_us
    for scope, step, record in run.activations():
        if record is not None and record.state not in st.FINAL:
            for what, due_us in _of_step(record):
                if due_us:
                    yield scope.path(step), what, due_us


def _of_step(record: StepRecord) -> Iterator[tuple[str, int]]:
    if record.state in (st.BACKING_OFF, st.WAITING, st.IN_REVIEW):
        yield "due", record.due_us
    if record.state == st.QUEUED:
        yield "schedule_to_start", record.schedule_to_start_us
    if record.state == st.RUNNING:
        yield "fence", record.fence_us
    if record.state in (st.QUEUED, st.RUNNING, st.BACKING_OFF) and not record.fence_us:
        yield "schedule_to_close", record.schedule_to_close_us


def queued(run: RunState) -> set[tuple[str, str, str]]:
    """(path, queue, handler) of the attempts workers may have."""
    if run.paused:
        return set()
    return {
        (scope.path(step), record.queue, record.handler)
        for scope, step, record in run.activations()
        if record is not None and record.state == st.QUEUED
    }
