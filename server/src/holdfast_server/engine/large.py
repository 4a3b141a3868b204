"""The large payloads of a run, kept by reference: which there are, and into which of them it may still look.

A run that has made a thousand of them needs at its next step those that an unfinished step names, and not all.
"""

from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import state as st
from holdfast_server.engine.plan import RUN, StepPlan
from holdfast_server.engine.state import RunState

__all__ = ["forget", "needed", "note", "run_reopened", "step_finished"]

Head = tuple[str, ...]


def note(run: RunState, head: Head, payload: Payload) -> None:
    """Remembers the payload of a head if its data are elsewhere."""
    if payload.HasField("ref"):
        run.large[head] = payload.ref.sha256
        if _may_be_looked_into(run, head):
            run.looked_into[head] = payload.ref.sha256


def forget(run: RunState, head: Head) -> None:
    """Expressions cannot name it any more."""
    run.large.pop(head, None)
    run.looked_into.pop(head, None)


def step_finished(run: RunState, step: StepPlan) -> None:
    """What this step was the last to look into is no longer needed."""
    for head in step.looks_into:
        if head in run.looked_into and not _may_be_looked_into(run, head):
            del run.looked_into[head]


def run_reopened(run: RunState) -> None:
    """Steps that start over look again into what they looked into before."""
    run.looked_into = {head: digest for head, digest in run.large.items() if _may_be_looked_into(run, head)}


def needed(run: RunState) -> list[bytes]:
    """Hashes of what expressions may look into while the next command is decided."""
    if run.open:
        return list(run.looked_into.values())
    # RetryRun may open it again.
    plan = run.plan
    return [digest for head, digest in run.large.items() if head in plan.deep_refs or _is_awaited(run, head)]


def _may_be_looked_into(run: RunState, head: Head) -> bool:
    state_of = run.root.state_of
    readers = run.plan.deep_refs.get(head, ())
    return _is_awaited(run, head) or any(one == RUN or state_of(one) not in st.FINAL for one in readers)


def _is_awaited(run: RunState, head: Head) -> bool:
    return head[0] == "signals" and run.plan.looks_into_signals
