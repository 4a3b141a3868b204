"""The oracle finds what is planted: each fault in notes or history alone turns a clean run into a finding."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from holdfast.v1.actor_pb2 import RequestMark
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import (
    HistoryEvent,
    QueueCause,
    RunPaused,
    RunStarted,
    RunSucceeded,
    SignalReceived,
    StepAttemptFailed,
    StepQueued,
    StepStarted,
    StepSucceeded,
    TimerFired,
    TimerKind,
    TimerStarted,
    WaitMatched,
)
from holdfast.v1.payload_pb2 import Payload
from tests.chaos.notes import Began, Done, Ended, Gone, Meant, Note, Ran, Refused, Saw, Settled, Told, Wrong
from tests.chaos.oracle import Findings, by_run, check
from tests.chaos.soak import slope_of
from tests.chaos.stage import event_digest, payload_digest

RUN = "c1-1-chain"
OUTPUT = Payload(data=b"1")
FIRST, SECOND = (1 << 40) + 1, (1 << 40) + 2


def _event(seq: int, request: str = "", **body: object) -> HistoryEvent:
    event = HistoryEvent(seq=seq, **body)  # type: ignore[arg-type]  # one of its messages
    event.time.FromSeconds(1_000 + seq)
    if request:
        event.request.CopyFrom(RequestMark(id=request))
    return event


def _history() -> list[HistoryEvent]:
    sleeping = TimerKind.TIMER_KIND_SLEEP
    timer = TimerStarted(path="nap", kind=sleeping)
    timer.due_time.FromSeconds(1_007)
    return [
        _event(1, f"{RUN}.start", run_started=RunStarted(run_id=RUN)),
        _event(2, step_queued=StepQueued(path="a", attempt=1)),
        _event(3, step_started=StepStarted(path="a", attempt=1, lease=FIRST)),
        _event(4, step_attempt_failed=StepAttemptFailed(path="a", attempt=1, failure=Failure(type="Lost"))),
        _event(5, step_queued=StepQueued(path="a", attempt=2, cause=QueueCause.QUEUE_CAUSE_RETRY)),
        _event(6, timer_started=timer),
        _event(7, f"{RUN}.signal-x", signal_received=SignalReceived(name="x")),
        _event(8, step_succeeded=StepSucceeded(path="a", attempt=2)),
        _event(9, timer_fired=TimerFired(path="nap", kind=sleeping)),
        _event(10, wait_matched=WaitMatched(path="w", signal_seq=7)),
        _event(11, run_succeeded=RunSucceeded(output=OUTPUT)),
    ]


@dataclass
class Case:
    """A run that is all right, until a plant is put into it."""

    history: list[HistoryEvent] = field(default_factory=_history)
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes = [
            Began(RUN, "chain"),
            Meant(RUN, f"{RUN}.start"),
            Told(RUN, f"{RUN}.start", RUN),
            Ran(RUN, "a", 1, FIRST, "w1", "key"),
            Ran(RUN, "a", 2, SECOND, "w2", "key"),
            Gone(RUN, "a", 1, FIRST, "TOKEN_STALE"),
            Meant(RUN, f"{RUN}.signal-x"),
            Told(RUN, f"{RUN}.signal-x", "7"),
            Settled(RUN, "a", 2, SECOND, "output"),
            Saw(RUN, 8, event_digest(self.history[7])),
            Ended(RUN, 1, "SUCCEEDED", payload_digest(OUTPUT)),
            Done(RUN),
        ]

    def found(self) -> Findings:
        findings = Findings()
        check(RUN, by_run(self.notes)[RUN], self.history, findings)
        return findings

    def drop(self, seq: int) -> None:
        """The event never was: those behind it move up."""
        del self.history[seq - 1]
        for number, event in enumerate(self.history, 1):
            event.seq = number

    def put(self, event: HistoryEvent, seq: int) -> None:
        self.history.insert(seq - 1, event)
        for number, one in enumerate(self.history, 1):
            one.seq = number
            one.time.FromSeconds(1_000 + number)

    def exchange(self, old: Note, *new: Note) -> None:
        position = self.notes.index(old)
        self.notes[position : position + 1] = new


def test_a_run_in_which_all_is_well_is_clean() -> None:
    found = Case().found()

    assert found.clean
    assert (found.runs, found.executions, found.accepted, found.too_late) == (1, 2, 3, 1)
    assert dict(found.doubles) == {"the worker was silent for a lease": 1}


def _lost_result(case: Case) -> None:
    case.drop(8)


def _lost_start(case: Case) -> None:
    case.history.clear()


def _lost_signal(case: Case) -> None:
    case.history[6].ClearField("request")


def _signal_moved(case: Case) -> None:
    case.exchange(Told(RUN, f"{RUN}.signal-x", "7"), Told(RUN, f"{RUN}.signal-x", "5"))


def _shown_and_gone(case: Case) -> None:
    case.notes.append(Saw(RUN, 12, "0" * 16))


def _another_output(case: Case) -> None:
    case.history[10].run_succeeded.output.data = b"2"


def _another_ending(case: Case) -> None:
    case.notes.append(Ended(RUN, 1, "FAILED", payload_digest(Payload())))


@pytest.mark.parametrize(
    "plant",
    [_lost_result, _lost_start, _lost_signal, _signal_moved, _shown_and_gone, _another_output, _another_ending],
)
def test_what_was_acknowledged_and_is_not_there_is_lost(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)

    assert case.found().lost


def _queued_again(case: Case) -> None:
    case.put(_event(0, step_queued=StepQueued(path="a", attempt=3)), 9)


def _succeeded_twice(case: Case) -> None:
    case.put(copy.deepcopy(case.history[7]), 9)


def _ran_after_success(case: Case) -> None:
    case.notes.append(Ran(RUN, "a", 3, SECOND + 1, "w3", "key"))


@pytest.mark.parametrize("plant", [_queued_again, _succeeded_twice, _ran_after_success])
def test_a_step_that_succeeded_and_ran_again_is_found(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)

    assert case.found().run_again


def test_a_worker_that_begins_late_under_a_lease_that_was_over_is_no_broken_promise() -> None:
    case = Case()
    first = Ran(RUN, "a", 1, FIRST, "w1", "key")
    case.notes.remove(first)
    case.notes.append(first)

    assert case.found().clean


def _same_lease_twice(case: Case) -> None:
    case.notes.insert(4, Ran(RUN, "a", 1, FIRST, "w3", "key"))


def _nothing_ended_the_first(case: Case) -> None:
    case.exchange(Ran(RUN, "a", 1, FIRST, "w1", "key"), Ran(RUN, "a", 2, FIRST, "w1", "key"))


def _attempt_without_end(case: Case) -> None:
    case.drop(4)


@pytest.mark.parametrize("plant", [_same_lease_twice, _nothing_ended_the_first, _attempt_without_end])
def test_a_double_execution_that_no_lease_explains_is_found(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)

    assert case.found().unexplained


def _gap(case: Case) -> None:
    case.history[10].seq = 12


def _goes_on_after_the_end(case: Case) -> None:
    case.history.append(_event(12, run_paused=RunPaused()))


def _back_in_time(case: Case) -> None:
    case.history[10].time.FromSeconds(1_000)


def _timer_twice(case: Case) -> None:
    case.put(copy.deepcopy(case.history[8]), 10)


def _timer_early(case: Case) -> None:
    case.history[5].timer_started.due_time.FromSeconds(2_000)


def _signal_taken_twice(case: Case) -> None:
    case.put(copy.deepcopy(case.history[9]), 11)


def _request_twice(case: Case) -> None:
    case.history[8].request.id = f"{RUN}.signal-x"


def _attempt_used_up(case: Case) -> None:
    case.history[4].step_queued.attempt = 3


def _nobody_asked(case: Case) -> None:
    case.history[8].request.id = f"{RUN}.cancel"


def _refused_and_done(case: Case) -> None:
    case.notes.append(Refused(RUN, f"{RUN}.start", "RUN_EXISTS"))


def _refused_for_no_reason(case: Case) -> None:
    case.notes.append(Refused(RUN, f"{RUN}.retry", "RUN_CLOSED"))


def _result_refused(case: Case) -> None:
    case.notes.append(Gone(RUN, "a", 1, FIRST, "TOKEN_INVALID"))


def _two_keys(case: Case) -> None:
    case.exchange(Ran(RUN, "a", 1, FIRST, "w1", "key"), Ran(RUN, "a", 1, FIRST, "w1", "other"))


def _client_says_so(case: Case) -> None:
    case.notes.append(Wrong(RUN, "ended FAILED"))


@pytest.mark.parametrize(
    "plant",
    [
        *(_gap, _goes_on_after_the_end, _back_in_time, _timer_twice, _timer_early, _signal_taken_twice),
        *(_request_twice, _attempt_used_up, _nobody_asked, _refused_and_done, _refused_for_no_reason),
        *(_result_refused, _two_keys, _client_says_so),
    ],
)
def test_what_cannot_be_is_found(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)

    assert case.found().wrong


def test_growth_is_told_from_noise() -> None:
    times_s = [float(second) for second in range(300)]
    noise = [(second * 7919 % 13 - 6) / 10 for second in range(300)]
    steady = slope_of(times_s, [100 + rest for rest in noise])
    growing = slope_of(times_s, [100 + second * 60 / 3600 + rest for second, rest in zip(times_s, noise, strict=True)])
    stairs = slope_of(times_s, [100.0 + (second > 200) for second in range(300)])

    assert not steady.above(20)
    assert growing.above(20)
    assert abs(growing.per_h - 60) < 10
    assert not stairs.above(20), "one step says nothing about the hours to come"
