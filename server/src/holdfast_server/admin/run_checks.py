"""What must be true of one run: a list of checks, each independent of the others.

A check is given the run, folded again, and yields a sentence for each fault. To add one, write it and put it in the
table at the end.
"""

from collections.abc import Callable, Iterator, Mapping

from holdfast.v1.run_pb2 import RunState as RunStateEnum
from holdfast_server.admin.refold import Refolded
from holdfast_server.engine import effects as fx
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.eviction import NEVER_US
from holdfast_server.store.port import RunRow
from holdfast_server.store.sqlite.inspection import EvictionRows

__all__ = ["RUN_CHECKS", "RunCheck"]

RunCheck = Callable[[Refolded], Iterator[str]]


def sequence(run: Refolded) -> Iterator[str]:
    """The events are numbered from 1 without gaps, and rows have the events they say."""
    yield from run.gaps


def fold(run: Refolded) -> Iterator[str]:
    """The history folds to a state."""
    if run.fault:
        yield run.fault


def row(run: Refolded) -> Iterator[str]:
    """What lists show is what the history says."""
    if run.state is None:
        return
    stored, folded = run.stored.row, run.state
    for name, there, wanted in _columns(stored, folded):
        if there != wanted:
            yield f"the row says {name} {there!r}, the history {wanted!r}"
    last_seq_is_exact = not folded.open or run.stored.eviction is not None
    if (last_seq_is_exact and stored.last_seq != folded.seq) or stored.last_seq > folded.seq:
        yield f"the row says last_seq {stored.last_seq}, the history ends with event {folded.seq}"


def _columns(there: RunRow, run: RunState) -> Iterator[tuple[str, object, object]]:
    attributes = ",".join(f'"{name}":{value.json}' for name, value in sorted(run.attributes.items()))
    yield "namespace", there.namespace, run.namespace
    yield "run_id", there.run_id, run.run_id
    yield "workflow", there.workflow, run.plan.workflow
    yield "version", there.version, run.plan.version
    yield "business_key", there.business_key, run.key
    yield "state", _state_name(there.state), _state_name(run.state)
    yield "start_time_us", there.start_time_us, run.start_us
    yield "close_time_us", there.close_time_us, run.close_us
    yield "run_epoch", there.run_epoch, run.run_epoch
    yield "attributes", there.attributes_json, f"{{{attributes}}}" if attributes else ""
    if not run.open:
        message = run.failure.message if run.failure is not None else run.cancel_reason
        yield "status_message", there.status_message, message[:1_000]


def _state_name(state: int) -> str:
    known = RunStateEnum.values()
    return RunStateEnum.Name(RunStateEnum.ValueType(state)).removeprefix("RUN_STATE_") if state in known else str(state)


def payloads(run: Refolded) -> Iterator[str]:
    """Every payload of the history is stored and referred to, and no other is."""
    for digest in sorted(run.payloads - run.stored.payloads):
        yield f"payload {digest.hex()} of its history is not referred to, or not stored"
    for digest in sorted(run.stored.payloads - run.payloads):
        yield f"payload {digest.hex()} is referred to, and not in its history"
    if run.stored.missing:
        yield f"{run.stored.missing} payloads are referred to and not stored"


def eviction(run: Refolded) -> Iterator[str]:
    """What stands for a run that is not in memory is what its history says, and only such a run has it."""
    there, folded = run.stored.eviction, run.state
    if folded is None:
        return
    if there is None:
        if folded.open and not run.stored.row.hot:
            yield "it is evicted, and nothing stands for it: it will not wake"
        return
    if not folded.open or run.stored.row.hot:
        yield "it is not evicted, and something stands for it"
        return
    if run.at_snapshot is False:
        yield f"its snapshot is not what its history says at event {there.snapshot_seq}"
    if there.snapshot_seq > folded.seq:
        yield f"its snapshot is of event {there.snapshot_seq}, its history ends with event {folded.seq}"
    yield from _wake(there, folded)
    yield from _rows("waiting attempt", {task[:4] for task in there.tasks}, set(_tasks(folded)))
    yield from _rows("open gate", set(there.gates), set(_gates(folded)))


def _wake(there: EvictionRows, run: RunState) -> Iterator[str]:
    if run.paused:
        return  # what falls due during a pause is held, whenever that is
    due = min((effect.due_us for effect in fx.standing(run) if isinstance(effect, fx.TimerSet)), default=0)
    if due and not 0 < there.wake_us <= due:
        yield f"it wakes at {there.wake_us}, and its first timer is due at {due}"


def _tasks(run: RunState) -> Iterator[tuple[object, ...]]:
    for effect in fx.standing(run):
        if isinstance(effect, fx.TaskReady):
            yield effect.path, run.namespace, effect.queue, effect.handler


def _gates(run: RunState) -> Iterator[tuple[object, ...]]:
    for path in run.open_gates:
        found = run.locate(path)
        record = found[0].steps[found[1].index] if found is not None else None
        gate = None if record is None else record.gate
        if gate is not None:
            yield path, run.namespace, run.run_id, run.plan.workflow, gate.deadline_us or NEVER_US, gate.open_us


def _rows(what: str, there: set[tuple[object, ...]], wanted: set[tuple[object, ...]]) -> Iterator[str]:
    for one in sorted(wanted - there, key=str):
        yield f"{what} {one[0]} of its history does not stand for it: {one}"
    for one in sorted(there - wanted, key=str):
        yield f"{what} {one[0]} stands for it and is not in its history: {one}"


RUN_CHECKS: Mapping[str, RunCheck] = {
    "sequence": sequence,
    "fold": fold,
    "row": row,
    "payload references": payloads,
    "eviction": eviction,
}
"""All of them by name, in the order in which faults are told."""
