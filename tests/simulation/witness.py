"""Sees everything that reaches the disk and everything that leaves the server, and holds each against the other.

It believes the disk only: what was written is folded here once more, apart from the server, and whatever the server
says, hands out or has in memory is compared with that.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast.v1.history_pb2 import HistoryBatch, HistoryEvent
from holdfast.v1.task_pb2 import WorkerInfo
from holdfast_server.app import Server
from holdfast_server.engine import failures, state as st
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.state import RunState, StepRecord
from holdfast_server.engine.views import waiting_on
from holdfast_server.matching.matching import HandedOut, QueuedTask
from holdfast_server.runtime.pieces import payloads_in
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import Commit, HistoryRow
from tests.simulation.disk import Disk
from tests.simulation.due import deadlines
from tests.simulation.evicted import check_eviction, check_tables
from tests.simulation.loop import SimulatedLoop
from tests.unit.engine.book import Book

__all__ = ["Lease", "Witness"]

SECOND_US = 1_000_000
LATE_US = 5 * SECOND_US
"""What has been due for so long on a server that is well was forgotten."""

Lease = tuple[int, str, int, int]
"""(run key, path, attempt, number of the lease)."""


class Witness:
    """What is known to be true.

    Args:
        loop: told of the first thing that must not happen.
        disk: what survives.
        clock_us: the time.
        compile_plan: makes plans, the same ones the server has.
        note: writes a line of the trace.

    Attributes:
        books: the histories on disk, by run key.
        excused: keys of runs the disk was made to refuse; they may be quarantined.
        clock_was_set: times in histories do not tell how long something took.
        progress: how many rows were written so far.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        disk: Disk,
        clock_us: Callable[[], int],
        compile_plan: Callable[[Any, int, bytes], Plan],
        note: Callable[[str, str], None] | None,
    ) -> None:
        self._loop = loop
        self._disk = disk
        self._clock_us = clock_us
        self._compile_plan = compile_plan
        self._note = note
        self.books: dict[int, Book] = {}
        self.excused: set[int] = set()
        self.progress = 0
        self.lease_us = 0
        self.clock_was_set = False
        self._plans: dict[tuple[str, str, int], Plan] = {}
        self._touched: dict[int, None] = {}
        self._numbers: set[int] = set()
        """Of all leases any server has given."""
        # What the present server was told and has handed out.
        self.runtime: Runtime | None = None
        self._leases: dict[str, list[Lease]] = {}
        self._listed_us: dict[Lease, int] = {}

    def _elapsed_us(self) -> int:
        return round(self._loop.time() * SECOND_US)

    def fail(self, message: str, cause: BaseException | None = None) -> None:
        """Says that something happened that must not."""
        self._loop.fail(message, cause)

    def check(self, held: object, message: str) -> None:
        """Says so if something does not hold."""
        if not held:
            self.fail(message)

    # -- what reaches the disk ---------------------------------------------------------------------------------------

    def written(self, commit: Commit) -> None:
        """A commit is on disk."""
        for version in commit.versions:
            name = (version.namespace, version.name, version.version)
            definition = WorkflowDefinition.FromString(version.definition)
            self._plans[name] = self._compile_plan(definition, version.version, version.definition_hash)
        for run in commit.new_runs:
            self.books[run.key] = Book(self._plans[run.namespace, run.workflow, run.version])
        for row in commit.history:
            try:
                self._follow(row)
            except AssertionError as error:
                self.fail(f"run {self._disk.runs[row.run_key].run_id}: {error}", error)
                return
        if commit.evictions or commit.revivals or commit.updates:
            self._look_at_evicted(commit)

    def _look_at_evicted(self, commit: Commit) -> None:
        try:
            for key, eviction in commit.evictions.items():
                if self._note is not None:
                    self._note("disk", f"{eviction.run_id} leaves at event {self.books[key].run.seq}")
                check_eviction(eviction, self.books[key])
            check_tables(self._disk, self.books)
        except AssertionError as error:
            self.fail(f"an eviction is wrong: {error}", error)

    def _follow(self, row: HistoryRow) -> None:
        self.progress += 1
        self._touched[row.run_key] = None
        book = self.books[row.run_key]
        batch = HistoryBatch.FromString(row.blob)
        assert row.count == len(batch.events), "a row does not count its events right"
        assert batch.events[0].seq == row.first_seq, "a row is not where its events say"
        if self._disk.payloads:
            for payload in payloads_in(batch):
                known = (row.run_key, payload.ref.sha256) in self._disk.references
                assert known, f"the payload {payload.ref.sha256.hex()} is referred to and not stored"
        for event in batch.events:
            if self._note is not None:
                self._note("disk", f"{self._disk.runs[row.run_key].run_id} {event.seq} {_told(event)}")
            if book.events:
                _check_attempts(book, event, by_time=not self.clock_was_set)
            book.follow(event)
        run = book.run
        kept = self._disk.runs[row.run_key]
        assert kept.state == run.state, f"the row of the run has state {kept.state}, not {run.state}"
        if not run.open:
            shown = (kept.close_time_us, kept.run_epoch, kept.last_seq)
            is_so = (run.close_us, run.run_epoch, run.seq)
            assert shown == is_so, f"the row of the closed run has (time, epoch, event) {shown}, not {is_so}"
        else:
            assert waiting_on(run, lambda _queue, _handler: True), "the run is open and waits for nothing"

    # -- what the server has in memory -------------------------------------------------------------------------------

    def attend(self, server: Server) -> None:
        """Looks over the shoulder of a server that begins to listen."""
        runtime = self.runtime = server.runtime
        self._leases, self._listed_us = {}, {}
        owner: Any = runtime.matching._handing._owner
        hand_out, attempt_ended, on_group = owner.hand_out, owner.attempt_ended, runtime.journal._on_group

        def handing_out(task: QueuedTask, worker: WorkerInfo) -> HandedOut | None:
            handed: HandedOut | None = hand_out(task, worker)
            if handed is not None:
                self._handed(runtime, task, worker, handed)
            return handed

        def ending(run_key: int, path: str, attempt: int, kind: str, detail: str) -> None:
            self._ended(runtime, (run_key, path, attempt), kind, detail)
            attempt_ended(run_key, path, attempt, kind, detail)

        def after_commit() -> None:
            self.compare()
            on_group()

        owner.hand_out, owner.attempt_ended = handing_out, ending
        runtime.journal._on_group = after_commit

    def compare(self) -> None:
        """Holds the runs in memory that have changed against the disk."""
        touched, self._touched = self._touched, {}
        for key in touched:
            host = self.runtime.residence.by_key(key) if self.runtime is not None else None
            if host is None or host.stale or host.quarantined:
                continue
            book = self.books[key]
            self.check(host.durable_seq <= book.run.seq, f"run {book.run.run_id} takes for durable what is not")
            if host.state.seq == book.run.seq and host.state != book.run:
                self.fail(f"run {book.run.run_id} is not the fold of its history: {_differences(host.state, book.run)}")

    def _handed(self, runtime: Runtime, task: QueuedTask, worker: WorkerInfo, handed: HandedOut) -> None:
        book = self.books.get(task.run_key)
        where = f"attempt {task.attempt} of {task.path} of run {task.run_key}"
        if book is None:
            self.fail(f"{where} is handed out before its run is on disk")
            return
        record = _record(book.run, task.path)
        if record.state != st.QUEUED or record.attempt != task.attempt:
            self.fail(f"{where} is handed out; on disk attempt {record.attempt} is in state {record.state}")
        leases = self._leases.setdefault(worker.id, [])
        leases[:] = [lease for lease in leases if _is_held(runtime, lease)]
        known = runtime.matching._workers.get(task.namespace, worker.id)
        slots = known.slots_total if known is not None else 0
        self.check(len(leases) < slots, f"{where} is handed to {worker.id}, which has {len(leases)} of {slots} slots")
        leases.append((task.run_key, task.path, task.attempt, handed.lease))
        self.check(
            handed.lease not in self._numbers, f"{where} is handed out with lease {handed.lease}, as another was"
        )
        self._numbers.add(handed.lease)

    def _ended(self, runtime: Runtime, attempt: tuple[int, str, int], kind: str, detail: str) -> None:
        host = runtime.residence.by_key(attempt[0])
        if host is None or host.stale:
            return
        record = _record(host.state, attempt[1])
        if kind == "lost" and "was silent" in detail:
            silent_us = self._elapsed_us() - self._listed_us.get((*attempt, record.lease), 0)
            self.check(silent_us >= self.lease_us, f"{attempt} is lost {silent_us} us after its worker has listed it")

    # -- what leaves the server: see `answers` -----------------------------------------------------------------------

    def listed(self, lease: Lease) -> None:
        """A worker was told that an attempt is still its own."""
        self._listed_us[lease] = self._elapsed_us()
        host = self.runtime.residence.by_key(lease[0]) if self.runtime is not None else None
        if host is not None and not host.stale and host.durable_seq == host.state.seq:
            # Else its end may be decided, and not on disk yet as far as the server knows.
            self.check(_holds(host.state, lease), f"a worker is told that {lease} is its own, and it is not")

    # -- what should have happened -----------------------------------------------------------------------------------

    def open_books(self) -> Mapping[int, Book]:
        """The runs that are open on disk, but for those that were made to be quarantined."""
        return {key: book for key, book in self.books.items() if book.run.open and key not in self.excused}

    def check_timers(self, well_since_us: int) -> None:
        """Nothing is long overdue on a server that has been well since then."""
        now_us = self._clock_us()
        for book in self.open_books().values():
            if book.run.paused:
                continue
            for path, what, due_us in deadlines(book.run):
                if max(due_us, well_since_us) + LATE_US < now_us:
                    late_s = (now_us - due_us) / SECOND_US
                    self.fail(f"run {book.run.run_id}: {what} of {path!r} is {late_s} s late")


def _check_attempts(book: Book, event: HistoryEvent, *, by_time: bool) -> None:
    """What only the whole server can do wrong with an attempt."""
    name = event.WhichOneof("body")
    if name == "step_started":
        record = _record(book.run, event.step_started.path)
        assert record.state == st.QUEUED, f"{event.step_started.path} is handed out though it does not wait"
        return
    if name not in ("step_attempt_failed", "step_failed"):
        return
    body = getattr(event, name)
    kind, record = body.failure.type, _record(book.run, body.path)
    if by_time and record.state == st.RUNNING and kind in (failures.START_TO_CLOSE, failures.HEARTBEAT):
        found = book.run.locate(body.path)
        assert found is not None
        step = found[1]
        limit_us = step.start_to_close_us if kind == failures.START_TO_CLOSE else step.heartbeat_us
        assert limit_us is not None, f"{body.path} has no limit for {kind}"
        past_us = event.time.ToMicroseconds() - record.start_us
        assert past_us >= limit_us, f"{kind} of {body.path} after {past_us} us; the limit is {limit_us} us"


def _record(run: RunState, path: str) -> StepRecord:
    found = run.locate(path)
    return (found[0].steps[found[1].index] if found is not None else None) or StepRecord()


def _is_held(runtime: Runtime, lease: Lease) -> bool:
    """Whether a lease is in force, as far as its run in memory knows."""
    host = runtime.residence.by_key(lease[0])
    return host is not None and not host.stale and not host.quarantined and _holds(host.state, lease)


def _holds(run: RunState, lease: Lease) -> bool:
    _key, path, attempt, number = lease
    record = _record(run, path)
    return run.open and record.state == st.RUNNING and (record.attempt, record.lease) == (attempt, number)


def _differences(one: RunState, other: RunState) -> str:
    """Where two states of a run differ."""
    found = []
    for field in fields(RunState):
        mine, others = getattr(one, field.name), getattr(other, field.name)
        if field.name != "scopes" and mine != others:
            found.append(f"{field.name}: {mine!r} is not {others!r}")
    for scope, step, record in one.activations():
        elsewhere = other.scopes[scope.prefix].steps[step.index]
        if record != elsewhere:
            found.append(f"{scope.path(step)}: {record!r} is not {elsewhere!r}")
    return "; ".join(found)


def _told(event: HistoryEvent) -> str:
    """An event in one line."""
    name = event.WhichOneof("body") or ""
    return f"{name} {' '.join(str(getattr(event, name)).split())}"[:300]
