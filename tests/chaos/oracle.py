"""Holds what workers and clients wrote down against the histories of the runs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from holdfast.v1.history_pb2 import HistoryEvent, QueueCause
from holdfast.v1.run_pb2 import RunState
from tests.chaos.histories import CLOSING, contradictions, ran_again
from tests.chaos.notes import (
    Began,
    Done,
    Ended,
    Gone,
    Meant,
    Note,
    Ran,
    Refused,
    Saw,
    Settled,
    Told,
    Wrong,
    server_epoch_of,
)
from tests.chaos.stage import event_digest, payload_digest

__all__ = ["Findings", "RunNotes", "by_run", "check"]

_STALE = frozenset({"TOKEN_STALE", "RUN_CLOSED", "ILLEGAL_STATE"})
_TOO_LATE = frozenset({"RUN_CLOSED", "ILLEGAL_STATE"})
_MAY_BE_TOO_LATE = (".pause", ".resume")


@dataclass
class RunNotes:
    """The notes about one run, in the order in which they were made by workers, and by clients."""

    began: bool = False
    done: bool = False
    ran: list[Ran] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    late: list[Ran] = field(default_factory=list)
    """Of `ran`, those that began after their worker, or another, was told that the step has succeeded."""
    gone: list[Gone] = field(default_factory=list)
    meant: list[Meant] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    saw: list[Saw] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)

    def add(self, note: Note) -> None:
        """Take a note in."""
        match note:
            case Ran():
                self.ran.append(note)
                if any(one.path == note.path and one.outcome == "output" for one in self.settled):
                    self.late.append(note)
            case Settled():
                self.settled.append(note)
            case Gone():
                self.gone.append(note)
            case Began():
                self.began = True
            case Meant():
                self.meant.append(note)
            case Told():
                self.told.append(note)
            case Refused():
                self.refused.append(note)
            case Saw():
                self.saw.append(note)
            case Ended():
                self.ended.append(note)
            case Wrong():
                self.wrong.append(note)
            case Done():
                self.done = True


@dataclass
class Findings:
    """What was found, one sentence for each; all lists are empty where all is well."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged, and not in the history."""
    run_again: list[str] = field(default_factory=list)
    """Steps that succeeded and ran again."""
    stuck: list[str] = field(default_factory=list)
    """Runs that did not end."""
    wrong: list[str] = field(default_factory=list)
    """Answers and histories that cannot be."""
    unexplained: list[str] = field(default_factory=list)
    """Double executions no lease explains."""
    doubles: Counter[str] = field(default_factory=Counter)
    """Double executions by what explains them."""
    runs: int = 0
    executions: int = 0
    accepted: int = 0
    """Results of workers and changes of clients."""
    too_late: int = 0
    """Results that came too late and were refused."""

    @property
    def clean(self) -> bool:
        """Whether nothing is amiss."""
        return not (self.lost or self.run_again or self.stuck or self.wrong or self.unexplained)


def by_run(notes: Iterable[Note]) -> dict[str, RunNotes]:
    """Sort notes by run."""
    runs: dict[str, RunNotes] = {}
    for note in notes:
        runs.setdefault(note.run_id, RunNotes()).add(note)
    return runs


def check(run_id: str, notes: RunNotes, history: Sequence[HistoryEvent], findings: Findings) -> None:
    """Add what is to be found about a run.

    Args:
        run_id: The run.
        notes: What was noted about it.
        history: Its events; none if the server has no such run.
        findings: Grows.
    """

    def say(found: Iterable[str]) -> list[str]:
        return [f"{run_id}: {one}" for one in found]

    findings.runs += 1
    findings.executions += len(notes.ran)
    findings.accepted += len(notes.settled) + len(notes.told)
    findings.too_late += len(notes.gone)
    findings.lost += say(_lost_results(notes, history))
    findings.lost += say(_lost_changes(notes, history))
    findings.lost += say(_lost_views(notes, history))
    findings.run_again += say(ran_again(history))
    findings.run_again += say(_ran_again(notes))
    findings.wrong += say(one.what for one in notes.wrong)
    findings.wrong += say(contradictions(history))
    findings.wrong += say(_wrong_answers(notes, history))
    doubles, unexplained = _doubles(notes, history)
    findings.doubles += doubles
    findings.unexplained += say(unexplained)


# -- promise 1 -------------------------------------------------------------------------------------------------------


def _lost_results(notes: RunNotes, history: Sequence[HistoryEvent]) -> Iterator[str]:
    """What workers were told is accepted."""
    recorded: set[tuple[str, str, int]] = set()
    for event in history:
        kind = event.WhichOneof("body") or ""
        if kind in {"step_succeeded", "step_attempt_failed", "step_failed", "step_canceled"}:
            body = getattr(event, kind)
            recorded.add((kind, body.path, body.attempt))
        elif kind == "step_queued" and event.step_queued.cause == QueueCause.QUEUE_CAUSE_RETURNED:
            recorded.add((kind, event.step_queued.path, event.step_queued.attempt))
    traces = {
        "output": ("step_succeeded",),
        "failure": ("step_attempt_failed", "step_failed", "step_canceled"),
        "canceled": ("step_attempt_failed", "step_failed", "step_canceled"),
        "returned": ("step_queued", "step_canceled"),
    }
    for one in notes.settled:
        if not any((kind, one.path, one.attempt) in recorded for kind in traces[one.outcome]):
            yield f"the {one.outcome} of attempt {one.attempt} of {one.path} (lease {one.lease}) was accepted"


def _lost_changes(notes: RunNotes, history: Sequence[HistoryEvent]) -> Iterator[str]:
    """What clients were told is accepted."""
    seqs = {event.request.id: event.seq for event in history if event.HasField("request")}
    for one in notes.told:
        seq = seqs.get(one.request_id)
        if seq is None:
            yield f"request {one.request_id} was accepted"
        elif ".signal-" in one.request_id and one.answer != str(seq):
            yield f"request {one.request_id} was accepted as event {one.answer}, and is event {seq}"


def _lost_views(notes: RunNotes, history: Sequence[HistoryEvent]) -> Iterator[str]:
    """What clients were shown."""
    events = {event.seq: event for event in history}
    for saw in notes.saw:
        event = events.get(saw.seq)
        if event is None or event_digest(event) != saw.digest:
            yield f"event {saw.seq} was shown, and is {'not there' if event is None else 'another one'}"
    endings = dict(_endings(history))
    for ended in notes.ended:
        truth = endings.get(ended.run_epoch)
        if truth != (ended.state, ended.output):
            yield f"epoch {ended.run_epoch} was said to end {ended.state} ({ended.output}), and the history has {truth}"


def _endings(history: Sequence[HistoryEvent]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield how each epoch of the run ended."""
    run_epoch = 1
    for event in history:
        kind = event.WhichOneof("body") or ""
        if kind == "run_reopened":
            run_epoch = event.run_reopened.run_epoch
        elif kind in CLOSING:
            yield run_epoch, (kind.removeprefix("run_").upper(), payload_digest(event.run_succeeded.output))


# -- promise 2 -------------------------------------------------------------------------------------------------------


def _ran_again(notes: RunNotes) -> Iterator[str]:
    """Handlers that began, under a lease given later, after their step was known to have succeeded."""
    leases = {one.path: one.lease for one in notes.settled if one.outcome == "output"}
    for ran in notes.late:
        if ran.lease > leases[ran.path]:
            yield f"{ran.path} ran under lease {ran.lease}, after its success under lease {leases[ran.path]}"


def _doubles(notes: RunNotes, history: Sequence[HistoryEvent]) -> tuple[Counter[str], list[str]]:
    """Executions of a step after another one of which no end is known; each has to follow from its lease."""
    explained: Counter[str] = Counter()
    unexplained: list[str] = []
    settled = {(one.path, one.lease) for one in notes.settled}
    by_path: dict[str, list[Ran]] = {}
    for ran in notes.ran:
        by_path.setdefault(ran.path, []).append(ran)
    why = _Causes(history)
    for path, executions in by_path.items():
        executions.sort(key=lambda ran: ran.lease)
        for before, after in pairwise(executions):
            if (path, before.lease) in settled:
                continue
            cause = why.of(before, after)
            if cause:
                explained[cause] += 1
            else:
                unexplained.append(
                    f"{path} ran as attempt {before.attempt} under lease {before.lease} on {before.worker}, "
                    f"and as attempt {after.attempt} under lease {after.lease} on {after.worker}"
                )
    return explained, unexplained


class _Causes:
    """What a history says of attempts that ended without their worker knowing."""

    def __init__(self, history: Sequence[HistoryEvent]) -> None:
        self._failed: dict[tuple[str, int], str] = {}
        self._returned: Counter[tuple[str, int]] = Counter()
        for event in history:
            kind = event.WhichOneof("body") or ""
            if kind in {"step_attempt_failed", "step_failed"}:
                body = getattr(event, kind)
                self._failed[body.path, body.attempt] = body.failure.type
            elif kind == "step_queued" and event.step_queued.cause == QueueCause.QUEUE_CAUSE_RETURNED:
                self._returned[event.step_queued.path, event.step_queued.attempt] += 1

    def of(self, before: Ran, after: Ran) -> str:
        """Return why the lease of the first was over; empty if nothing says so."""
        attempt = (before.path, before.attempt)
        if before.lease == after.lease or after.attempt < before.attempt:
            return ""
        if after.attempt > before.attempt:
            failure = self._failed.get(attempt)
            if failure is None:
                return ""
            if failure == "Lost":
                return "the worker was silent for a lease"
            if failure.startswith("Timeout."):
                return "a time limit was over"
            return "the worker died before it was told"
        if self._returned[attempt]:
            return "the attempt came back unused"
        if server_epoch_of(after.lease) > server_epoch_of(before.lease):
            return "the server died before it had noted the lease"
        return ""


# -- what cannot be --------------------------------------------------------------------------------------------------


def _wrong_answers(notes: RunNotes, history: Sequence[HistoryEvent]) -> Iterator[str]:
    recorded = {event.request.id for event in history if event.HasField("request")}
    for request_id in recorded - {one.request_id for one in notes.meant}:
        yield f"request {request_id} is in the history, and nobody made it"
    for refused in notes.refused:
        if refused.request_id in recorded:
            yield f"request {refused.request_id} was refused ({refused.reason}), and is in the history"
        elif not (refused.reason in _TOO_LATE and refused.request_id.endswith(_MAY_BE_TOO_LATE)):
            yield f"request {refused.request_id} was refused: {refused.reason}"
    for gone in notes.gone:
        if gone.reason not in _STALE:
            yield f"the result of attempt {gone.attempt} of {gone.path} was refused: {gone.reason}"
    keys: dict[str, str] = {}
    for ran in notes.ran:
        if keys.setdefault(ran.path, ran.key) != ran.key:
            yield f"{ran.path} ran under two idempotency keys"
    if notes.done and not notes.wrong and history and history[-1].WhichOneof("body") not in CLOSING:
        yield f"it has ended, and its history goes on after {RunState.Name(RunState.RUN_STATE_RUNNING)}"
