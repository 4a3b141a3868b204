"""Folds one run again from its history and keeps what is noticed on the way; what that means is for the checks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast.v1.history_pb2 import HistoryBatch, HistoryEvent
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.evolve import evolve, start_state
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.snapshot import SnapshotFormatError, read_snapshot
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.pieces import payloads_in
from holdfast_server.store.port import HistoryRow
from holdfast_server.store.sqlite.inspection import Inspection, StoredRun

__all__ = ["Plans", "Refolded", "refold"]


class Plans:
    """Compiled workflows of a database, each compiled once.

    Args:
        inspection: the database.
    """

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._known: dict[tuple[str, str, int], Plan] = {}

    def plan(self, namespace: str, name: str, version: int) -> Plan:
        """One plan.

        Raises:
            ValueError: it is not there, or does not compile.
        """
        key = (namespace, name, version)
        if key not in self._known:
            row = self._inspection.version(*key)
            if row is None:
                raise ValueError(f"version {version} of workflow {name!r} is not there")
            definition = WorkflowDefinition.FromString(row.definition)
            self._known[key] = compile_plan(definition, row.version, row.definition_hash)
        return self._known[key]


@dataclass(slots=True)
class Refolded:
    """A run, folded again.

    Attributes:
        stored: all there is of it but its history.
        state: the fold; None if it does not fold.
        fault: why it does not fold; empty if it does.
        events: how many there are.
        gaps: where rows and sequence numbers do not follow each other.
        payloads: hashes of the payloads its events refer to.
        snapshot: the state its snapshot says; None without one, or if it is of another version.
        at_snapshot: whether the fold was the same there; None where there was nothing to compare.
    """

    stored: StoredRun
    state: RunState | None = None
    fault: str = ""
    events: int = 0
    gaps: list[str] = field(default_factory=list)
    payloads: set[bytes] = field(default_factory=set)
    snapshot: RunState | None = None
    at_snapshot: bool | None = None


def refold(stored: StoredRun, rows: Iterable[HistoryRow], plans: Plans) -> Refolded:
    """Folds a run from the rows of its history."""
    made = Refolded(stored)
    _read_snapshot(made, plans)
    for event in _events(made, rows):
        made.events += 1
        made.payloads.update(payload.ref.sha256 for payload in payloads_in(event))
        if made.fault:
            continue
        try:
            _fold(made, event, plans)
        except Exception as error:  # noqa: BLE001 - a damaged history can break the fold in any way, and that is looked for
            made.fault = f"event {event.seq} does not fold: {type(error).__name__}: {error}"
    if not made.events and not made.fault:
        made.fault = "it has no history"
    if made.fault:
        made.state = None  # what there is of it is not the run
    return made


def _events(made: Refolded, rows: Iterable[HistoryRow]) -> Iterator[HistoryEvent]:
    expected = 1
    for row in rows:
        if row.first_seq != expected:
            made.gaps.append(f"events {expected} to {row.first_seq - 1} are not there, or twice")
        try:
            events = HistoryBatch.FromString(row.blob).events
        except DecodeError as error:
            made.fault = made.fault or f"the row of event {row.first_seq} cannot be read: {error}"
            events = HistoryBatch().events
        numbers = [event.seq for event in events]
        if numbers != [*range(row.first_seq, row.first_seq + row.count)]:
            found = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
            made.gaps.append(f"the row of events {row.first_seq} to {row.first_seq + row.count - 1} has {found}")
        yield from events
        expected = row.first_seq + row.count


def _fold(made: Refolded, event: HistoryEvent, plans: Plans) -> None:
    if made.state is None:
        if not event.HasField("run_started"):
            raise ValueError("a history begins with RunStarted")
        started = event.run_started
        made.state = start_state(plans.plan(started.namespace, started.workflow, started.version), event)
    else:
        evolve(made.state, event)
    if made.snapshot is not None and made.snapshot.seq == event.seq:
        made.at_snapshot = made.snapshot == made.state


def _read_snapshot(made: Refolded, plans: Plans) -> None:
    eviction = made.stored.eviction
    if eviction is None or not eviction.snapshot_seq:
        return
    try:
        snapshot = read_snapshot(eviction.snapshot)
        made.snapshot = snapshot.state(plans.plan(snapshot.namespace, snapshot.workflow, snapshot.version))
    except SnapshotFormatError:
        return  # of another version, which is not read: the history is folded instead
    except Exception:  # noqa: BLE001 - a damaged snapshot can break anything, and that is looked for
        made.at_snapshot = False
