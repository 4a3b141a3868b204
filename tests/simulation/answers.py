"""Holds every answer that leaves the server against the disk: what it says is there at that moment, or it is a lie."""

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import RunOutcome, RunSummary
from holdfast.v1.worker_service_pb2 import HeldState
from holdfast_server.matching.tokens import HEAD, MAC_BYTES
from tests.simulation.disk import Disk
from tests.simulation.network import CallFailed
from tests.simulation.witness import Lease, Witness
from tests.unit.engine.book import Book

__all__ = ["Answers", "lease_of"]

SUMMARY_METHODS = ("PauseRun", "ResumeRun", "CancelRun", "TerminateRun", "RetryRun")


def lease_of(token: bytes) -> Lease:
    """What a token stands for."""
    _version, run_key, _epoch, lease, attempt = HEAD.unpack_from(token)
    return run_key, token[HEAD.size : -MAC_BYTES].decode(), attempt, lease


class Answers:
    """What the server has answered."""

    def __init__(self, witness: Witness, disk: Disk) -> None:
        self._witness = witness
        self._disk = disk
        self._starts: dict[str, str] = {}
        """Run ids by the request that was answered with it."""
        self._started: set[str] = set()
        self._signals: dict[str, int] = {}
        self.runs: dict[str, None] = {}
        """Runs somebody was told of."""
        self._checks: dict[str, Callable[[Any, Any], None]] = {
            "RegisterWorkflow": self._registered,
            "StartRun": self._run_started,
            "StartRuns": self._runs_started,
            "SignalRun": self._signalled,
            "SignalRuns": self._all_signalled,
            "GetRun": self._run_shown,
            "ListRuns": self._runs_listed,
            "WatchRuns": self._runs_listed,
            "GetHistory": self._events_shown,
            "WatchRun": self._events_shown,
            "WaitRun": self._run_ended,
            "DecideGate": self._gate_decided,
            "ListGates": self._gates_listed,
            "WatchGates": self._gates_listed,
            "PollTasks": self._tasks_given,
            "CompleteTasks": self._results_taken,
            "Heartbeat": self._leases_renewed,
            **dict.fromkeys(SUMMARY_METHODS, self._run_changed),
        }

    def answered(self, method: str, request: Any, answer: Any) -> None:
        """An answer, or a message of a stream, leaves the server."""
        name = method.partition("/")[2]
        if isinstance(answer, CallFailed):
            self._refused(name, request, answer)
            return
        check = self._checks.get(name)
        if check is None:
            return
        try:
            check(request, answer)
        except AssertionError as error:
            self._witness.fail(f"{name} says what is not so: {error}", error)

    def _refused(self, name: str, request: Any, fault: CallFailed) -> None:
        if fault.code() is grpc.StatusCode.INTERNAL:
            self._witness.fail(f"{name} met a fault of the server: {fault}")
        run_id = getattr(request, "run_id", "")
        if not run_id or run_id not in self.runs:
            return
        if fault.reason == "RUN_NOT_FOUND":
            self._witness.fail(f"{name} does not find run {run_id}, which was accepted")
        if fault.reason == "RUN_QUARANTINED" and self._key(run_id) not in self._witness.excused:
            self._witness.fail(f"{name} finds run {run_id} quarantined: {fault}")

    def _key(self, run_id: str) -> int:
        row = self._disk.run("default", run_id)
        assert row is not None, f"run {run_id} is not on disk"
        return row.key

    def _book(self, run_id: str) -> Book:
        return self._witness.books[self._key(run_id)]

    # -- changes -----------------------------------------------------------------------------------------------------

    def _registered(self, _request: Any, answer: Any) -> None:
        versions = self._disk.versions("default", answer.workflow.name)
        assert answer.workflow.version in [row.version for row in versions], "the version is not on disk"

    def _run_started(self, request: Any, answer: Any) -> None:
        book = self._book(answer.run_id)
        row = self._disk.runs[self._key(answer.run_id)]
        self.runs[answer.run_id] = None
        assert book.events, "the run has no history"
        if answer.started:
            assert row.request_id == request.request_id, f"the run was started by {row.request_id}"
            assert answer.run_id not in self._started, f"run {answer.run_id} is said to be new twice"
            self._started.add(answer.run_id)
        if request.request_id:
            if answer.started or request.signals or row.request_id == request.request_id:
                # Else nothing was done that could be done twice.
                first = self._starts.setdefault(request.request_id, answer.run_id)
                assert first == answer.run_id, f"{request.request_id} was answered {first} before, now {answer.run_id}"
            if request.signals and not answer.started and row.request_id != request.request_id:
                assert request.request_id in book.marks, "the signals are not on disk"

    def _runs_started(self, request: Any, answer: Any) -> None:
        for start, result in zip(request.starts, answer.results, strict=True):
            if result.HasField("accepted"):
                self._run_started(start, result.accepted)

    def _all_signalled(self, request: Any, answer: Any) -> None:
        for signal, result in zip(request.signals, answer.results, strict=True):
            if result.HasField("accepted"):
                self._signalled(signal, result.accepted)

    def _signalled(self, request: Any, answer: Any) -> None:
        book = self._book(request.run_id)
        assert 0 < answer.seq <= len(book.events), f"event {answer.seq} is not on disk"
        event = book.events[answer.seq - 1]
        assert event.signal_received.name == request.signal.name, f"event {answer.seq} is another one"
        if request.request_id:
            assert book.marks.get(request.request_id) == answer.seq, "the signal is that of another request"
            first = self._signals.setdefault(request.request_id, answer.seq)
            assert first == answer.seq, f"the answer was {first} before"

    def _run_changed(self, request: Any, answer: Any) -> None:
        self._check_summary(answer.run)
        if type(request).__name__.startswith("Terminate"):
            events = self._book(request.run_id).events
            assert any(event.HasField("run_terminated") for event in events), "the run is not terminated on disk"

    def _gate_decided(self, request: Any, answer: Any) -> None:
        book = self._book(request.run_id)
        self._check_gate(answer.gate)
        if request.request_id:
            assert request.request_id in book.marks, "the decision is not on disk"

    # -- reads -------------------------------------------------------------------------------------------------------

    def _check_summary(self, shown: RunSummary) -> None:
        book = self._book(shown.run_id)
        if shown.last_seq:
            assert shown.last_seq <= len(book.events), f"event {shown.last_seq} is shown and not on disk"
            state = book.states[shown.last_seq - 1]
            assert shown.state == state, f"state {shown.state} is shown; after event {shown.last_seq} it is {state}"

    def _run_shown(self, _request: Any, answer: Any) -> None:
        shown = answer.run
        self._check_summary(shown.summary)
        run = self._book(shown.summary.run_id).run
        if shown.summary.last_seq == run.seq:
            states = {scope.path(step): record.state if record else 1 for scope, step, record in run.activations()}
            assert states == {one.path: one.state for one in shown.activations}, "steps are shown as they are not"
            if run.open and not shown.waiting_on:
                raise AssertionError("an open run waits for nothing")

    def _runs_listed(self, _request: Any, answer: Any) -> None:
        for shown in answer.runs:
            self._check_summary(shown)

    def _events_shown(self, request: Any, answer: Any) -> None:
        self._check_events(self._book(request.run_id), answer.events)

    @staticmethod
    def _check_events(book: Book, events: Iterable[HistoryEvent]) -> None:
        seq = 0
        for event in events:
            assert not seq or event.seq == seq + 1, f"event {event.seq} follows {seq}"
            seq = event.seq
            assert seq <= len(book.events), f"event {seq} is shown and not on disk"
            assert event == book.events[seq - 1], f"event {seq} is another one on disk"

    def _run_ended(self, request: Any, answer: Any) -> None:
        if answer.closed:
            self._check_outcome(request.run_id, answer.outcome)

    def _check_outcome(self, run_id: str, outcome: RunOutcome) -> None:
        assert outcome.run_id == run_id, f"it is the outcome of {outcome.run_id}"
        ends = self._book(run_id).ends
        assert (outcome.run_epoch, outcome.state) in ends, f"it ended as {outcome.state}; on disk {ends}"

    def _gates_listed(self, _request: Any, answer: Any) -> None:
        for gate in answer.gates:
            self._check_gate(gate)

    def _check_gate(self, gate: Gate) -> None:
        run = self._book(gate.run_id).run
        found = run.locate(gate.step_path)
        record = found[0].steps[found[1].index] if found is not None else None
        assert record is not None, f"{gate.step_path} has no gate on disk"
        assert gate.revision <= record.revision, f"revision {gate.revision} is shown; on disk is {record.revision}"

    # -- workers -----------------------------------------------------------------------------------------------------

    def _tasks_given(self, _request: Any, answer: Any) -> None:
        for task in answer.tasks:
            assert task.token, "a task has no token"
            self._key(task.run_id)

    def _results_taken(self, request: Any, answer: Any) -> None:
        rejected = {item.index for item in answer.rejected}
        for index, result in enumerate(request.results):
            outcome = result.WhichOneof("outcome")
            if index in rejected or outcome in ("returned", "canceled"):
                continue
            key, path, attempt, lease = lease_of(result.token)
            book = self._witness.books[key]
            where = f"attempt {attempt} of {path} of {book.run.run_id} with lease {lease}"
            assert (path, attempt, lease) in book.settled, f"{where} is accepted, and on disk it is not"
            if outcome == "output":
                assert path in book.succeeded, f"the output of {where} is accepted, and on disk it has none"
        self._tasks_given(request, answer)

    def _leases_renewed(self, request: Any, answer: Any) -> None:
        for held, state in zip(request.held, answer.states, strict=True):
            if state != HeldState.HELD_STATE_LOST:
                self._witness.listed(lease_of(held.token))
